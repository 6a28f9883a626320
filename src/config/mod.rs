//! The configuration, checked and typed: what cannot be wrong any more.
//!
//! Reading goes `tree` (TOML, each value with its place) -> `file` (sections, names) -> `overrides` (environment) ->
//! `build`, `pools`, `listeners` (typed values, contradictions). `keys` lists every key with its default.
//! This is not where modules get their settings from at run time: each owns its own `Config`, which is made here.
//! Invariant: a [`Config`] exists only if there was no error; all errors are found in one reading.

mod build;
mod file;
mod finding;
pub mod keys;
mod listeners;
mod overrides;
mod pools;
mod quantities;
mod secret;
pub mod site;
mod tree;
mod units;

pub use finding::{Finding, Findings, Severity};

use crate::proxy::{link, router, session};
use crate::stratum::v2::noise::{Authority, AuthorityPublic};
use crate::work::hash;
use file::Document;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tree::{Node, Place, Table, Value};

/// Everything `app` needs to build a proxy.
#[derive(Clone)]
pub struct Config {
    /// Where miners connect; index is `ListenerId`.
    pub listeners: Vec<Listener>,
    /// Where work comes from; index is `LinkId`.
    pub pools: Vec<Pool>,
    /// Leases, lanes, failover.
    pub router: router::Config,
    /// Admission.
    pub limits: Limits,
    /// Stratum V2 towards miners.
    pub v2: V2,
    /// Session shards (threads).
    pub shards: usize,
    /// The hash kernel for everything; `None`: what is best, by a calibration.
    pub kernel: Option<hash::Kernel>,
    /// Shares that come at the same moment are judged side by side.
    pub batches: bool,
    /// API and metrics; `None`: off.
    pub api: Option<Api>,
    /// Bearer tokens of the API.
    pub tokens: Vec<site::Token>,
    /// Curtailment; `None`: there is none.
    pub site: Option<site::SiteConfig>,
    /// Logs.
    pub log: Log,
    /// How long a drain may take.
    pub grace: Duration,
}

/// One listener.
#[derive(Clone)]
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
#[derive(Clone)]
pub struct Pool {
    /// The machine's part.
    pub link: link::Config,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS; with an own CA if given (PEM file), else the system's.
    pub tls: Option<Option<PathBuf>>,
    /// Stratum V2, by Noise with a server that this authority certifies; `None`: V1.
    pub authority: Option<AuthorityPublic>,
}

/// Stratum V2 towards miners.
#[derive(Clone)]
pub struct V2 {
    /// Who we are to them; `None`: V2 miners are turned away.
    pub authority: Option<Authority>,
    /// How long a certificate is believed.
    pub certificate_validity: Duration,
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
    /// Where, on loopback.
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

/// Settings that many listeners and pools share.
struct Shared {
    version_mask: u32,
    refresh: Duration,
    submits: session::Bucket,
    others: session::Bucket,
    channels: usize,
    /// V2 miners are let in.
    v2: bool,
    fast_lines: bool,
    wall: session::WallAnchor,
}

impl Config {
    /// Reads a file and the environment of this process. Errors: every finding, also warnings and notes.
    pub fn load(path: &Path) -> Result<Self, Findings> {
        only_if_valid(Self::inspect(path))
    }

    /// The same, and what there is to say about a valid one.
    pub fn inspect(path: &Path) -> (Option<Self>, Findings) {
        match read_text(path) {
            Ok(text) => Self::from_vars(&path.display().to_string(), &text, &process_vars()),
            Err(findings) => (None, findings),
        }
    }

    /// Where the ledger of a file's site is; `None`: it has no site. What else the file says is not judged: who reads a
    /// ledger need not have the secrets of the proxy that writes it. Errors: the file cannot be read, or this key of it.
    pub fn ledger(path: &Path) -> Result<Option<PathBuf>, Findings> {
        let name = path.display().to_string();
        let root = tree::parse(&name, &read_text(path)?)?;
        let vars = process_vars();
        let env = lookup(&vars);
        let place = Place::whole(&name);
        let mut findings = Findings::default();
        let document = document(place, root, |_| vars.clone(), &mut Findings::default());
        let base = base(&name);
        match site::read::ledger(&document, &build::World { base, env: &env }, &mut findings) {
            Some(ledger) => Ok(ledger),
            None => Err(findings),
        }
    }

