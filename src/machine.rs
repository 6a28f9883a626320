//! The contract of the pure core: inputs and time go in, outputs come out.
//!
//! A machine has no clock, no randomness, no await, no lock and no I/O. Whoever drives it (a task, the
//! virtual-time world, a fuzzer, a bench) calls one `handle_*`, then drains [`Machine::poll_output`], then
//! looks at [`Machine::poll_timeout`]. Invariant: after the drain, nothing happens until the next `handle_*`.

use std::time::Instant;

/// A state machine that decides and never does.
pub trait Machine {
    /// What happened outside. Borrowed where copying would cost (a line of text).
    type Input<'a>;
    /// What the driver shall do.
    type Output;

    /// Takes one event. Never fails: bad input becomes an output (a refusal, a close).
    fn handle_input(&mut self, now: Instant, input: Self::Input<'_>);

    /// Tells the machine that time has passed. Harmless when called early.
    fn handle_timeout(&mut self, now: Instant);

    /// The next thing to do; drained until `None` after every `handle_*`.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When to call [`Machine::handle_timeout`] next, and why (for traces and tests).
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;
}
