//! SRI's pool and translator, configured for a lab: shares that a processor finds, everything on loopback.
//!
//! What they do is theirs; here is only how they are set up and read. Invariant: what a pool counts is taken from its own
//! log, which loses nothing when a connection ends, unlike its monitoring.

use crate::program::{Program, free_address};
use crate::provider::Provider;
use crate::wire::{AUTHORITY, AUTHORITY_SECRET};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// pool_sv2.
pub struct Pool {
    pub address: SocketAddr,
    /// Where it tells about itself.
    pub monitoring: SocketAddr,
    pub program: Program,
}

/// What a pool has counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub accepted: u64,
    /// By the error code it sent.
    pub rejected: BTreeMap<String, u64>,
    /// Among the accepted.
    pub blocks: u64,
}

impl Pool {
    /// With the templates of this provider; acknowledges shares in batches of so many.
    pub fn start(provider: &Provider, batch: u32) -> Self {
        Self::with(provider, batch, "2")
    }

    /// Takes no worker's name with a share, and acknowledges each.
    pub fn without_names(provider: &Provider) -> Self {
        Self::with(provider, 1, "")
    }

    fn with(provider: &Provider, batch: u32, extensions: &str) -> Self {
        let (address, monitoring) = (free_address(), free_address());
        // So many shares a minute are wanted that the easiest target a client asks for is the one it gets.
        let config = format!(
            "listen_address = \"{address}\"
             authority_public_key = \"{AUTHORITY}\"
             authority_secret_key = \"{AUTHORITY_SECRET}\"
             cert_validity_sec = 3600
             coinbase_reward_script = \"addr(tb1qa0sm0hxzj0x25rh8gw5xlzwlsfvvyz8u96w3p8)\"
             server_id = 7
             pool_signature = \"lab\"
             shares_per_minute = 60000.0
             share_batch_size = {batch}
             supported_extensions = [{extensions}]
             monitoring_address = \"{monitoring}\"
             monitoring_cache_refresh_secs = 1
             [template_provider_type.Sv2Tp]
             address = \"{}\"
             public_key = \"{AUTHORITY}\"\n",
            provider.address
        );
        let program = Program::start("pool_sv2", &config);
        program.says(&["Required template data received"]);
        Self {
            address,
            monitoring,
            program,
        }
    }

    /// Channels on which it has accepted shares, with their number.
    pub fn mined(&self) -> BTreeMap<u32, u64> {
        let mut mined = BTreeMap::new();
        for line in self.program.said(&["SubmitSharesSuccess("]) {
            let (_, id) = line.split_once("channel_id=").expect("it names a channel");
            let digits = id.split(|c: char| !c.is_ascii_digit()).next();
            let id = digits.and_then(|id| id.parse().ok());
            *mined.entry(id.expect("a number")).or_default() += 1;
        }
        mined
    }

    /// As of now.
    pub fn count(&self) -> Count {
        self.program.alive();
        let mut count = Count::default();
        for line in self.program.said(&["SubmitShares"]) {
            if line.contains("Block Found") {
                count.blocks += 1;
                count.accepted += 1;
            } else if line.contains("valid share") {
                count.accepted += 1;
            } else if line.contains("SubmitSharesSuccess(") {
                // Instead of a line of its own for the share that fills a batch.
                count.accepted += 1;
            } else if let Some((_, code)) = line.split_once("error_code: ") {
                let code = code.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                *count.rejected.entry(code.to_owned()).or_default() += 1;
            }
        }
        count
    }
}

impl Count {
    /// Everything it was sent.
    pub fn received(&self) -> u64 {
        self.accepted + self.rejected.values().sum::<u64>()
    }
}

/// translator_sv2.
pub struct Translator {
    /// Where it speaks V1.
    pub address: SocketAddr,
    pub program: Program,
}

/// How a translator is set up.
#[derive(Clone, Copy)]
pub struct Translation {
    /// All miners on one channel, or each on its own.
    pub aggregated: bool,
    /// Bytes of extranonce2 for its miners.
    pub extranonce2: u8,
    /// Whether it insists on naming the worker of each share (extension 0x0002).
    pub names_workers: bool,
}

impl Translator {
    /// Below this Stratum V2 server of everybody's authority.
    pub fn start(upstream: SocketAddr, as_what: Translation) -> Self {
        Self::trusting(AUTHORITY, upstream, as_what)
    }

    /// Below a server of this authority; ready when its own miners may connect. Its shares take 257 hashes.
    pub fn trusting(authority: &str, upstream: SocketAddr, as_what: Translation) -> Self {
        let address = free_address();
        let required = if as_what.names_workers { "[2]" } else { "[]" };
        let config = format!(
            "downstream_address = \"{}\"
             downstream_port = {}
             max_supported_version = 2
             min_supported_version = 2
             downstream_extranonce2_size = {}
             verify_payout = false
             aggregate_channels = {}
             supported_extensions = [2]
             required_extensions = {required}
             [downstream_difficulty_config]
             min_individual_miner_hashrate = 256.0
             shares_per_minute = 60.0
             enable_vardiff = true
             job_keepalive_interval_secs = 60
             [[upstreams]]
             address = \"{}\"
             port = {}
             authority_pubkey = \"{authority}\"
             user_identity = \"lab\"\n",
            address.ip(),
            address.port(),
            as_what.extranonce2,
            as_what.aggregated,
            upstream.ip(),
            upstream.port()
        );
        let program = Program::start("translator_sv2", &config);
        program.says(&["Translator Proxy: listening on"]);
        Self { address, program }
    }

    /// Shares it has sent up.
    pub fn forwarded(&self) -> u64 {
        let sent = self
            .program
            .said(&["valid share, forwarding it to upstream"]);
        sent.len() as u64
    }
}
