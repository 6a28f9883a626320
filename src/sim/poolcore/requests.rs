//! What the simulated pool answers to each request.
//!
//! Invariant: one request with an id, one reply (unless the config says silence).

use super::{Configure, Connection, ConnectionId, Instant, SimPool, Value, json};
use crate::sim::{
    judge::{Good, Reason, Submit, judge},
    poolconfig::Subscribe,
    wire::{first_number, hex, hex_u32},
};

/// Worker names counted one by one.
const USERS: usize = 10_000;
/// Submit lines and block hashes kept.
const RING: usize = 64;
/// Workers of one connection.
const WORKERS: usize = 10_000;

impl SimPool {
    pub(super) fn take_request(&mut self, now: Instant, from: ConnectionId, line: &[u8]) {
        let message: Value = serde_json::from_slice(line).unwrap_or(Value::Null);
        let id = message.get("id").unwrap_or(&Value::Null);
        let params = message.get("params").unwrap_or(&Value::Null);
        let method = message.get("method").and_then(Value::as_str).unwrap_or("");
        let reply = match method {
            "mining.configure" => self.configure(from, id, params),
            "mining.subscribe" => self.subscribe(from, id),
            "mining.authorize" => self.authorize(from, id, params),
            "mining.submit" => {
                keep(
                    &mut self.stats.last_submits,
                    String::from_utf8_lossy(line).into(),
                );
                Some(self.submit(from, id, params))
            }
            "mining.extranonce.subscribe" => self
                .config
                .answers_extranonce_subscribe
                .then(|| json!({"id": id, "result": true, "error": null})),
            "mining.suggest_difficulty" => Some(self.suggest(from, id, first_number(line))),
            _ if id.is_null() => None,
            _ => Some(json!({"id": id, "result": null, "error": [-3, "Method not found", null]})),
        };
        if let Some(reply) = reply.filter(|_| !id.is_null()) {
            self.send(now, from, reply.to_string());
        }
        if matches!(method, "mining.subscribe" | "mining.authorize") {
            self.begin(now, from);
        }
    }

    /// The first job follows the second of subscribe and authorize.
    fn begin(&mut self, now: Instant, from: ConnectionId) {
        let ready = |c: &Connection| c.subscribed && !c.workers.is_empty() && c.terms.is_empty();
        if self.connections.get(&from).is_some_and(ready) {
            self.notify(now, from, Some(true));
        }
    }

