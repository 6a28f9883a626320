//! The controller's task and the ledger: one batch a turn, written before anything of it acts.
//!
//! Not the file (that is `ledger/`). Invariant: what could not be written stays at the head of the next batch, within the
//! bounds of `waiting.rs`, so that a disk that was full for however long is written to again when it has room.
//!
//! | kind of entry | body |
//! |---|---|
//! | `start` | version, hash of the configuration, the site: a replay begins here |
//! | `raw` | who sent it, the bytes as they came |
//! | `turn` | milliseconds since the start, inputs, outputs |
//! | `lost` | how many entries of which moments found no room while the disk was full |

use super::fleet::{Fleet, Intent};
use super::waiting::{self, Waiting};
use crate::curtail::Wall;
use crate::curtail::controller::{Controller, Input, Output, Save};
use crate::curtail::orders::{Fence, Order};
use crate::curtail::replay::{Begin, Turn};
use crate::curtail::signal::{Ask, Envelope, Scope};
use crate::curtail::site::Site;
use crate::curtail::view::OrderState;
use crate::ledger::{Entry, LedgerError, OrderRow, Recovered, Row, WriterHandle};
use serde::Serialize;
use std::cmp::Reverse;
use tracing::{error, info, warn};

/// Longest lease that is written: a year.
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
/// Orders and reservations that had ended and are put back: as many as are shown.
const ENDED: usize = 64;

/// The id of [`safe_order`].
pub(super) const OWN_ORDER: &str = "o-0";

pub(super) struct Journal {
    ledger: WriterHandle,
    waiting: Waiting,
    failing: bool,
    /// Our own order is of this process alone.
    forgets_own: bool,
}

impl Journal {
    pub(super) fn new(ledger: WriterHandle) -> Self {
        Self {
            ledger,
            waiting: Waiting::default(),
            failing: false,
            forgets_own: false,
        }
    }

    /// From now on our own order is not kept for the next start: whoever starts a proxy wants it to decide, and an order
    /// that no source sent would bound mining until a person finds it.
    pub(super) fn forget_own(&mut self) {
        self.forgets_own = true;
    }

    /// Notes that a run begins.
    pub(super) fn open(&mut self, wall: Wall, site: &Site, config_hash: &str) {
        let begin = Begin {
            version: env!("CARGO_PKG_VERSION").into(),
            config_hash: config_hash.into(),
            site: site.clone(),
        };
        self.note(wall, "start", &begin);
    }

    /// Orders, reservations and fences of before a restart. Of those that had ended, the latest: no number is given twice,
    /// and who repeats an order that has ended is told so.
    pub(super) fn restore(&mut self, batch: &mut Vec<Input>, recovered: &Recovered) {
        self.waiting.known(&recovered.orders);
        for row in &recovered.fences {
            if let Ok(fence) = serde_json::from_str::<Fence>(&row.body) {
                let save = Save::Fence {
                    source: row.key.clone(),
                    fence,
                };
                batch.push(Input::Restore(Box::new(save)));
            }
        }
        let (mut found, mut ended): (Vec<_>, Vec<_>) =
            recovered.orders.iter().partition(|row| row.open);
        ended.sort_unstable_by_key(|row| Reverse(waiting::number(row)));
        found.extend(ended.into_iter().take(ENDED));
        found.sort_unstable_by_key(|row| waiting::number(row));
        for row in found {
            match saved(row) {
                Ok(save) => batch.push(Input::Restore(Box::new(save))),
                Err(why) => {
                    error!(order = row.id, %why, "an order of before the restart cannot be read");
                }
            }
        }
    }

    /// Notes the bytes of an order as they came.
    pub(super) fn raw(&mut self, wall: Wall, who: &str, raw: &[u8]) {
        let body = serde_json::json!({"who": who, "bytes": String::from_utf8_lossy(raw)});
        self.note(wall, "raw", &body);
    }

    fn note(&mut self, wall: Wall, kind: &str, body: &impl Serialize) {
        let body = serde_json::to_string(body).expect("plain values");
        self.waiting.batch.audit.push(Entry {
            at_ms: wall.0,
            kind: kind.into(),
            body,
        });
    }

