//! A pool's reasons made one closed set. The words are kept for a person only; nothing branches on them elsewhere.
//!
//! Invariant: every refusal has a kind, and its text is printable and short.

use super::{Refusal, RefusalKind, json};
use crate::stratum::label::printable;
use crate::stratum::v1::json::{Params, each_member};

/// Most characters of a pool's words that are kept.
const MAX_TEXT: usize = 80;

/// Whether an `error` member is there only for form's sake.
pub(super) fn says_nothing(raw: &str) -> bool {
    matches!(raw, "null" | "false" | "0" | "\"\"")
        || raw.starts_with('[')
            && Params::of_array(raw)
                .is_none_or(|error| error.at(0).is_none() && error.at(1).is_none())
        || raw.starts_with('{') && raw[1..raw.len() - 1].trim().is_empty()
}

/// From `[code, text, ..]`, `{"code":, "message":}`, a string or a bare code.
pub(super) fn of_error(raw: &str) -> Refusal {
    let mut code = None;
    let mut text = None;
    if let Some(error) = Params::of_array(raw) {
        code = error.at(0);
        text = error.at(1);
        // `["stale"]`, or the text before the code.
        if text.is_none() && code.is_some_and(|code| code.starts_with('"')) {
            text = code.take();
        }
    } else if raw.starts_with('{') {
        each_member(raw, |key, value| match key {
            "code" => code = Some(value),
            "message" | "msg" | "reason" => text = Some(value),
            _ => {}
        });
    } else if raw.starts_with('"') {
        text = Some(raw);
    } else {
        code = Some(raw);
    }
    let code = code.and_then(json::number);
    let text = text.and_then(json::scalar).unwrap_or_default();
    refusal(code, &text)
}

/// From words alone (ckpool's `reject-reason`; none at all is fine).
pub(super) fn of_words(text: &str) -> Refusal {
    refusal(None, text)
}

fn refusal(code: Option<f64>, text: &str) -> Refusal {
    let kind = by_words(text)
        .or_else(|| code.map(by_code))
        .unwrap_or(RefusalKind::Other);
    Refusal {
        kind,
        text: printable(text, MAX_TEXT),
    }
}

/// The classic codes, and btcpool's 26 to 38.
fn by_code(code: f64) -> RefusalKind {
    // Every code that is one converts exactly; the rest saturates into `Other`.
    match code as i32 {
        21 | 36 | 37 => RefusalKind::Stale,
        22 => RefusalKind::Duplicate,
        23 => RefusalKind::LowDifficulty,
        24 | 28 | 29 => RefusalKind::Unauthorized,
        25 => RefusalKind::NotSubscribed,
        _ => RefusalKind::Other,
    }
}

/// Words come first: DATUM says 20 `unknown-work` and 21 `time-too-old`. The first row that matches counts.
const WORDS: [(&str, RefusalKind); 29] = [
    ("duplicate", RefusalKind::Duplicate),
    ("time-too-", RefusalKind::Other),
    ("time too ", RefusalKind::Other),
    ("ntime out of range", RefusalKind::Other),
    ("low diff", RefusalKind::LowDifficulty),
    ("low-diff", RefusalKind::LowDifficulty),
    ("lowdiff", RefusalKind::LowDifficulty),
    ("difficulty too low", RefusalKind::LowDifficulty),
    ("difficulty-too-low", RefusalKind::LowDifficulty),
    ("above target", RefusalKind::LowDifficulty),
    ("high-hash", RefusalKind::LowDifficulty),
    ("high hash", RefusalKind::LowDifficulty),
    ("h-not-zero", RefusalKind::LowDifficulty),
    ("stale", RefusalKind::Stale),
    ("unknown-work", RefusalKind::Stale),
    ("unknown work", RefusalKind::Stale),
    ("unknown job", RefusalKind::Stale),
    ("job not found", RefusalKind::Stale),
    ("job-not-found", RefusalKind::Stale),
    ("invalid jobid", RefusalKind::Stale),
    ("invalid job id", RefusalKind::Stale),
    ("invalid-job-id", RefusalKind::Stale),
    ("bad-prevblk", RefusalKind::Stale),
    ("unauthorized", RefusalKind::Unauthorized),
    ("not authorized", RefusalKind::Unauthorized),
    ("unknown-user", RefusalKind::Unauthorized),
    ("worker mismatch", RefusalKind::Unauthorized),
    ("invalid username", RefusalKind::Unauthorized),
    ("not subscribed", RefusalKind::NotSubscribed),
];

