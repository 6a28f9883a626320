//! Configurations as people write them, good and bad: the shipped files, every kind of mistake with the exact line that is
//! shown for it, and the environment.
//!
//! No sockets: what `check` finds outside the file is not here.

use sluice::config::{Config, Finding, Findings, Severity, keys};
use std::path::Path;

const POOL: &str = "[[pool]]\nurl = \"127.0.0.1:3333\"\nuser = \"a\"\n";

#[test]
fn the_shipped_files_are_valid() {
    for name in ["example", "farm", "lab"] {
        let path = format!("{}/config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let (config, findings) = Config::inspect(Path::new(&path));
        assert!(config.is_some(), "{findings}");
        assert_eq!(findings.count(Severity::Error), 0, "{findings}");
        assert_eq!(findings.count(Severity::Warning), 0, "{findings}");
    }
}

#[test]
fn the_farm_splits_seventy_to_thirty_and_fails_over_to_the_third() {
    let config = load("farm.toml", include_str!("../config/farm.toml"));
    let pools: Vec<_> = config
        .router
        .pools
        .iter()
        .map(|p| (p.tier, p.share))
        .collect();
    assert_eq!(pools, [(0, 70.0), (0, 30.0), (1, 1.0)]);
    assert_eq!(config.router.listeners.len(), 1);
    assert_eq!(config.router.listeners[0].len(), 3);
}

#[test]
fn the_example_has_every_key_and_nothing_but_defaults() {
    let text = include_str!("../config/example.toml");
    for key in keys::KEYS {
        let last = key.path.rsplit('.').next().unwrap();
        let assigns = |line: &str| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{last} = "))
        };
        assert!(
            text.lines().any(assigns),
            "{} is not in the example",
            key.path
        );
    }
    let least =
        "[[pool]]\nurl = \"stratum+ssl://pool.example.com:3334\"\nuser = \"account.{worker}\"";
    assert_eq!(shown(&load("x", text)), shown(&load("x", least)));
}

#[test]
fn what_the_example_comments_out_is_valid_too() {
    let text = include_str!("../config/example.toml");
    let set = |line: &str| match line.strip_prefix("# ") {
        // A fixed difficulty stands in the example beside the keys that it excludes.
        Some(rest) if rest.starts_with("fixed") => line.to_owned(),
        Some(rest)
            if rest
                .split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(' ')) =>
        {
            rest.to_owned()
        }
        Some("[listen.tls]") => "[listen.tls]".to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(set).collect();
    let vars = [("MINER_PASSWORD".to_owned(), "p".to_owned())];
    let (config, findings) = Config::from_vars("x", &text.join("\n"), &vars);
    let config = config.unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(config.listeners[0].session.password.as_deref(), Some("p"));
    assert_eq!(config.limits.per_address, Some(1000));
}

#[test]
fn every_default_in_the_list_is_what_is_used_without_it() {
    let least = shown(&load("x", POOL));
    for key in keys::KEYS.iter().filter(|key| !key.default.is_empty()) {
        let (section, rest) = key.path.split_once('.').unwrap();
        let text = match section {
            "pool" => format!("{POOL}{rest} = {}\n", key.default),
            "listen" => format!("{POOL}[[listen]]\n{rest} = {}\n", key.default),
            _ => format!("{POOL}[{section}]\n{rest} = {}\n", key.default),
        };
        assert_eq!(shown(&load("x", &text)), least, "{}", key.path);
    }
}

#[test]
fn every_mistake_is_shown_where_it_is_made() {
    for (text, lines) in BAD {
        let found = errors_of(text);
        assert_eq!(found, *lines, "\n{text}");
    }
    assert!(BAD.len() >= 40);
}