    /// Writes a turn. Whether it is on the disk.
    pub(super) async fn keep(
        &mut self,
        wall: Wall,
        controller: &Controller,
        fleet: &mut Fleet,
        turn: &Turn,
    ) -> bool {
        if !(turn.inputs.is_empty() && turn.outputs.is_empty()) {
            self.note(wall, "turn", turn);
        }
        self.waiting.batch.machines.extend(fleet.learned());
        for output in &turn.outputs {
            self.row(wall, controller, output);
        }
        if self.waiting.batch.is_empty() {
            return true;
        }
        match self.write().await {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    info!("the journal can be written again");
                }
                true
            }
            Err(why) => {
                if !std::mem::replace(&mut self.failing, true) {
                    error!(%why, "the journal cannot be written: until it can, nothing is raised, and orders hold but would not survive a restart, which is what their senders are told");
                }
                if self.waiting.bound() {
                    warn!(
                        "the disk has been full for too long: from now on audit entries are lost, the oldest first"
                    );
                }
                false
            }
        }
    }

    async fn write(&mut self) -> Result<(), LedgerError> {
        while !self.waiting.batch.is_empty() {
            let part = self.waiting.part();
            if let Err(why) = self.ledger.commit(part.clone()).await {
                self.waiting.give_back(part);
                return Err(why);
            }
            self.waiting.written(&part);
        }
        Ok(())
    }

    fn row(&mut self, wall: Wall, controller: &Controller, output: &Output) {
        match output {
            Output::Save(save) => match &**save {
                Save::Order(order) if self.forgets_own && order.id() == OWN_ORDER => {}
                Save::Order(order) => self.waiting.batch.orders.push(OrderRow {
                    id: order.id(),
                    open: order.holds(),
                    body: json(order),
                    changed_ms: wall.0,
                }),
                Save::Reservation(one) => self.waiting.batch.orders.push(OrderRow {
                    id: one.id(),
                    open: one.open(),
                    body: json(one),
                    changed_ms: wall.0,
                }),
                Save::Fence { source, fence } => self.waiting.batch.fences.push(Row {
                    key: source.clone(),
                    body: json(fence),
                }),
            },
            Output::Command {
                machine, setpoint, ..
            } => {
                let name = &controller.machines()[machine.0 as usize].facts.name;
                let intent = Intent {
                    setpoint: *setpoint,
                    at: wall,
                };
                self.waiting.batch.intents.push(Row {
                    key: name.clone(),
                    body: json(&intent),
                });
            }
            Output::Answer { .. } | Output::Standing { .. } | Output::Alarm(_) => {}
        }
    }

    /// Writes what waits and closes the file.
    pub(super) async fn close(&mut self) {
        if let Err(why) = self.write().await {
            error!(%why, "the last turn could not be written");
        }
        if let Err(why) = self.ledger.close().await {
            error!(%why, "the journal did not close well");
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values")
}

fn saved(row: &OrderRow) -> serde_json::Result<Save> {
    match row.id.starts_with('r') {
        true => serde_json::from_str(&row.body).map(Save::Reservation),
        false => serde_json::from_str(&row.body).map(Save::Order),
    }
}

/// Mining to the safe watts, until an operator ends it.
pub(super) fn safe_order(site: &Site, wall: Wall, why: &str) -> Save {
    let envelope = Envelope {
        source: "sluice".into(),
        audience: site.name.clone(),
        epoch: 0,
        seq: 0,
        issued_at: wall,
        ends_at: None,
        expires_at: Wall(wall.0 + YEAR_MS),
        starts_at: None,
        class: 1,
        ask: Ask::Cap(site.safe),
        ramp_watts_per_s: None,
        deadline: None,
        scope: Scope::Mining,
    };
    info!(why, watts = %site.safe, "safe watts");
    Save::Order(Order {
        n: 0,
        envelope,
        accepted_at: wall,
        from: site.safe,
        state: OrderState::Accepted,
        proven_at: None,
        renewed: None,
        accepted: None,
    })
}
