//! What others ask for as it comes in: refused, answered again, or taken; renewed and given back.
//!
//! Not what follows from it (`decide.rs`). Invariant: nothing is answered yes that was not put out to be saved before.

use super::{Answer, Controller, Output, Save};
use crate::curtail::{
    Wall, Watts,
    orders::{Digest, HEARTBEAT, Order, Passage},
    reserve::Reservation,
    signal::{Ask, Envelope, Refusal},
    view::{OrderState, ReservationState},
};
use std::time::Instant;

impl Controller {
    pub(super) fn signal(
        &mut self,
        now: Instant,
        call: u64,
        envelope: Envelope,
        digest: Digest,
        admin: bool,
    ) {
        let passage = self
            .orders
            .fence(&envelope.source, envelope.epoch, envelope.seq, &digest);
        let answer = match passage {
            Ok(Passage::Repeat(id)) => self.again(now, &id),
            Ok(Passage::New) => match self.check(now, &envelope) {
                Ok(()) => return self.take(now, call, envelope, digest, admin),
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => {
                if refusal == Refusal::SequenceConflict {
                    self.alarm(format!(
                        "{} sent other bytes under a sequence number it had used",
                        envelope.source
                    ));
                }
                Err(refusal)
            }
        };
        self.out.push_back(Output::Answer { call, answer });
    }

    pub(super) fn check(&self, now: Instant, envelope: &Envelope) -> Result<(), Refusal> {
        let nameplate = self.field(now).sums(|_, kind| kind.model.watts).site;
        self.orders
            .check(&self.site, self.wall(now), envelope, nameplate)?;
        let law = &self.site.law;
        let all = self.orders.in_force().count();
        let of_source = |order: &&Order| order.envelope.source == envelope.source;
        let full = match envelope.ask {
            Ask::Reserve(_) => self.reservations.open().count() >= law.most_reservations,
            Ask::Release(_) => false,
            // An emergency finds room where others have filled it.
            Ask::Cap(_) if envelope.class == 0 => all >= 2 * law.most_orders,
            // A sender that runs away shuts out itself.
            _ => {
                let own = self.orders.in_force().filter(of_source).count();
                all >= law.most_orders || own >= law.most_orders.div_ceil(4)
            }
        };
        match full {
            true => Err(Refusal::TooMany),
            false => Ok(()),
        }
    }

    fn take(&mut self, now: Instant, call: u64, envelope: Envelope, digest: Digest, admin: bool) {
        let wall = self.wall(now);
        let source = envelope.source.clone();
        let at = (envelope.epoch, envelope.seq);
        let (id, answer) = match envelope.ask.clone() {
            Ask::Release(id) => {
                let by = (!admin).then_some(source.as_str());
                match self.release(now, &id, by, admin) {
                    Ok(()) => (id, Ok(Answer::Done)),
                    Err(refusal) => {
                        self.out.push_back(Output::Answer {
                            call,
                            answer: Err(refusal),
                        });
                        return;
                    }
                }
            }
            Ask::Reserve(_) => {
                let n = self.orders.number();
                let reserved = self.reservations.open().next().is_some();
                let watts = self.gpu.watts(now);
                self.gpu.read(now, watts, reserved);
                self.reservations.all.push(Reservation {
                    n,
                    envelope,
                    accepted_at: wall,
                    state: ReservationState::Pending,
                    granted_at: None,
                    granted: Watts::ZERO,
                    achievable: None,
                    base: Watts::ZERO,
                    accepted: Some(now),
                    renewed: None,
                });
                self.turn(now);
                self.save_reservation(n);
                let id = format!("r-{n}");
                let answer = self.again(now, &id);
                (id, answer)
            }
            _ => {
                let n = self.orders.number();
                let from = self.drawn(now, &envelope.scope);
                let order = Order {
                    n,
                    envelope,
                    accepted_at: wall,
                    from,
                    state: OrderState::Accepted,
                    proven_at: None,
                    accepted: Some(now),
                    renewed: None,
                };
                self.orders.all.insert(n, order);
                self.turn(now);
                self.save_order(n);
                let id = format!("o-{n}");
                let answer = self.again(now, &id);
                (id, answer)
            }
        };
        self.hear(now, &source);
        let fence = self.orders.pass((&source, at.0, at.1), digest, &id);
        self.out
            .push_back(Output::Save(Box::new(Save::Fence { source, fence })));
        let answer = answer.map(|answer| match answer {
            Answer::Order { status, .. } => Answer::Order {
                status,
                repeated: false,
            },
            Answer::Reservation { status, .. } => Answer::Reservation {
                status,
                repeated: false,
            },
            other => other,
        });
        self.out.push_back(Output::Answer { call, answer });
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Instant,
        source: &str,
        at: (u64, u64),
        issued: Wall,
        digest: Digest,
    ) -> Result<Answer, Refusal> {
        match self.orders.fence(source, at.0, at.1, &digest)? {
            Passage::Repeat(_) => return Ok(Answer::Done),
            Passage::New => {}
        }
        let skew = i64::try_from(self.site.law.skew.as_millis()).unwrap_or(i64::MAX);
        if issued.0.saturating_sub(self.wall(now).0).saturating_abs() > skew {
            return Err(Refusal::ClockSkew);
        }
        self.hear(now, source);
        // Its number is not kept over a restart: one of before is refused by its age.
        self.orders.pass((source, at.0, at.1), digest, HEARTBEAT);
        self.due = now;
        Ok(Answer::Done)
    }

    fn hear(&mut self, now: Instant, source: &str) {
        for n in self.orders.hear(now, source) {
            self.save_order(n);
        }
    }

    pub(super) fn release(
        &mut self,
        now: Instant,
        id: &str,
        by: Option<&str>,
        admin: bool,
    ) -> Result<(), Refusal> {
        let unknown = Refusal::UnknownOrder;
        let mine = |source: &str| by.is_none_or(|by| by == source);
        let (kind, n) = number(id).ok_or(unknown)?;
        match kind {
            'o' => {
                let order = self.orders.all.get(&n).ok_or(unknown)?;
                if order.is_stop() && !admin {
                    return Err(Refusal::Forbidden);
                }
                if !mine(&order.envelope.source) || !self.orders.end(n) {
                    return Err(unknown);
                }
                self.save_order(n);
            }
            _ => {
                let one = self.reservations.find(n).ok_or(unknown)?;
                if !mine(&one.envelope.source) || !self.reservations.release(n) {
                    return Err(unknown);
                }
                self.save_reservation(n);
            }
        }
        self.due = now;
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        now: Instant,
        id: &str,
        expires_at: Wall,
        by: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let unknown = Refusal::UnknownOrder;
        let mine = |source: &str| by.is_none_or(|by| by == source);
        let wall = self.wall(now);
        if expires_at <= wall {
            return Err(Refusal::Expired);
        }
        let (kind, n) = number(id).ok_or(unknown)?;
        match kind {
            'o' => {
                let order = self.orders.all.get_mut(&n).filter(|order| order.holds());
                let order = order
                    .filter(|order| mine(&order.envelope.source))
                    .ok_or(unknown)?;
                order.renew(now, wall, expires_at);
                let source = order.envelope.source.clone();
                self.hear(now, &source);
                self.save_order(n);
            }
            _ => {
                let one = self.reservations.find(n).ok_or(unknown)?;
                if !mine(&one.envelope.source) || !self.reservations.renew(now, wall, n, expires_at)
                {
                    return Err(unknown);
                }
                self.save_reservation(n);
            }
        }
        self.again(now, id)
    }
}

/// `o-17` is order 17, `r-3` reservation 3.
pub(super) fn number(id: &str) -> Option<(char, u64)> {
    let (kind, n) = id.split_once('-')?;
    let kind = kind
        .chars()
        .next()
        .filter(|c| matches!(c, 'o' | 'r') && kind.len() == 1)?;
    n.parse().ok().map(|n| (kind, n))
}
