//! What peers say, made safe to show, whatever protocol they say it in.
//!
//! Invariant: what [`worker_label`] and [`printable`] return is plain ASCII of bounded length, whatever went in; no other
//! text of a peer may reach a log, a label or a page.

/// Most bytes of a worker's label.
pub const MAX_LABEL: usize = 128;

/// A worker's name for every sink: `[A-Za-z0-9._@+:/-]` kept, other bytes percent-encoded, at most [`MAX_LABEL`] bytes,
/// cut between escapes; `-` for an empty one.
pub fn worker_label(name: impl AsRef<[u8]>) -> String {
    let name = name.as_ref();
    let mut label = String::with_capacity(name.len().min(MAX_LABEL));
    for &byte in name {
        let plain = byte.is_ascii_alphanumeric() || b"._@+:/-".contains(&byte);
        if label.len() + if plain { 1 } else { 3 } > MAX_LABEL {
            break;
        }
        if plain {
            label.push(char::from(byte));
        } else {
            label.push('%');
            label.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
    if label.is_empty() {
        label.push('-');
    }
    label
}

/// The machine that a worker's name stands for: what follows its last dot; all of it if that is nothing.
pub fn machine(worker: &str) -> &str {
    let last = worker.rsplit('.').next().filter(|last| !last.is_empty());
    last.unwrap_or(worker)
}

/// A peer's words for a person: printable ASCII, `?` for every other character, at most `max` of them.
pub fn printable(text: &str, max: usize) -> String {
    text.chars()
        .take(max)
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_label_keeps_the_harmless_and_escapes_the_rest() {
        for (name, label) in [
            ("", "-"),
            ("bc1q.rig-1_a@site+x:y/z", "bc1q.rig-1_a@site+x:y/z"),
            ("a b", "a%20b"),
            ("a\r\nSet: x", "a%0D%0ASet:%20x"),
            ("<script>", "%3Cscript%3E"),
            ("=cmd()", "%3Dcmd%28%29"),
            ("100%", "100%25"),
            ("\u{202e}x", "%E2%80%AEx"),
            ("\0\"'", "%00%22%27"),
        ] {
            assert_eq!(worker_label(name), label);
        }
    }

    #[test]
    fn a_label_of_128_bytes_is_whole_and_a_longer_one_is_cut_between_escapes() {
        assert_eq!(worker_label("a".repeat(128)), "a".repeat(128));
        assert_eq!(worker_label("a".repeat(129)), "a".repeat(128));
        assert_eq!(worker_label(" ".repeat(1 << 20)), "%20".repeat(42));
        let cut = format!("{} ", "a".repeat(126));
        assert_eq!(worker_label(&cut), "a".repeat(126));
    }

    #[test]
    fn words_of_a_pool_are_cut_and_cleaned() {
        assert_eq!(
            printable("low diff\x1b[31m\u{202e}\n", 80),
            "low diff?[31m??"
        );
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(printable("abcd", 3), "abc");
    }

    proptest! {
        #[test]
        fn a_label_is_always_safe(name in any::<Vec<u8>>()) {
            let label = worker_label(&name);
            prop_assert!((1..=MAX_LABEL).contains(&label.len()));
            prop_assert!(label.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+:/-%".contains(&b)));
        }
    }
}
