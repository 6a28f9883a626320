//! Every key there is, with its default as it would stand in a file: the one list that reading, suggestions,
//! environment variables and `config/example.toml` are checked against.
//!
//! Limits are not here but where the value is read. Invariant: a path appears once; a default parses.

/// How the value of a key is written; decides how an environment variable is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that is never shown, or `{ env = ".." }`, or `{ file = ".." }`.
    Secret,
    /// A number, a flag: anything but text.
    Plain,
    /// A list of strings.
    List,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key` or `section.table.key`.
    pub path: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// The default in TOML; empty if there is none (not set, or computed).
    pub default: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
    }
}

/// Sections that are lists of named things.
pub const NAMED: [&str; 8] = [
    "listen", "pool", "feeder", "group", "model", "source", "token", "calendar",
];

/// All keys.
pub const KEYS: &[Key] = &[
    key("listen.name", Kind::Text, ""),
    key("listen.address", Kind::Text, "\"0.0.0.0:3333\""),
    key("listen.tls.certificate", Kind::Text, ""),
    key("listen.tls.key", Kind::Text, ""),
    key("listen.password", Kind::Secret, ""),
    key("listen.pools", Kind::List, ""),
    key("listen.difficulty.start", Kind::Plain, "65536"),
    key("listen.difficulty.min", Kind::Plain, "1"),
    // 2^48 at 12 shares a minute is 2e23 hashes a second: one miner stronger than all of Bitcoin in 2025.
    key("listen.difficulty.max", Kind::Plain, "281474976710656"),
    key("listen.difficulty.fixed", Kind::Plain, ""),
    key("listen.shares_per_minute", Kind::Plain, "12"),
    key("listen.ceiling_per_minute", Kind::Plain, "60"),
    key("pool.name", Kind::Text, ""),
    key("pool.url", Kind::Text, ""),
    key("pool.user", Kind::Text, ""),
    key("pool.password", Kind::Secret, "\"x\""),
    key("pool.identity", Kind::Text, ""),
    key("pool.tier", Kind::Plain, "0"),
    key("pool.share", Kind::Plain, "1"),
    key("pool.ca", Kind::Text, ""),
    key("pool.reconnect_hosts", Kind::List, "[]"),
    key("pool.shares_per_second", Kind::Plain, "1.0"),
    key("pool.version_rolling", Kind::Plain, "true"),
    key("lanes.layout", Kind::Text, "\"auto\""),
    key("lanes.first", Kind::Plain, "0"),
    key("version_rolling.mask", Kind::Text, "\"1fffe000\""),
    key("failover.failback_after", Kind::Text, "\"60s\""),
    key("failover.dwell", Kind::Text, "\"60s\""),
    key("refresh.every", Kind::Text, "\"25s\""),
    // Processes are often held to 20,000 descriptors; this leaves room for pools, the API and files.
    key("limits.connections", Kind::Plain, "16000"),
    key("limits.per_address", Kind::Plain, ""),
    // A farm of 10,000 powers up at once; below it is the burst of one such farm and the next.
    key("limits.accepts_per_second", Kind::Plain, "10000"),
    key("limits.accept_burst", Kind::Plain, "20000"),
    key("limits.submits_per_second", Kind::Plain, "20"),
    key("limits.submit_burst", Kind::Plain, "200"),
    key("limits.others_per_second", Kind::Plain, "5"),
    key("limits.other_burst", Kind::Plain, "20"),
    // A proxy below us with one channel per miner; beyond it opens another connection.
    key("limits.channels", Kind::Plain, "64"),
    key("limits.link_queue", Kind::Plain, "4096"),
    key("v2.authority_key", Kind::Secret, ""),
    key("v2.certificate_validity", Kind::Text, "\"24h\""),
    key("api.listen", Kind::Text, "\"127.0.0.1:3380\""),
    key("api.worker_metrics", Kind::Plain, "false"),
    key("api.enabled", Kind::Plain, "true"),
    key("log.filter", Kind::Text, "\"info\""),
    key("log.format", Kind::Text, "\"text\""),
    key("run.shards", Kind::Plain, "0"),
    key("run.grace", Kind::Text, "\"10s\""),
    key("run.kernel", Kind::Text, "\"auto\""),
    key("run.batches", Kind::Plain, "true"),
    key("run.fast_lines", Kind::Plain, "true"),
    key("lab.allow_short_times", Kind::Plain, "false"),
    key("token.name", Kind::Text, ""),
    key("token.secret", Kind::Secret, ""),
    key("token.scopes", Kind::List, "[\"read\"]"),
    key("token.source", Kind::Text, ""),
    key("site.name", Kind::Text, ""),
    key("site.limit", Kind::Text, ""),
    key("site.other_load", Kind::Text, "\"0 W\""),
    key("site.guard", Kind::Text, "\"0 W\""),
    key("feeder.name", Kind::Text, ""),
    key("feeder.rating", Kind::Text, ""),
    // 20 machines of 3.5 kW are 70 kW a second: 1 MW in 15 s, and less than any feeder feels.
    key("feeder.starts_per_s", Kind::Plain, "20"),
    key("group.name", Kind::Text, ""),
    key("group.feeder", Kind::Text, ""),
    key("group.machines", Kind::List, "[]"),
    key("group.workers", Kind::List, "[]"),
    key("group.model", Kind::Text, ""),
    key("group.firmware", Kind::Text, "\"auto\""),
    // Twice the largest hall; names that strangers say come on top of nothing.
    key("group.most_machines", Kind::Plain, "20000"),
    key("group.cooling", Kind::Plain, "1.0"),
    key("group.heat_floor", Kind::Text, "\"0 W\""),
    key("group.limit", Kind::Text, ""),
    key("group.most_starting", Kind::Plain, "100"),
    key("model.name", Kind::Text, ""),
    key("model.hashrate", Kind::Text, ""),
    key("model.power", Kind::Text, ""),
    key("model.idle", Kind::Text, "\"25 W\""),
    key("source.name", Kind::Text, ""),
    key("source.secret", Kind::Secret, ""),
    key("source.most_urgent", Kind::Plain, "1"),
    key("source.heartbeat", Kind::Text, "\"5s\""),
    key("source.dead_after", Kind::Text, "\"30s\""),
    key("calendar.from", Kind::Text, ""),
    key("calendar.until", Kind::Text, ""),
    key("calendar.mining", Kind::Text, ""),
    key("calendar.reason", Kind::Text, ""),
    key("curtail.ledger", Kind::Text, ""),
    key("curtail.on_exit", Kind::Text, "\"leave\""),
    key("curtail.safe", Kind::Text, "\"0 W\""),
    key("curtail.minimum_off", Kind::Text, "\"5m\""),
    key("curtail.minimum_on", Kind::Text, "\"10m\""),
    key("curtail.most_cycles_a_day", Kind::Plain, "12"),
    key("curtail.restore_after", Kind::Text, "\"30s\""),
    key("curtail.breaker", Kind::Text, "\"80 %\""),
    key("curtail.deadband", Kind::Text, "\"0.5 %\""),
    key(
        "curtail.deadlines",
        Kind::List,
        "[\"5s\", \"15s\", \"60s\", \"5m\"]",
    ),
    key("curtail.skew", Kind::Text, "\"2s\""),
    key("curtail.offline_after", Kind::Text, "\"10m\""),
    key("curtail.most_orders", Kind::Plain, "1024"),
    key("curtail.most_reservations", Kind::Plain, "1024"),
    key("curtail.quarantine", Kind::Text, "\"1h\""),
    key("curtail.lab", Kind::Plain, "false"),
    key("actuators.in_flight", Kind::Plain, "512"),
    key("actuators.simulation", Kind::Plain, "false"),
    key("actuators.luxos.port", Kind::Plain, "4028"),
    key("actuators.luxos.profiles", Kind::Plain, "false"),
    key("actuators.whatsminer.port", Kind::Plain, "4433"),
    key("actuators.whatsminer.account", Kind::Text, "\"super\""),
    key("actuators.whatsminer.password", Kind::Secret, ""),
    key("actuators.bitaxe.port", Kind::Plain, "80"),
    key("meter.url", Kind::Text, ""),
    key("meter.metric", Kind::Text, "\"site_power_watts\""),
    key("meter.labels", Kind::Plain, "{}"),
    key("meter.series", Kind::Plain, "1"),
    key("meter.unit", Kind::Text, "\"W\""),
    key("meter.measures", Kind::Text, "\"site\""),
    key("meter.every", Kind::Text, "\"1s\""),
    key("meter.max_age", Kind::Text, "\"10s\""),
    key("gpu.urls", Kind::List, ""),
    key("gpu.metric", Kind::Text, "\"DCGM_FI_DEV_POWER_USAGE\""),
    key("gpu.nodes", Kind::Plain, "1"),
    key("gpu.gpus_per_node", Kind::Plain, "8"),
    key("gpu.nameplate", Kind::Text, "\"700 W\""),
    key("gpu.node_factor", Kind::Plain, "1.0"),
    key("gpu.node_load", Kind::Text, "\"0 W\""),
    key("gpu.every", Kind::Text, "\"5s\""),
    key("gpu.max_age", Kind::Text, "\"15s\""),
    key("gpu.hold", Kind::Text, "\"60s\""),
];

/// The key at a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.path == path)
}

/// What may stand directly under a path (`""`: the sections), each once.
pub(super) fn under(path: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = KEYS
        .iter()
        .filter_map(|k| match path {
            "" => Some(k.path),
            _ => k.path.strip_prefix(path)?.strip_prefix('.'),
        })
        .map(|rest| rest.split('.').next().unwrap_or(rest))
        .collect();
    names.dedup();
    names
}

/// The known name that was probably meant.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&name, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(name.len()) / 4)
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_appears_once_and_a_default_parses() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..at].iter().any(|k| k.path == key.path), "{key:?}");
            let place = super::super::tree::Place::whole("default");
            let parses = super::super::tree::parse_value(key.default, &place).is_some();
            assert!(key.default.is_empty() || parses, "{key:?}");
        }
    }

    #[test]
    fn a_typing_mistake_finds_its_key_and_nonsense_finds_none() {
        assert_eq!(nearest("tire", under("pool")), Some("tier"));
        assert_eq!(nearest("pasword", under("pool")), Some("password"));
        assert_eq!(nearest("zebra", under("pool")), None);
    }
}