/// Bad configurations; `P` stands for a valid pool of three lines.
const BAD: &[(&str, &[&str])] = &[
    (
        "",
        &["pool: there is no pool to mine for; add [[pool]] with `url` and `user`"],
    ),
    (
        "P[[pool]]\nname = 3\nurl = \"127.0.0.1:4\"\nuser = \"b\"\n",
        &["5:8 pool.127.0.0.1-2.name: found 3, want a string in quotes"],
    ),
    ("Puser = \"b\"\n", &["4:1 not TOML: duplicate key"]),
    (
        "P[zebra]\nx = 1\n",
        &[
            "4:2 zebra: unknown key; sections are listen, pool, lanes, version_rolling, failover, refresh, limits, api, log, run, lab",
        ],
    ),
    (
        "Ppool = 1\n",
        &[
            "4:1 pool.127.0.0.1.pool: unknown key; known are name, url, user, password, identity, tier, share, ca, reconnect_hosts, shares_per_second, version_rolling",
        ],
    ),
    (
        "user = \"a\"\n",
        &[
            "1:1 user: unknown key; `user` belongs under [[pool]]",
            "pool: there is no pool to mine for; add [[pool]] with `url` and `user`",
        ],
    ),
    (
        "P[logs]\nfilter = \"info\"\n",
        &["4:2 logs: unknown key; did you mean `log`?"],
    ),
    (
        "Playout = \"4+4\"\n",
        &["4:1 pool.127.0.0.1.layout: unknown key; `layout` belongs under [lanes]"],
    ),
    (
        "[pool]\nurl = \"127.0.0.1:3333\"\nuser = \"a\"\n",
        &[
            "1:1 pool: there can be several of these; write [[pool]]",
            "pool: there is no pool to mine for; add [[pool]] with `url` and `user`",
        ],
    ),
    (
        "[[pool]]\nuser = \"a\"\n",
        &["1:1 pool.pool-1.url: missing; want stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT"],
    ),
    (
        "[[pool]]\nurl = \"127.0.0.1:3333\"\n",
        &["1:1 pool.127.0.0.1.user: missing; want the pool's user, such as \"account.{worker}\""],
    ),
    (
        "[[pool]]\nurl = \"stratum2+tcp://h:1\"\nuser = \"a\"\n",
        &[
            "2:7 pool.pool-1.url: found \"stratum2+tcp://h:1\", want stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT; this version speaks Stratum V1 to pools",
        ],
    ),
    (
        "[[pool]]\nurl = \"http://h:1\"\nuser = \"a\"\n",
        &[
            "2:7 pool.pool-1.url: found \"http://h:1\", want stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT",
        ],
    ),
    (
        "[[pool]]\nurl = \"stratum+tcp://h\"\nuser = \"a\"\n",
        &[
            "2:7 pool.pool-1.url: found \"stratum+tcp://h\", want stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT; the port is missing",
        ],
    ),
    (
        "[[pool]]\nurl = \"u:p@h:1\"\nuser = \"a\"\n",
        &[
            "2:7 pool.pool-1.url: found \"***@h:1\", want stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT; the user goes under `user`, the password under `password`",
        ],
    ),
    (
        "[[pool]]\nurl = \"127.0.0.1:1\"\nuser = \"\"\n",
        &["3:8 pool.127.0.0.1.user: found \"\", want 1 to 256 bytes without control characters"],
    ),
    (
        "[[pool]]\nurl = \"127.0.0.1:1\"\nuser = \"a.{wroker}\"\n",
        &[
            "3:8 pool.127.0.0.1.user: found \"a.{wroker}\", want a name with at most one {worker} and no other braces",
        ],
    ),
    (
        "Pidentity = \"worker\"\n",
        &["4:12 pool.127.0.0.1.identity: \"worker\" needs {worker} in `user`"],
    ),
    (
        "[[pool]]\nurl = \"127.0.0.1:1\"\nuser = \"a.{worker}\"\nidentity = \"account\"\n",
        &[
            "4:12 pool.127.0.0.1.identity: \"account\" sends every share under one name, but `user` contains {worker}",
        ],
    ),
    (
        "Pidentity = \"both\"\n",
        &["4:12 pool.127.0.0.1.identity: found \"both\", want \"account\" or \"worker\""],
    ),
    (
        "Ptier = 256\n",
        &["4:8 pool.127.0.0.1.tier: found 256, want a whole number from 0 to 255"],
    ),
    (
        "Ptier = -1\n",
        &["4:8 pool.127.0.0.1.tier: found -1, want a whole number from 0 to 255"],
    ),
    (
        "Pshare = 0\n",
        &["4:9 pool.127.0.0.1.share: found 0, want a number from 0.001 to 1000000"],
    ),
    (
        "Pca = \"ca.pem\"\n",
        &["4:6 pool.127.0.0.1.ca: a certificate authority needs a stratum+ssl:// url"],
    ),
    (
        "Preconnect_hosts = \"h\"\n",
        &["4:19 pool.127.0.0.1.reconnect_hosts: found \"h\", want a list of strings"],
    ),
    (
        "Preconnect_hosts = [\"https://h\"]\n",
        &[
            "4:19 pool.127.0.0.1.reconnect_hosts: found a list, want host names, or *.suffix; \"https://h\" is neither",
        ],
    ),
    (
        "Pshares_per_second = \"fast\"\n",
        &[
            "4:21 pool.127.0.0.1.shares_per_second: found \"fast\", want a number from 0.001 to 1000",
        ],
    ),
    (
        "Ppassword = { env = \"NOT_SET\" }\n",
        &["4:12 pool.127.0.0.1.password: found a table, want the variable NOT_SET to be set"],
    ),
    (
        "Ppassword = { vault = \"x\" }\n",
        &[
            "4:12 pool.127.0.0.1.password: found a table, want a string, { env = \"NAME\" } or { file = \"PATH\" }",
        ],
    ),
    (
        "P[[pool]]\nname = \"A\"\nurl = \"127.0.0.1:4\"\nuser = \"b\"\n[[pool]]\nname = \"a\"\nurl = \"127.0.0.1:4\"\nuser = \"c\"\n",
        &["9:8 pool.a.name: the pool of line 4 already has this name"],
    ),
    (
        "P[[pool]]\nname = \"a b\"\nurl = \"127.0.0.1:4\"\nuser = \"b\"\n",
        &[
            "5:8 pool.127.0.0.1-2.name: found \"a b\", want 1 to 64 letters, digits, or any of . - _ :",
        ],
    ),
    (
        "P[[listen]]\naddress = \"0.0.0.0:99999\"\n",
        &[
            "5:11 listen.main.address: found \"0.0.0.0:99999\", want IP:PORT with a port from 1 to 65535",
        ],
    ),
    (
        "P[[listen]]\naddress = 3333\n",
        &["5:11 listen.main.address: found 3333, want a string in quotes"],
    ),
    (
        "P[[listen]]\naddress = \"0.0.0.0:0\"\n",
        &[
            "5:11 listen.main.address: found \"0.0.0.0:0\", want IP:PORT with a port from 1 to 65535",
        ],
    ),
    (
        "P[[listen]]\n[[listen]]\n",
        &["5:1 listen.listen-2.address: 0.0.0.0:3333 clashes with listener main on 0.0.0.0:3333"],
    ),
    (
        "P[[listen]]\n[[listen]]\naddress = \"127.0.0.1:3333\"\n",
        &[
            "6:11 listen.listen-2.address: 127.0.0.1:3333 clashes with listener main on 0.0.0.0:3333",
        ],
    ),
    (
        "P[[listen]]\npools = []\n",
        &["5:9 listen.main.pools: an empty list: this listener would have no work"],
    ),
    (
        "P[[listen]]\npools = [\"127.0.0.2\", \"other\"]\n",
        &[
            "5:9 listen.main.pools: there is no pool \"127.0.0.2\"; did you mean \"127.0.0.1\"?",
            "5:9 listen.main.pools: there is no pool \"other\"; known are 127.0.0.1",
        ],
    ),
    (
        "P[[listen]]\ntls = { certificate = \"a.pem\" }\n",
        &["5:7 listen.main.tls.key: missing; want a PEM file with the private key"],
    ),
    (
        "P[[listen]]\ntls = true\n",
        &["5:7 listen.main.tls: found true, want a table"],
    ),
    (
        "P[[listen]]\ndifficulty = { min = 8, max = 4 }\n",
        &["5:22 listen.main.difficulty.min: min 8 is above max 4"],
    ),
    (
        "P[[listen]]\ndifficulty = { start = 2, min = 8 }\n",
        &["5:24 listen.main.difficulty.start: start 2 is outside 8 to 281474976710656"],
    ),
    (
        "P[[listen]]\ndifficulty = { fixed = 8, min = 4 }\n",
        &["5:33 listen.main.difficulty.min: a fixed difficulty has no start, min or max"],
    ),
    (
        "P[[listen]]\ndifficulty = { start = nan }\n",
        &["5:24 listen.main.difficulty.start: found NaN, want a difficulty from 2^-32 to 2^63"],
    ),
    (
        "P[[listen]]\nshares_per_minute = 100\nceiling_per_minute = 50\n",
        &["6:22 listen.main.ceiling_per_minute: the ceiling 50 is below shares_per_minute 100"],
    ),
    (
        "P[[listen]]\nceiling_per_minute = 1200\n[limits]\nsubmits_per_second = 10\n",
        &[
            "5:22 listen.main.ceiling_per_minute: limits.submits_per_second lets only 600 a minute pass",
        ],
    ),
    (
        "P[failover]\ndwell = 60\n",
        &["5:9 failover.dwell: found 60, want a duration from 60s to 1d; write the unit: \"60s\""],
    ),
    (
        "P[failover]\ndwell = \"5s\"\n",
        &[
            "5:9 failover.dwell: found \"5s\", want a duration from 60s to 1d; lab.allow_short_times permits less, for tests",
        ],
    ),
    (
        "P[failover]\nfailback_after = \"1 fortnight\"\n",
        &["5:18 failover.failback_after: found \"1 fortnight\", want a duration from 10s to 1d"],
    ),
    (
        "P[refresh]\nevery = \"10m\"\n",
        &["5:9 refresh.every: found \"10m\", want a duration from 5s to 30s"],
    ),
    (
        "P[lanes]\nlayout = \"8+8\"\n",
        &[
            "5:10 lanes.layout: found \"8+8\", want \"auto\", \"4+4\", \"3+4\", \"2+4\", \"3+2\" or \"2+2\"",
        ],
    ),
    (
        "P[lanes]\nlayout = \"2+2\"\n[limits]\nconnections = 100000\n",
        &["5:10 lanes.layout: 65536 lanes are too few for limits.connections 100000"],
    ),
    (
        "P[version_rolling]\nmask = \"ffffffff\"\n",
        &[
            "5:8 version_rolling.mask: found \"ffffffff\", want up to 8 hex digits within 1fffffe0 (BIP 323)",
        ],
    ),
    (
        "P[version_rolling]\nmask = 0x1fffe000\n",
        &["5:8 version_rolling.mask: found 536862720, want a string in quotes"],
    ),
    (
        "P[limits]\nconnections = 0\n",
        &["5:15 limits.connections: found 0, want a whole number from 1 to 1000000"],
    ),
    (
        "P[limits]\nconnections = 99999999999999999999\n",
        &[
            "5:15 limits.connections: found 99999999999999999999, want a whole number from 1 to 1000000",
        ],
    ),
    (
        "P[limits]\nsubmit_burst = 0.5\n",
        &["5:16 limits.submit_burst: found 0.5, want a number from 1 to 100000"],
    ),
    (
        "P[api]\nlisten = \"0.0.0.0:3380\"\n",
        &[
            "5:10 api.listen: 0.0.0.0:3380 can be reached from outside, and the API has no credentials yet; use 127.0.0.1",
        ],
    ),
    (
        "P[api]\nlisten = \"127.0.0.1:3333\"\n",
        &["5:10 api.listen: the API on 127.0.0.1:3333 clashes with a listener on 0.0.0.0:3333"],
    ),
    (
        "P[log]\nfilter = \"info,==\"\n",
        &[
            "5:10 log.filter: found \"info,==\", want a filter such as \"info\" or \"info,sluice=debug\"",
        ],
    ),
    (
        "P[log]\nformat = \"xml\"\n",
        &["5:10 log.format: found \"xml\", want \"text\" or \"json\""],
    ),
    (
        "P[run]\ngrace = \"2h\"\n",
        &["5:9 run.grace: found \"2h\", want a duration from 1s to 10m"],
    ),
    (
        "P[run]\nshards = 1.5\n",
        &["5:10 run.shards: found 1.5, want a whole number from 0 to 256"],
    ),
    (
        "P[lab]\nallow_short_times = 1979-05-27\n",
        &["5:21 lab.allow_short_times: found a date, want true or false"],
    ),
    (
        "P[log]\nfilter = \n",
        &["5:10 not TOML: string values must be quoted, expected literal string"],
    ),
    (
        "P[log\n[run]\nshards == 1\n",
        &[
            "4:5 not TOML: unclosed table, expected `]`",
            "6:9 not TOML: extra `=`, expected nothing",
            "6:11 not TOML: unexpected key or value, expected newline, `#`",
        ],
    ),
];