    fn configure(&mut self, from: ConnectionId, id: &Value, params: &Value) -> Option<Value> {
        let asked = params.pointer("/1/version-rolling.mask");
        let asked = asked.and_then(Value::as_str).and_then(hex_u32);
        match self.config.configure {
            Configure::Silent => None,
            Configure::Unknown => {
                Some(json!({"id": id, "result": null, "error": [-3, "Method not found", null]}))
            }
            Configure::Refuse => {
                Some(json!({"id": id, "result": {"version-rolling": false}, "error": null}))
            }
            Configure::Grant(mask) => {
                let granted = mask & asked.unwrap_or(u32::MAX);
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.mask = granted;
                }
                let result = json!({
                    "version-rolling": true,
                    "version-rolling.mask": format!("{granted:08x}"),
                });
                Some(json!({"id": id, "result": result, "error": null}))
            }
        }
    }

    fn subscribe(&mut self, from: ConnectionId, id: &Value) -> Option<Value> {
        let connection = self.connections.get_mut(&from)?;
        let (en1, size) = (hex(&connection.en1), connection.en2_size);
        let result = match self.config.subscribe {
            Subscribe::Usual => {
                let session = format!("{from:08x}");
                let pairs = [
                    json!(["mining.set_difficulty", session]),
                    json!(["mining.notify", session]),
                ];
                json!([pairs, en1, size])
            }
            Subscribe::OnePair => json!([["mining.notify", "1"], en1, size]),
            Subscribe::Empty => json!([[], en1, size]),
            Subscribe::NotAnArray => json!({"extranonce1": en1, "extranonce2_size": size}),
            Subscribe::Silent => return None,
        };
        connection.subscribed = true;
        Some(json!({"id": id, "result": result, "error": null}))
    }

    fn authorize(&mut self, from: ConnectionId, id: &Value, params: &Value) -> Option<Value> {
        let user = params.get(0).and_then(Value::as_str).unwrap_or("");
        let barred = self.config.refuses_workers.as_ref();
        let barred = barred.is_some_and(|pattern| user.contains(pattern.as_str()));
        let connection = self.connections.get_mut(&from)?;
        if self.config.refuses_login || barred || connection.workers.len() >= WORKERS {
            let error = json!([24, "Unauthorized worker", null]);
            return Some(json!({"id": id, "result": false, "error": error}));
        }
        connection.workers.insert(user.to_owned());
        Some(json!({"id": id, "result": true, "error": null}))
    }

    fn suggest(&mut self, from: ConnectionId, id: &Value, wanted: Option<f64>) -> Value {
        let floor = self.config.difficulty;
        if let (Some(wanted), Some(connection)) = (wanted, self.connections.get_mut(&from))
            && self.config.honours_suggestions
            && (floor..=2f64.powi(63)).contains(&wanted)
        {
            connection.difficulty = wanted;
        }
        json!({"id": id, "result": true, "error": null})
    }

    fn submit(&mut self, from: ConnectionId, id: &Value, params: &Value) -> Value {
        self.stats.received += 1;
        let verdict = self.judge(from, params);
        let user = params.get(0).and_then(Value::as_str).unwrap_or("");
        let known = self.stats.users.contains_key(user) || self.stats.users.len() < USERS;
        let name = if known { user } else { "(others)" };
        let user = self.stats.users.entry(name.to_owned()).or_default();
        match verdict {
            Ok(good) => {
                user.accepted += 1;
                user.hashes += good.weight;
                self.stats.accepted += 1;
                self.stats.accepted_hashes += good.weight;
                json!({"id": id, "result": true, "error": null})
            }
            Err(reason) => {
                user.rejected += 1;
                *self.stats.rejected.entry(reason).or_default() += 1;
                self.config.dialect.refusal(id, reason)
            }
        }
    }

    fn judge(&mut self, from: ConnectionId, params: &Value) -> Result<Good, Reason> {
        let submit = Submit::from_params(params).ok_or(Reason::Malformed)?;
        let connection = self.connections.get_mut(&from);
        let connection = connection.filter(|c| c.subscribed);
        let connection = connection.ok_or(Reason::Unsubscribed)?;
        if !connection.workers.contains(submit.user) {
            return Err(Reason::Unauthorized);
        }
        let mut newest_first = self.jobs.iter().rev();
        let job = newest_first.find(|(job, _)| job.id == submit.job_id);
        let (job, block) = job.ok_or(Reason::Stale)?;
        let terms = connection.terms.get(submit.job_id);
        let terms = terms.ok_or(Reason::Stale)?;
        let good = judge(job, terms, connection.mask, &submit)?;
        // Counted even when stale: a block candidate must have reached the pool whatever else it is.
        if good.block && !self.stats.block_hashes.contains(&good.hash) {
            self.stats.blocks += 1;
            keep(&mut self.stats.block_hashes, good.hash);
        }
        if *block != self.block {
            return Err(Reason::Stale);
        }
        if !self.seen.insert(good.hash) {
            return Err(Reason::Duplicate);
        }
        connection.shares += 1;
        if self.rng.chance(self.config.reject_ratio) {
            self.stats.refused_hashes += good.weight;
            return Err(Reason::OnPurpose);
        }
        Ok(good)
    }
}

fn keep<T>(ring: &mut std::collections::VecDeque<T>, item: T) {
    if ring.len() >= RING {
        ring.pop_front();
    }
    ring.push_back(item);
}
