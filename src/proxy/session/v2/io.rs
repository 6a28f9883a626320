//! What goes into a V2 connection and comes out of it: plain values, no behaviour. What concerns one channel is the same
//! as for a V1 session, with the channel's session id.

use crate::proxy::lease::{Issue, SessionId};
use crate::proxy::session::{self, Close};
use crate::stratum::v2::frame::Frame;
use crate::work::{Lane, Work};
use std::sync::Arc;

/// What happens to a connection.
#[derive(Debug)]
pub enum Input<'a> {
    /// One frame.
    Frame(Frame<'a>),
    /// A frame was announced that is above the cap.
    TooLong,
    /// What concerns one channel: everything but lines, work and the drain.
    Of(SessionId, session::Input<'a>),
    /// The latest work of a link, for every channel leased to it.
    Issue(&'a Arc<Issue>),
    /// The answer to [`Output::Root`].
    Root(SessionId, &'a Arc<Work>, [u8; 32]),
    /// The process drains: answer what was read, then close.
    Drain,
    /// The connection is to end.
    Close(Close),
    /// What was to be sent could not be for 30 s.
    SlowReader,
}

/// What a connection wants done.
#[derive(Debug)]
pub enum Output {
    /// Whole plaintext frames for the client, coalesced.
    Send(Vec<u8>),
    /// A wish of one channel; never `Send` or `Close`. The first of a session id is its `Attach`.
    Of(SessionId, session::Output),
    /// The merkle root of this work under this lane, nothing rolled (`work::share::roots`); answer with [`Input::Root`].
    Root(SessionId, Arc<Work>, Lane),
    /// A channel is over: give back its seat (`take_memory`).
    Closed(SessionId, Close),
    /// End the connection, after what was to be sent; channels that are left end with it.
    Close(Close),
}
