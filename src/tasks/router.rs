//! The router's task: messages in, seats and orders out. Never waits for a session or a link.

use super::mail::Mailbox;
use super::{LinkOrders, ToRouter};
use crate::machine::Machine;
use crate::proxy::lease::SessionId;
use crate::proxy::router::{Event, Input, Output, Router};
use crate::telemetry::Board;
use crate::work::LinkId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

/// Messages handled before links have their turn on this thread.
const TURN: usize = 256;

/// What the router task is given.
#[derive(Debug)]
pub struct Start {
    /// The machine.
    pub router: Router,
    /// From sessions, shards and links. Ends when the last of them is gone.
    pub inputs_rx: mpsc::Receiver<ToRouter>,
    /// Index: `LinkId`.
    pub links: Vec<watch::Sender<LinkOrders>>,
    /// The rest of the process: masks by listener, the board.
    pub hub: Arc<super::Hub>,
    /// Names for the log.
    pub pool_names: Vec<String>,
}

struct Task {
    start: Start,
    mailboxes: HashMap<SessionId, Arc<Mailbox>>,
    board: Arc<Board>,
}

/// Runs until nobody can send any more, or until cancelled by being dropped.
pub async fn run(start: Start) {
    let board = start.hub.board.clone();
    let mut task = Task {
        start,
        mailboxes: HashMap::new(),
        board,
    };
    loop {
        task.carry_out();
        let deadline = task
            .start
            .router
            .poll_timeout()
            .map_or_else(Instant::now, |(at, _)| at);
        tokio::select! {
            biased;
            message = task.start.inputs_rx.recv() => match message {
                Some(message) => task.take(message),
                None => return,
            },
            () = tokio::time::sleep_until(deadline.into()) => task.start.router.handle_timeout(Instant::now()),
        }
        for _ in 1..TURN {
            let Ok(message) = task.start.inputs_rx.try_recv() else {
                break;
            };
            task.take(message);
            task.carry_out();
        }
        tokio::task::yield_now().await;
        // A busy queue must not starve the beat.
        if Instant::now() >= deadline {
            task.start.router.handle_timeout(Instant::now());
        }
    }
}

impl Task {
    fn take(&mut self, message: ToRouter) {
        let now = Instant::now();
        match message {
            ToRouter::Attach(input, session, mailbox) => {
                self.mailboxes.insert(session, mailbox);
                self.start.router.handle_input(now, *input);
            }
            ToRouter::Input(mut input) => {
                if let Input::Detach {
                    session, memory, ..
                } = &mut *input
                {
                    let mailbox = self.mailboxes.remove(session);
                    // A session may go while its seat is on the way: then the seat comes back from here.
                    if let Some(Ok((seat, _))) = mailbox.and_then(|mailbox| mailbox.take_seat()) {
                        let worked = !seat.memory.sent.is_empty();
                        memory.get_or_insert((seat.lane, seat.memory, worked));
                    }
                }
                self.start.router.handle_input(now, *input);
            }
            ToRouter::Works(works) => {
                for (session, link, proven) in works {
                    let work = Input::Work {
                        session,
                        link,
                        proven,
                    };
                    self.start.router.handle_input(now, work);
                }
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.start.router.poll_output() {
            match output {
                Output::Seat(session, seat, lease) => {
                    if let Some(mailbox) = self.mailboxes.get(&session) {
                        mailbox.seat(Ok((seat, lease)));
                    }
                }
                Output::NoSeat(session, why) => {
                    if let Some(mailbox) = self.mailboxes.remove(&session) {
                        mailbox.seat(Err(why));
                    }
                }
                Output::Lease(session, lease) => self.order(session, |orders| orders.lease = lease),
                Output::Close(session, why) => {
                    self.order(session, |orders| orders.close = Some(why));
                }
                Output::Layout(layout) => {
                    for link in &self.start.links {
                        link.send_modify(|orders| orders.layout = Some(layout));
                    }
                }
                Output::Fleet(link, rate) => {
                    if let Some(link) = self.start.links.get(usize::from(link.0)) {
                        link.send_modify(|orders| orders.fleet = rate);
                    }
                }
                Output::Mask(listener, mask) => {
                    if let Some(shared) = self.start.hub.masks.get(usize::from(listener.0)) {
                        shared.store(mask, Ordering::Relaxed);
                    }
                }
                Output::Event(event) => {
                    self.board.router_event(&event);
                    self.say(&event);
                }
            }
        }
    }

    fn order(&mut self, session: SessionId, change: impl FnOnce(&mut super::SessionOrders)) {
        if let Some(mailbox) = self.mailboxes.get(&session) {
            mailbox.order(change);
        }
    }

    fn name(&self, link: Option<LinkId>) -> &str {
        link.and_then(|link| self.start.pool_names.get(usize::from(link.0)))
            .map_or("none", String::as_str)
    }

    fn say(&self, event: &Event) {
        match event {
            Event::Moved {
                miners,
                why: "weights",
                ..
            } => info!(miners, "moved leases to keep the pools' shares"),
            Event::Moved {
                from,
                to: None,
                miners,
                ..
            } => {
                warn!(
                    miners,
                    from = self.name(*from),
                    "no pool is left: miners keep their last job; shares are judged but not paid"
                );
            }
            Event::Moved {
                from,
                to,
                miners,
                why,
            } => {
                info!(
                    miners,
                    from = self.name(*from),
                    to = self.name(*to),
                    why,
                    "moved miners"
                );
            }
            Event::Layout(layout) => info!(
                lane = layout.lane,
                rolled = layout.rolled,
                "extranonce layout"
            ),
            Event::Excluded(link) => warn!(
                pool = self.name(Some(*link)),
                "the pool gives too little extranonce for the layout and is not used; pin a smaller `lanes.layout` to use it"
            ),
            Event::LayoutShrank(layout) => warn!(
                lane = layout.lane,
                rolled = layout.rolled,
                "only pools with a small extranonce are left: every miner reconnects once"
            ),
        }
    }
}