fn by_words(text: &str) -> Option<RefusalKind> {
    // All words are within what is kept of them.
    let text: String = text.chars().take(2 * MAX_TEXT).collect();
    let text = text.to_ascii_lowercase();
    WORDS
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusalKind::{Duplicate, LowDifficulty, NotSubscribed, Other, Stale, Unauthorized};

    #[test]
    fn every_form_of_an_error_is_understood() {
        for (raw, kind, text) in [
            (r#"[21,"x",null]"#, Stale, "x"),
            (r#"[22,"x"]"#, Duplicate, "x"),
            (r#"["23","x",null]"#, LowDifficulty, "x"),
            (r#"[24]"#, Unauthorized, ""),
            (r#"["Stale"]"#, Stale, "Stale"),
            (r#"{"code":25,"message":"x"}"#, NotSubscribed, "x"),
            (
                r#"{"message":"Duplicate share"}"#,
                Duplicate,
                "Duplicate share",
            ),
            (r#""Above target""#, LowDifficulty, "Above target"),
            ("23", LowDifficulty, ""),
            ("true", Other, ""),
            (r#"[1e999,"\ud800"]"#, Other, ""),
            (r#"[[],{}]"#, Other, ""),
        ] {
            let refusal = of_error(raw);
            assert_eq!((refusal.kind, refusal.text.as_str()), (kind, text), "{raw}");
        }
    }

    #[test]
    fn the_codes_of_btcpool_are_understood() {
        for (code, kind) in [
            (20, Other),
            (21, Stale),
            (22, Duplicate),
            (23, LowDifficulty),
            (24, Unauthorized),
            (25, NotSubscribed),
            (26, Other),
            (27, Other),
            (28, Unauthorized),
            (29, Unauthorized),
            (30, Other),
            (31, Other),
            (32, Other),
            (33, Other),
            (34, Other),
            (35, Other),
            (36, Stale),
            (37, Stale),
            (38, Other),
            (-3, Other),
            (0, Other),
        ] {
            assert_eq!(
                of_error(&format!("[{code},\"\",null]")).kind,
                kind,
                "{code}"
            );
        }
    }

    #[test]
    fn the_words_of_datum_and_ckpool_are_understood() {
        for (words, kind) in [
            (r#"[20,"unknown-work",null]"#, Stale),
            (r#"[21,"stale-prevblk",null]"#, Stale),
            (r#"[21,"time-too-old",null]"#, Other),
            (r#"[21,"time-too-new",null]"#, Other),
            (r#"[23,"high-hash",null]"#, LowDifficulty),
            (r#"[23,"H-not-zero",null]"#, LowDifficulty),
            (r#"[22,"duplicate",null]"#, Duplicate),
        ] {
            assert_eq!(of_error(words).kind, kind, "{words}");
        }
        for (words, kind) in [
            ("Invalid JobID", Stale),
            ("Stale", Stale),
            ("Duplicate", Duplicate),
            ("Above target", LowDifficulty),
            ("Worker mismatch", Unauthorized),
            ("Ntime out of range", Other),
            ("Invalid nonce2 length", Other),
            ("", Other),
        ] {
            assert_eq!(of_words(words).kind, kind, "{words}");
        }
    }

    #[test]
    fn an_empty_error_is_none() {
        for raw in [
            "null",
            "false",
            "0",
            "\"\"",
            "[]",
            "[null,null,null]",
            "{}",
            "{ }",
        ] {
            assert!(says_nothing(raw), "{raw}");
        }
        for raw in [
            "21",
            "true",
            "\"x\"",
            "[20]",
            "[null,\"x\"]",
            "{\"code\":20}",
        ] {
            assert!(!says_nothing(raw), "{raw}");
        }
    }

    #[test]
    fn words_of_80_characters_are_whole_and_longer_ones_are_cut() {
        assert_eq!(of_words(&"x".repeat(80)).text.len(), 80);
        assert_eq!(of_words(&"x".repeat(81)).text.len(), 80);
        assert_eq!(of_words("a\u{202e}\r\nb").text, "a???b");
    }
}
