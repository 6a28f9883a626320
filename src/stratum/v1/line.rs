//! Cuts a byte stream into lines; scans every byte once, keeps only what is unfinished, caps the length.
//!
//! Knows no message. Invariant: the lines that come out do not depend on how the stream was cut into chunks.
//!
//! ```text
//! kept  | used | ..searched, no end.. | not searched |   chunk | not searched yet ... |
//!       0     start                scanned         len
//! ```

use std::ops::Range;

/// A line went past its cap; the connection is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overlong;

/// What is left over between two reads. No heap while nothing is left over.
#[derive(Debug)]
pub struct Lines {
    cap: usize,
    kept: Vec<u8>,
    /// Where the unread part of `kept` begins.
    start: usize,
    /// No line ends in `kept[start..scanned]`.
    scanned: usize,
    /// Length of the chunk that the last `next` found no end in; what `keep` need not search again.
    searched: usize,
    /// An overlong line was reported: nothing comes out any more.
    ended: bool,
}

impl Lines {
    /// `cap`: most bytes of a line without its terminator.
    pub fn new(cap: usize) -> Self {
        Self {
            cap,
            kept: Vec::new(),
            start: 0,
            scanned: 0,
            searched: 0,
            ended: false,
        }
    }

    /// The next whole line (without `\n` or `\r\n`; empty lines are skipped), first from what was kept, then from `chunk`,
    /// which is advanced past what was used. `None`: no whole line is there (then call [`Lines::keep`]).
    /// After [`Overlong`] everything is swallowed.
    pub fn next<'a, 'c: 'a>(
        &'a mut self,
        chunk: &mut &'c [u8],
    ) -> Option<Result<&'a [u8], Overlong>> {
        self.searched = 0;
        if self.ended {
            *chunk = &[];
            return None;
        }
        while let Some(line) = self.kept_line(chunk) {
            match line {
                Ok(line) if line.is_empty() => {}
                Ok(line) => return Some(Ok(&self.kept[line])),
                Err(overlong) => return Some(Err(self.end(chunk, overlong))),
            }
        }
        if self.kept() > 0 {
            return self.starve(chunk);
        }
        self.forget();
        while let Some(at) = find_end(chunk) {
            let line = &chunk[..at];
            *chunk = &chunk[at + 1..];
            match self.measure(line.len(), line.last()) {
                Ok(0) => {}
                Ok(length) => return Some(Ok(&line[..length])),
                Err(overlong) => return Some(Err(self.end(chunk, overlong))),
            }
        }
        self.starve(chunk)
    }

    /// Keeps the rest of a chunk for later (an unfinished line, or whole lines that a turn's budget left over).
    /// `chunk` is what the last [`Lines::next`] left of its own.
    pub fn keep(&mut self, chunk: &[u8]) {
        if chunk.is_empty() || self.ended {
            return;
        }
        if self.start > 0 {
            self.kept.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        let all_searched = self.scanned == self.kept.len() && self.searched == chunk.len();
        self.kept.extend_from_slice(chunk);
        if all_searched {
            self.scanned = self.kept.len();
        }
        self.searched = 0;
    }

    /// Bytes kept.
    pub fn kept(&self) -> usize {
        self.kept.len() - self.start
    }

    /// Whether a whole line is waiting in what was kept.
    pub fn has_line(&self) -> bool {
        find_end(&self.kept[self.scanned..]).is_some()
    }

    /// A line that begins in what was kept, as a range of it; it may end in the chunk.
    fn kept_line(&mut self, chunk: &mut &[u8]) -> Option<Result<Range<usize>, Overlong>> {
        if self.kept() == 0 {
            return None;
        }
        let start = self.start;
        if let Some(at) = find_end(&self.kept[self.scanned..]) {
            let end = self.scanned + at;
            self.start = end + 1;
            self.scanned = end + 1;
            let length = self.measure(end - start, self.kept[start..end].last());
            return Some(length.map(|length| start..start + length));
        }
        self.scanned = self.kept.len();
        let at = find_end(chunk)?;
        let last = chunk[..at].last().or(self.kept.last());
        // Measured before it is copied: a chunk may be larger than any line.
        let length = self.measure(self.kept() + at, last);
        if length.is_ok() {
            self.kept.extend_from_slice(&chunk[..at]);
            *chunk = &chunk[at + 1..];
            self.start = self.kept.len();
            self.scanned = self.start;
        }
        Some(length.map(|length| start..start + length))
    }

    /// No end in sight: overlong already, or more is needed.
    fn starve<T>(&mut self, chunk: &mut &[u8]) -> Option<Result<T, Overlong>> {
        let last = chunk.last().or(self.kept.last());
        if let Err(overlong) = self.measure(self.kept() + chunk.len(), last) {
            return Some(Err(self.end(chunk, overlong)));
        }
        self.searched = chunk.len();
        None
    }

    /// Length without a `\r` before the end, if within the cap.
    fn measure(&self, length: usize, last: Option<&u8>) -> Result<usize, Overlong> {
        let length = length - usize::from(length > 0 && last == Some(&b'\r'));
        if length > self.cap {
            Err(Overlong)
        } else {
            Ok(length)
        }
    }

    fn end(&mut self, chunk: &mut &[u8], overlong: Overlong) -> Overlong {
        self.ended = true;
        self.forget();
        *chunk = &[];
        overlong
    }

    fn forget(&mut self) {
        self.kept = Vec::new();
        self.start = 0;
        self.scanned = 0;
    }
}

