//! What a session's task reaches beyond its own connection: links, the router, the board. Whatever protocol it speaks.
//!
//! Invariant: nothing here waits for longer than its bound, and a wait is boxed, so that an idle miner holds no room for it.

use super::super::ToRouter;
use super::super::mail::Mailbox;
use super::super::shard::Shard;
use crate::proxy::lease::{ListenerId, ResumeToken, SessionId, Submission};
use crate::proxy::router;
use crate::proxy::session::{Attach, Event};
use crate::proxy::tally::Drop as Dropped;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tracing::{debug, warn};

/// How long a share waits for a full link; then it is dropped and counted.
pub(super) const LINK_WAIT: Duration = Duration::from_secs(2);

/// To the link the work came from; parked for a bounded time when its queue is full.
pub(super) async fn hand_over(shard: &Shard, share: Box<Submission>) -> Result<(), Dropped> {
    let port = &shard.hub.links[usize::from(share.work.link.0)];
    let queue = if share.block {
        &port.blocks_tx
    } else {
        &port.shares_tx
    };
    match queue.try_send(share) {
        Ok(()) => Ok(()),
        Err(TrySendError::Closed(_)) => Err(Dropped::LinkLost),
        Err(TrySendError::Full(share)) => {
            // Boxed, so that an idle miner holds no room for a timer it never needs.
            match Box::pin(tokio::time::timeout(LINK_WAIT, queue.send(share))).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Dropped::LinkLost),
                Err(_) => Err(Dropped::LinkFull),
            }
        }
    }
}

/// False: the router is gone.
pub(super) async fn tell_router(shard: &Shard, message: ToRouter) -> bool {
    let router_tx = &shard.hub.router_tx;
    match router_tx.try_send(message) {
        Ok(()) => true,
        Err(TrySendError::Full(message)) => Box::pin(router_tx.send(message)).await.is_ok(),
        Err(TrySendError::Closed(_)) => false,
    }
}

/// The wish for a seat, as the router wants it; `None`: there is no randomness to be had for its token.
pub(super) fn wish(
    session: SessionId,
    listener: ListenerId,
    attach: Attach,
    mailbox: &Arc<Mailbox>,
) -> Option<ToRouter> {
    let mut token = [0; 16];
    getrandom::fill(&mut token).ok()?;
    let input = router::Input::Attach {
        session,
        listener,
        attach,
        token: ResumeToken(token),
    };
    Some(ToRouter::Attach(Box::new(input), session, mailbox.clone()))
}

/// Shows what happened to those who want to know; gives back what the router must hear of it.
pub(super) fn announce(
    shard: &Shard,
    session: SessionId,
    event: Event,
    now: Instant,
) -> Option<ToRouter> {
    shard.hub.board.session_event(session, &event, now);
    if let (Event::Authorized(worker), Some(power)) = (&event, &shard.hub.power) {
        power.authorized(session, worker);
    }
    match event {
        Event::Block(block) => warn!(
            target: "sluice::block", link = block.link.0, job = %block.pool_job, worker = %block.worker,
            hash = %block.hash, header = %block.header, coinbase = %block.coinbase, branch = ?block.branch,
            "block candidate"
        ),
        Event::Capability {
            version_mask,
            min_bits,
        } => {
            let input = router::Input::Capability {
                session,
                version_mask,
                min_bits,
            };
            return Some(ToRouter::Input(Box::new(input)));
        }
        event => debug!(session = session.0, ?event, "session"),
    }
    None
}

/// Lets every task that is ready now run first. Not `yield_now`, which asks the system for news in between.
pub(super) async fn behind_the_others() {
    let mut been = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
