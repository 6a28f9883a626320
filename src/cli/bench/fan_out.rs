//! What a new block costs: one work to every session machine, beside copying its line as often.
//!
//! No sockets. Invariant: each session sends one message that ends with the clean notify line, asserted every time.

use super::lab::Fleet;
use super::{repeat, time};
use crate::machine::Machine;
use crate::proxy::lease::Issue;
use crate::proxy::session::{Input, Output};
use serde::Serialize;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) sessions: usize,
    /// The line that everyone is sent.
    pub(super) line_bytes: usize,
    /// The bound: the line in as many vectors.
    pub(super) copy_ms: f64,
    pub(super) ms: f64,
    /// Of these two.
    pub(super) ratio: f64,
}

/// Measures in turns; the least counts.
pub(super) fn measure(span: Duration, sessions: usize) -> Figure {
    let mut fleet = Fleet::new(sessions, true);
    let (mut copy, mut all, mut line_bytes) = (f64::MAX, f64::MAX, 0);
    repeat(span, || {
        let issue = fleet.issue();
        line_bytes = issue.v1_clean.len();
        copy = copy.min(copied(&issue, sessions));
        all = all.min(issued(&mut fleet, &issue));
    });
    Figure {
        sessions,
        line_bytes,
        copy_ms: copy / 1e6,
        ms: all / 1e6,
        ratio: all / copy,
    }
}

/// Nanoseconds for all. What they send is looked at afterwards.
fn issued(fleet: &mut Fleet, issue: &Arc<Issue>) -> f64 {
    let mut sent = Vec::with_capacity(fleet.sessions.len());
    let ns = time(|| {
        for session in &mut fleet.sessions {
            session.handle_input(fleet.now, Input::Issue(issue));
            while let Some(output) = session.poll_output() {
                if let Output::Send(bytes) = output {
                    sent.push(bytes);
                }
            }
        }
    });
    assert_eq!(sent.len(), fleet.sessions.len(), "one send each");
    assert!(sent.iter().all(|bytes| bytes.ends_with(&issue.v1_clean)));
    ns
}

/// The same bytes in as many vectors, kept as long.
fn copied(issue: &Issue, times: usize) -> f64 {
    let mut sent = Vec::with_capacity(times);
    let ns = time(|| {
        for _ in 0..times {
            sent.push(black_box(&issue.v1_clean).to_vec());
        }
    });
    black_box(sent);
    ns
}
