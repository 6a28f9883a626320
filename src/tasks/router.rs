//! The router's task: messages in, seats and orders out. Never waits for a session or a link.

use super::{LinkOrders, SeatReply, SessionOrders, ToRouter};
use crate::machine::Machine;
use crate::proxy::lease::SessionId;
use crate::proxy::router::{Event, Input, Output, Router};
use crate::telemetry::Board;
use crate::work::LinkId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
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

enum Port {
    Waiting(oneshot::Sender<SeatReply>),
    Seated(watch::Sender<SessionOrders>),
}

struct Task {
    start: Start,
    ports: HashMap<SessionId, Port>,
    board: Arc<Board>,
}

/// Runs until nobody can send any more, or until cancelled by being dropped.
pub async fn run(start: Start) {
    let board = start.hub.board.clone();
    let mut task = Task {
        start,
        ports: HashMap::new(),
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
            ToRouter::Attach(input, session, reply) => {
                self.ports.insert(session, Port::Waiting(reply));
                self.start.router.handle_input(now, *input);
            }
            ToRouter::Input(input) => {
                if let Input::Detach { session, .. } = &*input {
                    self.ports.remove(session);
                }
                self.start.router.handle_input(now, *input);
            }
            ToRouter::Works(works) => {
                for (session, for_links) in works {
                    self.start
                        .router
                        .handle_input(now, Input::Work { session, for_links });
                }
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.start.router.poll_output() {
            match output {
                Output::Seat(session, seat, lease) => {
                    let (orders_tx, orders_rx) =
                        watch::channel(SessionOrders { lease, close: None });
                    if let Some(Port::Waiting(reply)) =
                        self.ports.insert(session, Port::Seated(orders_tx))
                    {
                        // A session that is gone sends its Detach, which frees the lane... unless the seat itself is
                        // lost here: then it comes back with this send's error.
                        if let Err(Ok((seat, ..))) = reply.send(Ok((seat, lease, orders_rx))) {
                            self.return_seat(session, *seat);
                        }
                    }
                }
                Output::NoSeat(session, why) => {
                    if let Some(Port::Waiting(reply)) = self.ports.remove(&session) {
                        let _ = reply.send(Err(why));
                    }
                }
                Output::Lease(session, lease) => self.order(session, |orders| orders.lease = lease),
                Output::Close(session, why) => {
                    self.order(session, |orders| orders.close = Some(why))
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

    fn return_seat(&mut self, session: SessionId, seat: crate::proxy::lease::Seat) {
        self.ports.remove(&session);
        // A resumed lane has work out there, though this session never got any.
        let worked = !seat.memory.sent.is_empty();
        let memory = Some((seat.lane, seat.memory, worked));
        self.start.router.handle_input(
            Instant::now(),
            Input::Detach {
                session,
                memory,
                vanished: false,
            },
        );
    }

    fn order(&mut self, session: SessionId, change: impl FnOnce(&mut SessionOrders)) {
        if let Some(Port::Seated(orders)) = self.ports.get(&session) {
            orders.send_modify(change);
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
