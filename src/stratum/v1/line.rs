//! Cuts a byte stream into lines; scans every byte once, keeps only what is unfinished, caps the length.

/// A line went past its cap; the connection is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overlong;

/// What is left over between two reads. No heap while nothing is left over.
#[derive(Debug)]
pub struct Lines {
    cap: usize,
}

impl Lines {
    /// `cap`: most bytes of a line without its terminator.
    pub fn new(cap: usize) -> Self {
        Self { cap }
    }
    /// The next whole line (without `\n` or `\r\n`; empty lines are skipped), first from what was kept, then from `chunk`,
    /// which is advanced past what was used. `None`: no whole line is there (then call [`Lines::keep`]).
    pub fn next<'a, 'c: 'a>(
        &'a mut self,
        _chunk: &mut &'c [u8],
    ) -> Option<Result<&'a [u8], Overlong>> {
        let _ = self.cap;
        todo!()
    }
    /// Keeps the rest of a chunk for later (an unfinished line, or whole lines that a turn's budget left over).
    pub fn keep(&mut self, _chunk: &[u8]) {
        todo!()
    }
    /// Bytes kept.
    pub fn kept(&self) -> usize {
        todo!()
    }
    /// Whether a whole line is waiting in what was kept.
    pub fn has_line(&self) -> bool {
        todo!()
    }
}
