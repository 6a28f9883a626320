//! What befalls the peers: each fault of a plan, carried out.
//!
//! Invariant: nothing befalls anyone once the world is ending.

use crate::clock::Ns;
use crate::event::Ev;
use crate::plan::Fault;
use crate::world::World;

impl World {
    pub fn befall(&mut self, fault: Fault) {
        let (now, instant) = (self.clock.now(), self.clock.instant());
        if self.ending {
            return;
        }
        match fault {
            Fault::PoolDies(at, back) => self.pool_dies(at, back),
            Fault::PoolFreezes(at, back) => self.pool_freezes(at, back),
            Fault::Cut(at, cut, back) => {
                if self.miners[at].conn.is_some() {
                    self.miners[at].excused += 1;
                    self.miners[at].core.disconnected(false);
                    self.leave(at, cut, back);
                }
            }
            Fault::ChannelEnds(at) => {
                self.miners[at].core.close_channel();
                self.run_miner(at);
            }
            Fault::MinerStalls(at, length) => {
                let Some(id) = self.miners[at].conn else {
                    return;
                };
                self.miners[at].tainted = true;
                if let Some(conn) = self.conns[id].as_deref_mut() {
                    conn.down.stalled = now + length;
                    conn.tainted = true;
                }
            }
            Fault::PoolStalls(at, length) => {
                if let Some(up) = self.links[at].up.and_then(|id| self.ups[id].as_mut()) {
                    up.up.stalled = now + length;
                }
            }
            _ if self.pools[fault_pool(fault)].frozen => {}
            Fault::Extranonce(at) => {
                let size = self.plan.pools[at].config.extranonce2_size;
                self.pools[at].core.set_extranonce(instant, size);
            }
            Fault::Mask(at, mask) => self.pools[at].core.set_version_mask(instant, mask),
            Fault::Repeat(at) => {
                if let Some(line) = self.books.repeatable(at) {
                    self.pools[at].core.push_line(instant, &line);
                }
            }
            Fault::Flood(at, jobs, gap, clean) => {
                let job = if clean {
                    Fault::Block(at)
                } else {
                    Fault::Flood(at, 0, 0, false)
                };
                if jobs == 0 {
                    self.pools[at].core.new_job(instant);
                }
                for step in 0..u64::from(jobs) {
                    self.plan.faults.push((now + step * gap, job));
                    self.clock
                        .plan(now + step * gap, Ev::Fault(self.plan.faults.len() - 1));
                }
            }
            Fault::Reconnect(at) => self.pools[at]
                .core
                .v2(|pool| pool.reconnect(instant, "", 0)),
            Fault::CloseChannels(at) => {
                self.pools[at]
                    .core
                    .v2(|pool| pool.close_channels(instant, "rebalancing"));
            }
            Fault::Regroup(at) => self.pools[at].core.v2(|pool| {
                pool.regroup(instant);
                pool.push_unknown(instant);
            }),
            Fault::Block(at) => self.pools[at].core.new_block(instant),
            Fault::Difficulty(at, difficulty) => {
                self.pools[at].core.set_difficulty(instant, difficulty);
            }
        }
        for at in 0..self.pools.len() {
            self.pool_writes(at);
        }
    }

    fn pool_dies(&mut self, at: usize, back: Ns) {
        let until = self.clock.now() + back;
        if self.pools[at].frozen {
            return;
        }
        self.pools[at].dead_until = until;
        self.pools[at].core.close_all();
        self.pool_writes(at);
        self.clock.plan(until, Ev::Pool(at));
    }

    fn pool_freezes(&mut self, at: usize, back: Ns) {
        let until = self.clock.now() + back;
        self.pools[at].frozen = true;
        self.pools[at].frozen_until = until;
        self.froze(at, until);
    }
}

fn fault_pool(fault: Fault) -> usize {
    match fault {
        Fault::Extranonce(at)
        | Fault::Mask(at, _)
        | Fault::Repeat(at)
        | Fault::Flood(at, ..)
        | Fault::Block(at)
        | Fault::Difficulty(at, _)
        | Fault::PoolDies(at, _)
        | Fault::PoolFreezes(at, _)
        | Fault::Reconnect(at)
        | Fault::CloseChannels(at)
        | Fault::Regroup(at)
        | Fault::PoolStalls(at, _) => at,
        Fault::Cut(..) | Fault::MinerStalls(..) | Fault::ChannelEnds(_) => 0,
    }
}