#[test]
fn all_mistakes_are_shown_at_once_and_counted() {
    let text = "[[pool]]\nurl = \"stratum+tcp://127.0.0.1:3333\"\nuser = \"a\"\ntire = 1\n\
                [[listen]]\naddress = \"0.0.0.0:99999\"\n[log]\nfilter = 3\n[api]\nenabled = \"yes\"\n";
    let (config, findings) = Config::from_vars("farm.toml", text, &[]);
    assert!(config.is_none());
    let expected = "\
farm.toml:2:7   note: pool.127.0.0.1.url: the only pool: when it fails, miners wait; add another with a higher `tier`
farm.toml:4:1   pool.127.0.0.1.tire: unknown key; did you mean `tier`?
farm.toml:6:11  listen.main.address: found \"0.0.0.0:99999\", want IP:PORT with a port from 1 to 65535
farm.toml:8:10  log.filter: found 3, want a string in quotes
farm.toml:10:11 api.enabled: found \"yes\", want true or false
4 errors, 1 note";
    assert_eq!(findings.to_string(), expected);
}

#[test]
fn what_runs_but_deserves_a_look_is_a_warning_or_a_note() {
    let text = "[[listen]]\npools = [\"a\"]\ndifficulty = { start = 1000, min = 0.5 }\n\
                [[pool]]\nname = \"a\"\nurl = \"h:1\"\nuser = \"u\"\nversion_rolling = false\n\
                [[pool]]\nname = \"b\"\nurl = \"h:1\"\nuser = \"u\"\n";
    let (config, findings) = Config::from_vars("x", text, &[]);
    assert!(config.is_some(), "{findings}");
    let plain = "not encrypted: whoever is on the way can take the hashrate; use stratum+ssl:// if the pool has it";
    let expected = [
        "3:24 warning: listen.main.difficulty.start: rounded down to 512, a power of two".to_owned(),
        "3:36 note: listen.main.difficulty.min: below 1: a lab, no ASIC mines this".to_owned(),
        format!("6:7 warning: pool.a.url: {plain}"),
        "8:19 warning: pool.a.version_rolling: miners that may be moved to this pool roll no version bits on any pool".to_owned(),
        "10:8 warning: pool.b.name: no listener uses this pool".to_owned(),
        format!("11:7 warning: pool.b.url: {plain}"),
        "11:7 warning: pool.b.url: the same place and user as pool a".to_owned(),
    ];
    assert_eq!(findings.iter().map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn the_environment_sets_keys_of_every_kind() {
    let text = "[[pool]]\nname = \"eu.main\"\nurl = \"127.0.0.1:1\"\nuser = \"a\"\n";
    let vars = vars(&[
        ("SLUICE__POOL__EU_MAIN__USER", "b.{worker}"),
        ("sluice__pool__eu_main__tier", "3"),
        (
            "SLUICE__POOL__EU_MAIN__RECONNECT_HOSTS",
            "x.example, *.y.example",
        ),
        ("SLUICE__LISTEN__MAIN__ADDRESS", "127.0.0.1:4444"),
        ("SLUICE__LISTEN__MAIN__DIFFICULTY__START", "2048"),
        ("SLUICE__LISTEN__MAIN__PASSWORD", "12345"),
        ("SLUICE__LOG__FILTER", "debug"),
        ("SLUICE__API__ENABLED", "false"),
        ("PATH", "/bin"),
    ]);
    let (config, findings) = Config::from_vars("x", text, &vars);
    let config = config.unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(config.pools[0].link.user, "b.{worker}");
    assert_eq!(config.router.pools[0].tier, 3);
    assert_eq!(
        config.pools[0].link.reconnect_hosts,
        ["x.example", "*.y.example"]
    );
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:4444");
    assert_eq!(config.listeners[0].session.vardiff.start.value(), 2048.0);
    assert_eq!(
        config.listeners[0].session.password.as_deref(),
        Some("12345")
    );
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.api, None);
}

#[test]
fn a_lookup_of_the_environment_sets_keys_too() {
    let env = |name: &str| (name == "SLUICE__LOG__FORMAT").then(|| "json".to_owned());
    assert!(Config::from_toml("x", POOL, &env).unwrap().log.json);
}

#[test]
fn a_variable_that_sets_no_key_or_a_wrong_value_is_an_error() {
    for (name, text, expected) in [
        (
            "SLUICE__LOG__FILTR",
            "x",
            "SLUICE__LOG__FILTR: sets no key; did you mean SLUICE__LOG__FILTER?",
        ),
        (
            "SLUICE__ZEBRA",
            "x",
            "SLUICE__ZEBRA: sets no key; SLUICE__SECTION__KEY, or SLUICE__POOL__NAME__KEY",
        ),
        (
            "SLUICE__RUN__SHARDS",
            "many",
            "SLUICE__RUN__SHARDS: run.shards: found \"many\", want a whole number from 0 to 256",
        ),
    ] {
        let (config, findings) = Config::from_vars("x", POOL, &vars(&[(name, text)]));
        assert!(config.is_none());
        let errors = errors(&findings).map(|f| format!("{}: {f}", f.file));
        assert_eq!(errors.collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn secrets_come_from_variables_and_files_and_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "from-file\n").unwrap();
    let name = folder.path().join("x.toml").display().to_string();
    let text = "[[listen]]\npassword = { env = \"MINERS\" }\n\
                [[pool]]\nurl = \"127.0.0.1:1\"\nuser = \"a\"\npassword = { file = \"secret\" }\n";
    let (config, findings) = Config::from_vars(&name, text, &vars(&[("MINERS", "from-env")]));
    let config = config.unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(
        config.listeners[0].session.password.as_deref(),
        Some("from-env")
    );
    assert_eq!(config.pools[0].link.password, "from-file");
    let printed = format!("{config:?} {config:#?}");
    assert!(
        !printed.contains("from-env") && !printed.contains("from-file"),
        "{printed}"
    );
    assert!(printed.contains("***"));
}

#[test]
fn a_wrong_secret_is_not_shown_either() {
    let text = "[[pool]]\nurl = \"stratum+tcp://me:hunter2@h:1\"\nuser = \"a\"\npassword = 31337\n";
    let (_, findings) = Config::from_vars("x", text, &[]);
    let printed = format!(
        "{findings} {findings:?} {}",
        serde_json::to_string(&findings).unwrap()
    );
    assert!(
        !printed.contains("31337") && !printed.contains("hunter2"),
        "{printed}"
    );
    assert_eq!(findings.count(Severity::Error), 2);
}

#[test]
fn flags_alone_make_a_configuration_and_pools_become_tiers() {
    let pools = [
        "stratum+ssl://one.example:1".to_owned(),
        "two.example:2".to_owned(),
    ];
    let listen = "127.0.0.1:0".parse().ok();
    let config = Config::from_flags(&pools, "u.{worker}", Some("p"), listen).unwrap();
    let tiers: Vec<u8> = config.router.pools.iter().map(|p| p.tier).collect();
    assert_eq!(tiers, [0, 1]);
    assert_eq!(config.pools[1].host, "two.example");
    assert_eq!(config.pools[0].link.password, "p");
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:0");
    let least = Config::from_flags(&pools[..1], "u", None, None).unwrap();
    assert_eq!(least.listeners[0].address.to_string(), "0.0.0.0:3333");
}

#[test]
fn wrong_flags_are_named() {
    let findings = Config::from_flags(&["nowhere".to_owned()], "u", None, None).unwrap_err();
    let expected = "found \"nowhere\", want stratum+tcp://HOST:PORT or stratum+ssl://HOST:PORT; the port is missing";
    let line = findings.to_string();
    assert_eq!(line, format!("--pool pool.pool-1.url: {expected}\n1 error"));
}

#[test]
fn two_pools_of_one_host_get_names_of_their_own() {
    let config = load("x", &format!("{POOL}{POOL}"));
    let names: Vec<&str> = config.pools.iter().map(|p| p.link.name.as_str()).collect();
    assert_eq!(names, ["127.0.0.1", "127.0.0.1-2"]);
}

#[test]
fn short_times_need_the_permission_of_the_lab() {
    let times = "[failover]\nfailback_after = \"1s\"\ndwell = \"0s\"\n";
    assert_eq!(errors_of(&format!("P{times}")).len(), 2);
    load(
        "x",
        &format!("{POOL}{times}[lab]\nallow_short_times = true\n"),
    );
}

#[test]
fn limits_hold_on_both_sides() {
    for (section, good, bad) in [
        ("[failover]", "dwell = \"60s\"", "dwell = \"59s\""),
        (
            "[failover]",
            "failback_after = \"10s\"",
            "failback_after = \"9s\"",
        ),
        ("[refresh]", "every = \"30s\"", "every = \"31s\""),
        ("[refresh]", "every = \"5s\"", "every = \"4s\""),
        ("[limits]", "connections = 1000000", "connections = 1000001"),
        ("[limits]", "link_queue = 16", "link_queue = 15"),
        ("[limits]", "per_address = 16000", "per_address = 16001"),
        (
            "[[listen]]",
            "difficulty.min = 2.3283064365386963e-10",
            "difficulty.min = 2.3e-10",
        ),
        (
            "[[listen]]",
            "shares_per_minute = 1200",
            "shares_per_minute = 1201",
        ),
        (
            "[version_rolling]",
            "mask = \"1fffffe0\"",
            "mask = \"3fffffe0\"",
        ),
        ("[run]", "shards = 256", "shards = 257"),
        (
            "[lanes]\nlayout = \"2+4\"",
            "first = 65535",
            "first = 65536",
        ),
    ] {
        assert_eq!(
            errors_of(&format!("P{section}\n{good}\n")),
            [""; 0],
            "{good}"
        );
        assert_eq!(errors_of(&format!("P{section}\n{bad}\n")).len(), 1, "{bad}");
    }
}

fn load(name: &str, text: &str) -> Config {
    Config::from_toml(name, text, &|_| None).unwrap_or_else(|findings| panic!("{findings}"))
}

/// All of a configuration that is not masked or made at load.
fn shown(config: &Config) -> String {
    let passwords = config.pools.iter().map(|p| &p.link.password);
    format!("{config:#?} {:?}", passwords.collect::<Vec<_>>())
}

fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(n, t)| ((*n).to_owned(), (*t).to_owned()))
        .collect()
}

fn errors(findings: &Findings) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|f| f.severity == Severity::Error)
}

fn errors_of(text: &str) -> Vec<String> {
    let text = match text.strip_prefix('P') {
        Some(rest) => format!("{POOL}{rest}"),
        None => text.to_owned(),
    };
    let (config, findings) = Config::from_vars("x", &text, &[]);
    assert_eq!(config.is_none(), findings.has_errors());
    errors(&findings).map(line).collect()
}

fn line(finding: &Finding) -> String {
    match (finding.line, finding.column) {
        (Some(line), Some(column)) => format!("{line}:{column} {finding}"),
        _ => finding.to_string(),
    }
}
