//! What a simulated miner makes of the lines it reads.
//!
//! Invariant: any line is survived; one that makes no sense is counted as malformed.

use super::{Bound, Connection, Current, Instant, Job, Pending, SimMiner, Value, Violation, json};
use crate::sim::wire::{first_number, hex_u32, unhex};

impl SimMiner {
    pub(super) fn take_line(&mut self, now: Instant, line: &[u8]) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.watch.line(now);
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            return connection.watch.report(Violation::Malformed);
        };
        match message.get("method").and_then(Value::as_str) {
            Some(method) => self.take_push(now, method, &message, line),
            None => self.take_reply(now, &message),
        }
    }

    fn take_push(&mut self, now: Instant, method: &str, message: &Value, line: &[u8]) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.watch.pushed(method);
        let params = message.get("params").unwrap_or(&Value::Null);
        // Old cgminer takes the one line after configure for its reply, and loses any other (STRATUM.md 1).
        let open = connection.pending.values();
        let configuring = open.clone().any(|p| matches!(p, Pending::Configure));
        if self.quirks.one_line_after_configure && configuring {
            return;
        }
        match method {
            "mining.notify" => self.take_notify(now, params),
            "mining.set_difficulty" => self.take_difficulty(now, first_number(line)),
            "mining.set_extranonce" => take_extranonce(connection, params),
            "mining.set_version_mask" => {
                let mask = params.get(0).and_then(Value::as_str).and_then(hex_u32);
                match mask {
                    Some(mask) => connection.mask = mask & self.config.version_mask,
                    None => connection.watch.report(Violation::Malformed),
                }
            }
            "client.reconnect" => self.hang_up = Some("client.reconnect"),
            _ => self.answer(method, message.get("id")),
        }
    }

    /// A request of the pool: version and ping are answered, others stay without answer, as in the field.
    fn answer(&mut self, method: &str, id: Option<&Value>) {
        let Some(id) = id.filter(|id| !id.is_null()) else {
            return;
        };
        let line = match method {
            "client.get_version" => {
                json!({"id": id, "result": self.quirks.user_agent, "error": null})
            }
            "mining.ping" if self.quirks.pongs => {
                json!({"id": id, "method": "mining.pong", "params": []})
            }
            "mining.ping" => json!({"id": id, "result": "pong", "error": null}),
            _ => return,
        };
        self.send(line.to_string());
    }

    fn take_notify(&mut self, now: Instant, params: &Value) {
        let (Some(connection), Some(job)) = (&mut self.connection, Job::from_params(params)) else {
            return self.malformed();
        };
        connection.watch.notify(&job.id);
        if connection.recent_ids.contains(&job.id) {
            return;
        }
        connection.recent_ids.push_back(job.id.clone());
        while connection.recent_ids.len() > self.quirks.ignores_last_ids {
            connection.recent_ids.pop_front();
        }
        let difficulty = connection.difficulty;
        let Some(bound) = Bound::of_difficulty(difficulty) else {
            return connection.watch.report(Violation::Malformed);
        };
        self.job_seq += 1;
        self.stats.jobs += 1;
        let before = connection.job.replace(Current {
            job,
            seq: self.job_seq,
            difficulty,
            bound,
            taken: now,
            found: 0,
        });
        if self.due.is_none() || before.is_some_and(|b| b.difficulty != difficulty) {
            self.schedule(now);
        }
    }

    fn take_difficulty(&mut self, now: Instant, difficulty: Option<f64>) {
        let bound = difficulty.and_then(Bound::of_difficulty);
        let (Some(connection), Some(difficulty), Some(bound)) =
            (&mut self.connection, difficulty, bound)
        else {
            return self.malformed();
        };
        connection.watch.difficulty(now, difficulty);
        connection.difficulty = difficulty;
        self.stats.difficulty = difficulty;
        if self.quirks.difficulty_at_once
            && let Some(current) = &mut connection.job
        {
            (current.difficulty, current.bound) = (difficulty, bound);
            // A search under the old bound would submit shares that are too easy.
            self.job_seq += 1;
            current.seq = self.job_seq;
            self.schedule(now);
        }
    }

    fn take_reply(&mut self, now: Instant, message: &Value) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let Some(id) = message.get("id").and_then(Value::as_u64) else {
            return connection.watch.report(Violation::Malformed);
        };
        connection.watch.replied(id);
        let result = message.get("result").unwrap_or(&Value::Null);
        let good = *result == Value::Bool(true);
        match connection.pending.remove(&id) {
            Some(Pending::Configure) => self.configured(now, result),
            Some(Pending::Subscribe) => self.subscribed(now, result),
            Some(Pending::Authorize { last }) => self.authorized(now, good, last),
            Some(Pending::Optional) => self.advance_handshake(now),
            Some(Pending::EarlySubmit) => {
                if good {
                    connection.watch.report(Violation::EarlySubmitAccepted);
                } else {
                    self.stats.early_refused += 1;
                }
                self.advance_handshake(now);
            }
            Some(Pending::Submit { at, weight }) => {
                self.stats.latency.add(now.duration_since(at));
                if good {
                    self.stats.accepted += 1;
                    self.stats.accepted_hashes += weight;
                } else {
                    let code = refusal_code(message.get("error"));
                    *self.stats.rejected.entry(code).or_default() += 1;
                }
            }
            None => {}
        }
    }

    fn configured(&mut self, now: Instant, result: &Value) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let granted = result.get("version-rolling") == Some(&Value::Bool(true));
        let mask = result.get("version-rolling.mask").and_then(Value::as_str);
        if granted {
            let mask = mask.and_then(hex_u32).unwrap_or(0);
            connection.mask = mask & self.config.version_mask;
        }
        let extra = result.as_object().is_some_and(|keys| {
            keys.keys().any(|key| {
                !matches!(
                    key.as_str(),
                    "version-rolling" | "version-rolling.mask" | "version-rolling.min-bit-count"
                )
            })
        });
        if extra {
            connection.watch.report(Violation::ConfigureExtraKeys);
        }
        connection.configures += 1;
        // Bounded here; the real thing loops until it is unplugged.
        if extra && self.quirks.loops_configure && connection.configures < 5 {
            return self.configure(now);
        }
        self.advance_handshake(now);
    }

    fn subscribed(&mut self, now: Instant, result: &Value) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let en1 = result.get(1).and_then(Value::as_str).and_then(unhex);
        let size = result.get(2).and_then(Value::as_u64);
        // cgminer refuses < 2 or > 16 (STRATUM.md 1).
        let (Some(en1), Some(size @ 2..=16)) = (en1, size) else {
            connection.watch.report(Violation::LoginRefused);
            self.hang_up = Some("subscribe refused");
            return;
        };
        connection.watch.subscribed();
        connection.subscribed = true;
        connection.en1.clone_from(&en1);
        connection.en2_size = size as usize;
        if let Some((_, before)) = &self.session
            && self.config.resume
            && *before == en1
        {
            self.stats.resumed += 1;
        }
        self.session = session_id(result).map(|id| (id, en1));
        self.advance_handshake(now);
        self.begin_mining(now);
    }

    fn authorized(&mut self, now: Instant, good: bool, last: bool) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if !good {
            connection.watch.report(Violation::LoginRefused);
            self.hang_up = Some("authorize refused");
            return;
        }
        if last {
            connection.authorized = true;
            self.advance_handshake(now);
            self.begin_mining(now);
        }
    }

    fn begin_mining(&mut self, now: Instant) {
        let ready = |c: &Connection| c.subscribed && c.authorized;
        if self.connection.as_ref().is_some_and(ready) {
            self.stats.mining = 1;
            self.schedule(now);
        }
    }

    fn malformed(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.watch.report(Violation::Malformed);
        }
    }
}

fn take_extranonce(connection: &mut Connection, params: &Value) {
    let en1 = params.get(0).and_then(Value::as_str).and_then(unhex);
    let size = params.get(1).and_then(Value::as_u64);
    match (en1, size) {
        (Some(en1), Some(size @ 2..=16)) => {
            connection.en1 = en1;
            connection.en2_size = size as usize;
        }
        _ => connection.watch.report(Violation::Malformed),
    }
}

/// `[[["mining.notify", "id"], ...], en1, size]`; some pools send one pair instead of a list of pairs.
fn session_id(result: &Value) -> Option<String> {
    let subscriptions = result.get(0)?;
    let pair = subscriptions.get(0).filter(|p| p.is_array());
    let id = pair.unwrap_or(subscriptions).get(1)?.as_str()?;
    Some(id.to_owned())
}

/// `[code, text, data]`, or an object with `code`; 0 where there is none (ckpool's reject-reason).
fn refusal_code(error: Option<&Value>) -> i64 {
    let code = |e: &Value| e.get(0).or_else(|| e.get("code")).and_then(Value::as_i64);
    error.and_then(code).unwrap_or(0)
}