    /// Reads a text; `name` is the file's path (relative paths start at its folder), `env` looks variables up.
    pub fn from_toml(
        name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Findings> {
        let root = tree::parse(name, text)?;
        only_if_valid(read(Place::whole(name), root, env, |document| {
            let names = overrides::names(document).into_iter();
            names
                .filter_map(|(name, _)| env(&name).map(|text| (name, text)))
                .collect()
        }))
    }

    /// Reads a text with a known set of variables, so that those which set no key are found too.
    pub fn from_vars(
        name: &str,
        text: &str,
        vars: &[(String, String)],
    ) -> (Option<Self>, Findings) {
        match tree::parse(name, text) {
            Ok(root) => read(Place::whole(name), root, &lookup(vars), |_| vars.to_vec()),
            Err(findings) => (None, findings),
        }
    }

    /// What `run --pool URL --user U` means: each pool is the failover of the one before. The environment counts too.
    pub fn from_flags(
        pools: &[String],
        user: &str,
        password: Option<&str>,
        listen: Option<SocketAddr>,
    ) -> Result<Self, Findings> {
        let mut root = Table::default();
        let pools = pools.iter().enumerate().map(|(tier, url)| {
            let mut pool = Table::default();
            pool.set(&["url"], flag("--pool", Value::Text(url.clone())));
            pool.set(&["user"], flag("--user", Value::Text(user.to_owned())));
            pool.set(&["tier"], flag("--pool", Value::Whole(tier as i128)));
            if let Some(password) = password {
                let value = Value::Text(password.to_owned());
                pool.set(&["password"], flag("--password", value));
            }
            flag("--pool", Value::Table(pool))
        });
        root.set(&["pool"], flag("--pool", Value::List(pools.collect())));
        if let Some(listen) = listen {
            let mut main = Table::default();
            let value = Value::Text(listen.to_string());
            main.set(&["address"], flag("--listen", value));
            let list = Value::List(vec![flag("--listen", Value::Table(main))]);
            root.set(&["listen"], flag("--listen", list));
        }
        let vars = process_vars();
        let place = Place::whole("command line");
        only_if_valid(read(place, root, &lookup(&vars), |_| vars.clone()))
    }
}

fn flag(name: &str, value: Value) -> Node {
    Node {
        value,
        place: Place::whole(name),
    }
}

fn only_if_valid((config, findings): (Option<Config>, Findings)) -> Result<Config, Findings> {
    config.ok_or(findings)
}

/// The way every configuration goes.
fn read(
    place: Place,
    root: Table,
    env: &dyn Fn(&str) -> Option<String>,
    vars: impl FnOnce(&Document) -> Vec<(String, String)>,
) -> (Option<Config>, Findings) {
    let mut findings = Findings::default();
    let file = place.file.clone();
    let base = base(&file);
    let document = document(place, root, vars, &mut findings);
    let config = build::config(&document, &build::World { base, env }, &mut findings);
    findings.sort();
    (config, findings)
}

/// The file as the environment changes it.
fn document(
    place: Place,
    root: Table,
    vars: impl FnOnce(&Document) -> Vec<(String, String)>,
    findings: &mut Findings,
) -> Document {
    let mut document = Document::new(place, root, findings);
    let vars = vars(&document);
    overrides::apply(&mut document, &vars, findings);
    document
}

/// Where relative paths of a file start.
fn base(file: &str) -> &Path {
    Path::new(file).parent().unwrap_or(Path::new(""))
}

fn lookup(vars: &[(String, String)]) -> impl Fn(&str) -> Option<String> + '_ {
    |name| {
        let var = vars.iter().find(|(var, _)| var == name);
        var.map(|(_, text)| text.clone())
    }
}

/// The environment, as far as it is UTF-8.
fn process_vars() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect()
}

/// A whole file, but not a disk: reading stops behind the limit, which parsing then reports.
fn read_text(path: &Path) -> Result<String, Findings> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        file.take(tree::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
    });
    let text = read
        .map_err(|error| error.to_string())
        .and_then(|_| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()));
    text.map_err(|why| {
        let mut findings = Findings::default();
        let message = format!("cannot be read: {why}");
        let finding = Finding::said(Severity::Error, "", message);
        findings.push(finding.in_file(&path.display().to_string()));
        findings
    })
}

/// What stands for a secret where a configuration is printed.
struct Masked;

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listeners", &self.listeners)
            .field("pools", &self.pools)
            .field("router", &self.router)
            .field("limits", &self.limits)
            .field("shards", &self.shards)
            .field("api", &self.api)
            .field("tokens", &self.tokens)
            .field("site", &self.site)
            .field("log", &self.log)
            .field("grace", &self.grace)
            .finish()
    }
}

/// Without the password, and without the wall clock's anchor, which is not configured.
impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .field("address", &self.address)
            .field("tls", &self.tls)
            .field("vardiff", &self.session.vardiff)
            .field("password", &self.session.password.as_ref().map(|_| Masked))
            .field("submits", &self.session.submits)
            .field("others", &self.session.others)
            .finish_non_exhaustive()
    }
}

/// Without the password, and without the seed, which is not configured.
impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.link.name)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("user", &self.link.user)
            .field("password", &Masked)
            .field("identity", &self.link.identity)
            .field("version_mask", &self.link.version_mask)
            .field("reconnect_hosts", &self.link.reconnect_hosts)
            .field("shares_per_second", &self.link.shares_per_second)
            .field("refresh", &self.link.refresh)
            .finish_non_exhaustive()
    }
}
