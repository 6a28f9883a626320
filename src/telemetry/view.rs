//! What is read from the board: plain values, as the API serves them and `sluice status` reads them back.
//!
//! Units are in the names; work is given in difficulty (hashes / 2^32), because JSON numbers cannot hold hashes.
//! Invariant: names and agents are the sanitised labels of the sessions, no raw bytes of a peer.

use crate::proxy::tally::Weighted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// 2^32: the hashes of one unit of difficulty.
pub const HASHES_PER_DIFFICULTY: f64 = 4_294_967_296.0;

/// Hashes per second over three windows.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rates {
    /// About the last minute.
    #[serde(rename = "1m")]
    pub minute: f64,
    /// About the last five minutes.
    #[serde(rename = "5m")]
    pub five_minutes: f64,
    /// About the last hour.
    #[serde(rename = "1h")]
    pub hour: f64,
}

impl From<[f64; 3]> for Rates {
    fn from([minute, five_minutes, hour]: [f64; 3]) -> Self {
        Self {
            minute,
            five_minutes,
            hour,
        }
    }
}

/// A count of shares and the work they prove.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub shares: u64,
    /// Their difficulty, summed.
    pub difficulty: f64,
}

impl From<Weighted> for Sum {
    fn from(weighted: Weighted) -> Self {
        Self {
            shares: weighted.shares,
            difficulty: weighted.hashes as f64 / HASHES_PER_DIFFICULTY,
        }
    }
}

/// Counts by reason; reasons that never happened are left out.
pub type Reasons = BTreeMap<String, u64>;

/// One connected miner.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Miner {
    /// Its session, for the life of the process.
    pub id: u64,
    /// The listener it came to.
    pub listener: String,
    /// From where.
    pub peer: String,
    /// Its worker name (the last one that sent a share, or was authorized).
    pub worker: Option<String>,
    /// What it speaks: `V1`, or `V2` of a channel.
    #[serde(default)]
    pub protocol: String,
    /// Its user agent.
    pub agent: Option<String>,
    /// Its lane, hex.
    pub lane: Option<String>,
    /// Whether it came back to this lane.
    pub resumed: bool,
    /// The pool it is leased to.
    pub pool: Option<String>,
    /// Its difficulty.
    pub difficulty: Option<f64>,
    /// Version bits it may roll, hex.
    pub version_mask: Option<String>,
    /// Since when.
    pub connected_seconds: f64,
    /// Since its last share.
    pub last_share_seconds: Option<f64>,
    /// Accepted on this connection.
    pub accepted: u64,
    /// Refused on this connection.
    pub rejected: u64,
    /// Why.
    pub reasons: Reasons,
    /// Hashes per second.
    pub hashrate: Rates,
}

/// One pool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// Where, without credentials.
    pub url: String,
    /// The user template.
    pub user: String,
    /// Lower mines first.
    pub tier: u8,
    /// Weight within the tier.
    pub share: f64,
    /// Whether anybody on the way can read and change what is sent.
    pub plaintext: bool,
    /// Logged in, with work, and usable.
    pub up: bool,
    /// How long it has been up, or down.
    pub since_seconds: f64,
    /// Rejects most shares lately.
    pub suspect: bool,
    /// Gives too little extranonce.
    pub excluded: bool,
    /// Connections made so far.
    pub connections: u32,
    /// Its difficulty.
    pub difficulty: Option<f64>,
    /// Version bits it grants, hex.
    pub version_mask: Option<String>,
    /// Bytes of extranonce2 it gives.
    pub extranonce2_size: Option<u8>,
    /// Miners leased to it.
    pub leases: u64,
    /// Since its last job.
    pub job_age_seconds: Option<f64>,
    /// Handed to the writer.
    pub submitted: Sum,
    /// The pool said yes.
    pub accepted: Sum,
    /// The pool said no.
    pub rejected: Sum,
    /// Why.
    pub reasons: Reasons,
    /// The connection ended before it answered.
    pub unknown: Sum,
    /// Not answered yet.
    pub in_flight: Sum,
    /// Never sent, and why.
    pub dropped: Reasons,
    /// The part of our accepted work that it rejects, if that is an alarm (I7): above 0.01 over 5 minutes.
    pub divergence: Option<f64>,
    /// Why it is down, or what it last said.
    pub note: Option<String>,
}

/// One listener.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Listener {
    /// Name.
    pub name: String,
    /// Miners connected.
    pub connections: u64,
    /// Submits answered.
    pub received: Sum,
    /// Accepted.
    pub accepted: Sum,
    /// Refused.
    pub rejected: Sum,
    /// Why.
    pub reasons: Reasons,
    /// Met the pool's difficulty and were handed to a pool.
    pub forwarded: Sum,
    /// Met the pool's difficulty and were not.
    pub dropped: Reasons,
    /// Connections that ended, and why.
    pub closed: Reasons,
    /// Work above the pool's difficulty, which it does not credit (in difficulty).
    pub under_credit_difficulty: f64,
    /// Block candidates.
    pub blocks: u64,
    /// Hashes per second.
    pub hashrate: Rates,
}

/// One worker name, over all its connections.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// Its name; `other` stands for all beyond the cap.
    pub name: String,
    /// Accepted by us.
    pub accepted: Sum,
    /// Refused by us.
    pub rejected: Sum,
    /// Accepted by a pool.
    pub pool_accepted: Sum,
    /// Rejected by a pool.
    pub pool_rejected: Sum,
    /// Hashes per second.
    pub hashrate: Rates,
}
