//! The configuration, checked and typed: what cannot be wrong any more.

use crate::proxy::{link, router, session};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything `app` needs to build a proxy.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where miners connect; index is `ListenerId`.
    pub listeners: Vec<Listener>,
    /// Where work comes from; index is `LinkId`.
    pub pools: Vec<Pool>,
    /// Leases, lanes, failover.
    pub router: router::Config,
    /// Admission.
    pub limits: Limits,
    /// Session shards (threads).
    pub shards: usize,
    /// API and metrics; `None`: off.
    pub api: Option<Api>,
    /// Logs.
    pub log: Log,
    /// How long a drain may take.
    pub grace: Duration,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Name in logs and metrics.
    pub name: String,
    /// Where.
    pub address: SocketAddr,
    /// Certificate chain and key (PEM files); `None`: plain TCP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// For its sessions.
    pub session: session::Config,
}

/// One pool and how to reach it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The machine's part.
    pub link: link::Config,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS; with an own CA if given (PEM file), else the system's.
    pub tls: Option<Option<PathBuf>>,
}

/// Admission.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Most miner connections at once.
    pub connections: usize,
    /// Most from one address; `None`: no such limit (farms sit behind NAT).
    pub per_address: Option<usize>,
    /// New connections per second (all listeners) and burst.
    pub accepts: session::Bucket,
    /// Shares waiting for one pool before sessions are parked.
    pub link_queue: usize,
}

/// API and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// Where (loopback unless credentials exist, which this version does not have).
    pub address: SocketAddr,
    /// Serve `/metrics/workers`.
    pub worker_metrics: bool,
}

/// Logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A `tracing` filter, `info` by default.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}
