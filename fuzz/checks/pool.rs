//! What a pool must see of a link, and which shares may still be written; a reference in the plainest words.
//!
//! Not the link: it reads only bytes that were sent and lines the pool said. Each check panics.

use serde_json::Value;
use serde_json::value::RawValue;
use sluice::proxy::lease::{Issue, Submission};
use sluice::stratum::v1::up::{self, Extranonce, Message, Outcome};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The same limit as STRATUM.md section 2 gives; held shares and blocks may go beyond.
const OUTSTANDING: usize = 4096 + 256 + 64;

/// A share that went into the link; its nonce names it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) share: Submission,
    pub(crate) written: bool,
}

/// One request of the link that waits for an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Configure,
    Subscribe,
    Login,
    Other,
    Share(u32),
}

/// The pool's view.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) asked: BTreeMap<u64, Asked>,
    last_id: u64,
    pub(crate) given: HashMap<u32, Given>,
    pub(crate) written: u64,
    pub(crate) epoch: u32,
    pub(crate) open: bool,
    pub(crate) logged_in: bool,
    /// As the pool has last said it, on this connection.
    pub(crate) extranonce: Option<Extranonce>,
    /// The newest work, and the first id under the extranonce in force.
    pub(crate) newest: Option<Arc<Issue>>,
    pub(crate) valid_from: u32,
}

impl Pool {
    pub(crate) fn connected(&mut self) {
        self.epoch += 1;
        self.open = true;
        self.gone();
        self.open = true;
    }

    pub(crate) fn gone(&mut self) {
        self.open = false;
        self.logged_in = false;
        self.extranonce = None;
        self.asked.clear();
    }

    /// A line of the pool before the link reads it: what it changes. Gives the share it ends, with yes or no.
    pub(crate) fn says(&mut self, line: &[u8]) -> Option<(u32, bool)> {
        match up::parse(line) {
            Ok(Message::SetExtranonce(Some(extranonce))) => self.take(extranonce),
            Ok(Message::Response {
                id: Some(id),
                outcome,
            }) => match (self.asked.remove(&id)?, outcome) {
                (Asked::Subscribe, Outcome::Ok(raw)) => {
                    if let Some(extranonce) = up::subscribe_result(raw) {
                        self.take(extranonce);
                    }
                }
                (Asked::Login, Outcome::Ok(_)) => self.logged_in = true,
                (Asked::Share(nonce), outcome) => {
                    return Some((nonce, matches!(outcome, Outcome::Ok(_))));
                }
                _ => {}
            },
            _ => {}
        }
        None
    }

    fn take(&mut self, extranonce: Extranonce) {
        if self.extranonce.as_ref() != Some(&extranonce) {
            self.valid_from = self.newest.as_ref().map_or(0, |issue| issue.work.id.0 + 1);
            self.extranonce = Some(extranonce);
        }
    }

    /// Bytes of the link.
    pub(crate) fn reads(&mut self, bytes: &[u8]) {
        assert!(self.open, "bytes for no socket");
        assert_eq!(bytes.last(), Some(&b'\n'), "a line without its end");
        for line in bytes[..bytes.len() - 1].split(|byte| *byte == b'\n') {
            assert!(line.len() < 128 * 1024);
            let members: BTreeMap<&str, &RawValue> =
                serde_json::from_slice(line).expect("we write JSON objects");
            if members.contains_key("method") {
                self.request(&serde_json::from_slice(line).expect("our own numbers"));
            } else {
                // The pool's own id, of which any scalar is echoed.
                assert!(members.contains_key("result") && members.contains_key("id"));
            }
        }
    }

    fn request(&mut self, line: &Value) {
        let id = line["id"].as_u64().expect("ids are numbers");
        assert!(id > self.last_id, "an id again");
        self.last_id = id;
        let method = line["method"].as_str().expect("a text");
        let asked = match method {
            "mining.configure" => Asked::Configure,
            "mining.subscribe" => Asked::Subscribe,
            "mining.authorize" if self.asked_login() => Asked::Login,
            "mining.authorize" | "mining.extranonce.subscribe" | "mining.suggest_difficulty" => {
                Asked::Other
            }
            "mining.submit" => self.submitted(&line["params"]),
            other => panic!("{other} is asked of a pool"),
        };
        self.asked.insert(id, asked);
        let shares = self
            .asked
            .values()
            .filter(|asked| matches!(asked, Asked::Share(_)));
        // Counting is slow, so not every time.
        assert!(!self.asked.len().is_multiple_of(64) || shares.count() <= OUTSTANDING);
    }

    /// The first authorize of a connection is the login.
    fn asked_login(&self) -> bool {
        !self.logged_in && !self.asked.values().any(|asked| *asked == Asked::Login)
    }

    /// A share is written at most once (I3), whole (I2), and never one that is known to be bad (I5).
    fn submitted(&mut self, params: &Value) -> Asked {
        let text = |place: usize| params[place].as_str().expect("a text");
        let nonce = u32::from_str_radix(text(4), 16).expect("hex");
        let given = self.given.get_mut(&nonce).expect("a share that was given");
        assert!(!given.written, "a share is written twice");
        given.written = true;
        self.written += 1;
        let work = &given.share.work;
        assert_eq!(text(1), &*work.pool_job);
        assert_eq!(
            text(2).len(),
            2 * usize::from(work.pad + work.layout.total())
        );
        assert!(self.logged_in, "a share before the login");
        if !given.share.block {
            let newest = &self.newest.as_ref().expect("a share has a work").work;
            assert_eq!(work.epoch, self.epoch, "a share of an earlier connection");
            assert!(
                work.id.0 >= self.valid_from,
                "a share under an earlier extranonce"
            );
            assert!(work.generation >= newest.generation, "a stale share");
        }
        Asked::Share(nonce)
    }

    /// A work that is made: it must be of this connection and not span what the one before it does.
    pub(crate) fn issued(&mut self, issue: Arc<Issue>) {
        let work = &issue.work;
        assert!(self.open && self.logged_in, "work of no connection");
        assert_eq!(work.epoch, self.epoch);
        let extranonce = self.extranonce.as_ref().expect("work takes an extranonce");
        assert_eq!(work.pad + work.layout.total(), extranonce.size);
        let end = work.coinbase_prefix.len() - usize::from(work.pad);
        assert!(work.coinbase_prefix[..end].ends_with(&extranonce.extranonce1));
        assert!(work.ntime >= work.pool_ntime);
        if let Some(newest) = &self.newest {
            let old = &newest.work;
            assert!(work.id > old.id && work.generation >= old.generation);
            let same = old.prev_hash == work.prev_hash
                && old.coinbase_prefix == work.coinbase_prefix
                && old.coinbase_suffix == work.coinbase_suffix
                && old.branch == work.branch
                && (old.version, old.nbits) == (work.version, work.nbits)
                && old.ntime == work.ntime;
            assert!(!same, "the same search space twice");
        }
        self.newest = Some(issue);
    }
}