/// Where the first `\n` is. Whole blocks at a time, so that it is vectorised.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    let clear = blocks
        .iter()
        .take_while(|block| !block.iter().fold(false, |hit, byte| hit | (*byte == b'\n')))
        .count();
    let from = 32 * clear;
    let at = bytes[from..].iter().position(|byte| *byte == b'\n')?;
    Some(from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_terminators_end_a_line_and_empty_lines_are_skipped() {
        assert_eq!(lines(64, &[b"a\nb\r\n\n\r\nc d\n"]), ["a", "b", "c d"]);
    }

    #[test]
    fn a_line_may_come_in_pieces_even_between_its_two_terminators() {
        assert_eq!(
            lines(64, &[b"ab", b"", b"c\r", b"\nd", b"\n\r", b"\n"]),
            ["abc", "d"]
        );
    }

    #[test]
    fn a_line_of_the_cap_passes_and_one_byte_more_is_overlong() {
        assert_eq!(lines(4, &[b"abcd\r\n"]), ["abcd"]);
        assert_eq!(lines(4, &[b"abc", b"d\r", b"\n"]), ["abcd"]);
        assert_eq!(lines(4, &[b"abcde\n"]), ["!"]);
        assert_eq!(lines(4, &[b"ab", b"cde\n"]), ["!"]);
    }

    #[test]
    fn a_line_without_end_is_overlong_before_it_is_kept() {
        let mut lines = Lines::new(4);
        let mut chunk: &[u8] = &[b'x'; 1 << 16];
        assert_eq!(lines.next(&mut chunk), Some(Err(Overlong)));
        assert_eq!(lines.kept(), 0);
        assert!(chunk.is_empty());
        let mut more: &[u8] = b"ok\n";
        assert_eq!(
            lines.next(&mut more),
            None,
            "nothing comes after an overlong line"
        );
    }

    #[test]
    fn nothing_is_on_the_heap_while_nothing_is_left_over() {
        let mut lines = Lines::new(64);
        let mut chunk: &[u8] = b"whole\n";
        assert_eq!(lines.next(&mut chunk), Some(Ok(&b"whole"[..])));
        assert_eq!(lines.next(&mut chunk), None);
        lines.keep(chunk);
        assert_eq!(lines.kept.capacity(), 0);

        lines.keep(b"half");
        let mut chunk: &[u8] = b" done\n";
        assert_eq!(lines.next(&mut chunk), Some(Ok(&b"half done"[..])));
        assert_eq!(lines.next(&mut chunk), None);
        assert_eq!(lines.kept.capacity(), 0);
    }

    #[test]
    fn what_a_turn_leaves_over_is_kept_whole() {
        let mut lines = Lines::new(64);
        let mut chunk: &[u8] = b"a\nb\nc";
        assert_eq!(lines.next(&mut chunk), Some(Ok(&b"a"[..])));
        lines.keep(chunk);
        assert!(lines.has_line());
        assert_eq!(lines.kept(), 3);
        assert_eq!(lines.next(&mut &b""[..]), Some(Ok(&b"b"[..])));
        assert!(!lines.has_line());
        assert_eq!(lines.next(&mut &b"\n"[..]), Some(Ok(&b"c"[..])));
    }

    #[test]
    fn what_was_searched_in_vain_is_not_searched_again() {
        let mut lines = Lines::new(1 << 16);
        for _ in 0..8 {
            let mut chunk: &[u8] = b"drip";
            assert_eq!(lines.next(&mut chunk), None);
            lines.keep(chunk);
            assert_eq!(lines.scanned, lines.kept.len());
        }
    }

    proptest! {
        #[test]
        fn the_cut_into_chunks_does_not_matter(
            stream in prop::collection::vec(prop::sample::select(b"ab\r\n\n".to_vec()), 0..200),
            cuts in prop::collection::vec(0_usize..9, 1..200),
            cap in 0_usize..12,
            budget in 1_usize..4,
        ) {
            let mut reader = Lines::new(cap);
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle().take(1000) {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let got: Vec<String> = pieces.iter().flat_map(|piece| drain(&mut reader, piece, budget)).collect();
            let mut whole = Lines::new(cap);
            prop_assert_eq!(got, drain(&mut whole, &stream, usize::MAX));
        }

        #[test]
        fn an_end_is_found_wherever_it_is(clear in 0_usize..100, after in 0_usize..100) {
            let mut bytes = vec![b'x'; clear];
            prop_assert_eq!(find_end(&bytes), None);
            bytes.push(b'\n');
            bytes.extend(vec![b'\n'; after]);
            prop_assert_eq!(find_end(&bytes), Some(clear));
        }
    }

    fn lines(cap: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(cap);
        chunks
            .iter()
            .flat_map(|chunk| drain(&mut lines, chunk, usize::MAX))
            .collect()
    }

    /// All lines of a chunk, `budget` a turn; "!" stands for an overlong one.
    fn drain(lines: &mut Lines, mut chunk: &[u8], budget: usize) -> Vec<String> {
        let mut out = Vec::new();
        loop {
            for _ in 0..budget {
                match lines.next(&mut chunk) {
                    Some(Ok(line)) => out.push(String::from_utf8_lossy(line).into_owned()),
                    Some(Err(Overlong)) => out.push("!".to_owned()),
                    None => {
                        lines.keep(chunk);
                        return out;
                    }
                }
            }
            lines.keep(chunk);
            chunk = b"";
        }
    }
}
