//! Bytes as a program of steps, and time that passes for a machine; shared by the checks of machines.
//!
//! Invariant: any bytes are a program. A hole that finds no bytes left reads zeros, so a program always ends.

use std::time::{Duration, Instant};

/// Turns of one timer at one instant; more is a loop. Two timers may fall on it and one may start the other.
const SAME_INSTANT: u32 = 4;
/// The shortest time any timer of ours repeats at.
const SHORTEST: Duration = Duration::from_millis(200);

/// What is left of the input.
#[derive(Debug)]
pub(crate) struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    /// Up to the next line feed, which is taken too.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    /// A template with each `%` filled from a dictionary, or with raw bytes of the program.
    pub(crate) fn filled(&mut self, template: &str, dictionary: &[&str]) -> Vec<u8> {
        let mut line = Vec::new();
        for byte in template.bytes() {
            if byte != b'%' {
                line.push(byte);
                continue;
            }
            let choice = usize::from(self.byte());
            match dictionary.get(choice % (dictionary.len() + 1)) {
                Some(text) => line.extend_from_slice(text.as_bytes()),
                None => line.extend((0..choice % 8).map(|_| match self.byte() {
                    b'\n' => b' ',
                    byte => byte,
                })),
            }
        }
        line
    }

    /// How far time goes: mostly little, sometimes half an hour.
    pub(crate) fn pause(&mut self) -> Duration {
        let amount = u64::from(self.byte());
        match self.byte() % 8 {
            0..=2 => Duration::from_millis(amount),
            3 | 4 => Duration::from_millis(50 * amount),
            5 | 6 => Duration::from_secs(amount),
            _ => Duration::from_secs(8 * amount),
        }
    }
}

/// Calls a machine's timers until `target`, as a driver would, and sees that it never keeps its driver busy.
pub(crate) fn pass_time(
    mut now: Instant,
    target: Instant,
    mut turn: impl FnMut(Instant, Turn) -> Option<(Instant, &'static str)>,
) {
    let most = (target - now).as_millis() / SHORTEST.as_millis() + 64;
    let (mut turns, mut repeats) = (0, 0);
    while let Some((at, why)) = turn(now, Turn::Look).filter(|(at, _)| *at <= target) {
        repeats = if at <= now { repeats + 1 } else { 0 };
        now = now.max(at);
        turns += 1;
        assert!(repeats <= SAME_INSTANT, "the timer {why:?} never goes away");
        assert!(turns <= most, "the timer {why:?} repeats too often");
        turn(now, Turn::Fire);
    }
}

/// What [`pass_time`] asks its caller to do with the machine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Turn {
    /// Say when it wants to be called.
    Look,
    /// Call `handle_timeout`, drain.
    Fire,
}
