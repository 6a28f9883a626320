//! The port to the controller: calls go up a bounded queue, each with its own way back; what stands comes down as the
//! latest [`View`].
//!
//! Knows no HTTP and decides nothing: who the caller is has been settled before (`auth.rs`), whether an order is
//! believed is the controller's. Invariant: a call that was sent is answered once, or its way back is dropped; who waits
//! waits at most [`PATIENCE`].

use super::auth::Principal;
use crate::curtail::Wall;
use crate::curtail::signal::{Envelope, Heartbeat, Refusal};
use crate::curtail::view::{OrderStatus, Preview, ReservationStatus, View};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Calls that may wait: the controller takes one in well under a millisecond but for the journal's write (some 10 ms),
/// so a full queue is 2 s late, and later callers do better to ask again.
pub const CALLS: usize = 256;
/// Longest wait for an answer. Longer means that the controller or its disk is stuck.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The near end, cloned for every handler.
#[derive(Clone, Debug)]
pub struct Control {
    /// To the controller, at most [`CALLS`] waiting.
    pub calls: mpsc::Sender<Call>,
    /// What stands.
    pub view: watch::Receiver<Arc<View>>,
    /// The site's name: what orders and heartbeats must name as their audience.
    pub site: Arc<str>,
}

/// The way back of a call.
pub type Reply = oneshot::Sender<Result<Accepted, Refusal>>;

/// What the controller is asked. Everything in it has been authenticated and is within its bounds.
#[derive(Debug)]
pub enum Call {
    /// An order, a reservation, or the release of one (`Ask::Release`).
    Signal {
        /// As read.
        envelope: Box<Envelope>,
        /// The bytes that were sent, at most `signal::LONGEST`: for the audit, and for telling a repetition (the
        /// same bytes) from a conflict. Those of an emergency stop are its short form, not an envelope.
        raw: Vec<u8>,
        /// May speak for the envelope's source: that has been checked.
        who: Principal,
        /// Plan, change nothing, take no sequence number; answered with [`Accepted::Preview`].
        dry_run: bool,
        /// The way back.
        reply: Reply,
    },
    /// Ends an order (`o-<n>`) or gives a reservation (`r-<n>`) back.
    Release {
        /// Which; perhaps none that exists.
        id: String,
        /// Whether it may is the controller's question: [`Principal::may_end`].
        who: Principal,
        /// Plan only.
        dry_run: bool,
        /// The way back.
        reply: Reply,
    },
    /// Moves the lease of a reservation.
    Renew {
        /// Which; perhaps none that exists.
        id: String,
        /// The new end of the lease.
        expires_at: Wall,
        /// Whether it may is the controller's question: [`Principal::may_end`].
        who: Principal,
        /// The way back.
        reply: Reply,
    },
    /// A source is alive; answered with [`Accepted::Done`].
    Heartbeat {
        /// As read.
        heartbeat: Heartbeat,
        /// As in [`Call::Signal`].
        raw: Vec<u8>,
        /// May speak for the heartbeat's source.
        who: Principal,
        /// The way back.
        reply: Reply,
    },
}

/// What the controller answers when it does not refuse.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// An order as it stands.
    Order {
        /// Its state.
        status: Box<OrderStatus>,
        /// What it does, where it was planned at once.
        plan: Option<Preview>,
        /// The same bytes came before, and this is that order.
        repeated: bool,
    },
    /// A reservation as it stands.
    Reservation {
        /// Its state.
        status: Box<ReservationStatus>,
        /// What it does, where it was planned at once.
        plan: Option<Preview>,
        /// The same bytes came before, and this is that reservation.
        repeated: bool,
    },
    /// What a dry run would do.
    Preview(Preview),
    /// Nothing to show.
    Done,
}

/// Why there is no answer of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// [`CALLS`] wait already, or the controller is not running: the call was not taken.
    #[error("the controller takes no more calls at the moment")]
    Busy,
    /// The call was taken and not answered within [`PATIENCE`]: what became of it is not known.
    #[error("the controller has not answered within 5 s")]
    Late,
}

impl Control {
    /// The two ends: near, and far for the controller's task.
    pub fn new(site: &str) -> (Self, mpsc::Receiver<Call>, watch::Sender<Arc<View>>) {
        let (calls_tx, calls_rx) = mpsc::channel(CALLS);
        let (view_tx, view_rx) = watch::channel(Arc::default());
        let near = Self {
            calls: calls_tx,
            view: view_rx,
            site: site.into(),
        };
        (near, calls_rx, view_tx)
    }

    /// What stands now.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`Silence`], when there is none.
    pub async fn ask(
        &self,
        call: impl FnOnce(Reply) -> Call,
    ) -> Result<Result<Accepted, Refusal>, Silence> {
        let (reply_tx, reply_rx) = oneshot::channel();
        // Never waits for room: a sender must learn at once that it was not heard.
        let sent = self.calls.try_send(call(reply_tx));
        sent.map_err(|_| Silence::Busy)?;
        match tokio::time::timeout(PATIENCE, reply_rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Silence::Late),
        }
    }
}
