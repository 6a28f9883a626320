//! Configurations as people write them, good and bad: the shipped files, every kind of mistake with the exact line that is
//! shown for it, and the environment.
//!
//! No sockets: what `check` finds outside the file is not here.

use sluice::config::{Config, Finding, Findings, Severity, keys};
use std::path::Path;

#[path = "configs/site.rs"]
mod site;

const POOL: &str = "[[pool]]\nurl = \"127.0.0.1:3333\"\nuser = \"a\"\n";

#[test]
fn the_shipped_files_are_valid() {
    for name in ["example", "farm", "lab", "demo"] {
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
    let written = written(text);
    for key in keys::KEYS {
        let here: Vec<_> = written
            .iter()
            .filter(|(path, _)| path == key.path)
            .collect();
        let [(_, value)] = here.as_slice() else {
            panic!("{} is {} times in the example", key.path, here.len());
        };
        assert!(
            key.default.is_empty() || value == key.default,
            "{}",
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
    let text: Vec<&str> = text.lines().map(uncommented).collect();
    let secrets = [
        "MINER_PASSWORD",
        "OPERATOR_TOKEN",
        "EMS_KEY",
        "WHATSMINER_PASSWORD",
    ];
    let secrets = secrets.map(|name| (name, "0123456789abcdef"));
    let (config, findings) = Config::from_vars("x", &text.join("\n"), &vars(&secrets));
    let config = config.unwrap_or_else(|| panic!("{findings}"));
    let password = config.listeners[0].session.password.as_deref();
    assert_eq!(password, Some("0123456789abcdef"));
    assert_eq!(config.limits.per_address, Some(1000));
    let site = config.site.unwrap();
    assert_eq!(
        site.summary(),
        "site north: 5.00 MW, 1 feeder, 1 group, 1 source"
    );
    assert_eq!(site.site.law, sluice::curtail::site::Law::default());
}

#[test]
fn every_default_in_the_list_is_what_is_used_without_it() {
    let least = shown(&load("x", &whole("", "")));
    for key in keys::KEYS.iter().filter(|key| !key.default.is_empty()) {
        let (section, rest) = key.path.split_once('.').unwrap();
        let text = whole(section, &format!("{rest} = {}", key.default));
        assert_eq!(shown(&load("x", &text)), least, "{}", key.path);
    }
}

/// `configs/bad.txt`: cases between `---`; POOL stands for a valid pool of three lines, `> ` begins each error expected.
#[test]
fn every_mistake_is_shown_where_it_is_made() {
    let cases: Vec<&str> = include_str!("configs/bad.txt").split("---\n").collect();
    for case in &cases {
        let (text, shown) = parted(case);
        assert_eq!(errors_of(&text.replace("POOL\n", "P")), shown, "\n{text}");
    }
    assert!(cases.len() >= 60);
}

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
    let plain = "not encrypted: whoever is on the way can take the hashrate; use stratum2+tcp:// or stratum+ssl:// if the pool has it";
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
fn a_stratum_v2_pool_is_encrypted_and_not_warned_about() {
    let url =
        "stratum2+tcp://pool.example.com:3336/9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
    let text = format!("[[pool]]\nurl = \"{url}\"\nuser = \"u\"\n");
    let (config, findings) = Config::from_vars("x", &text, &[]);
    assert!(config.is_some(), "{findings}");
    assert!(
        !findings.to_string().contains("not encrypted"),
        "{findings}"
    );
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

#[test]
fn sixty_four_pools_are_taken_and_one_more_is_not() {
    assert_eq!(errors_of(&POOL.repeat(64)), [""; 0]);
    assert_eq!(
        errors_of(&POOL.repeat(65)),
        ["193:1 pool: at most 64 are allowed"]
    );
    assert_eq!(errors_of(&"[[pool]]\n".repeat(100_000)).len(), 1 + 2 * 65);
}

#[test]
fn a_file_of_one_mebibyte_is_read_and_a_longer_one_is_not() {
    let padding = |bytes: usize| format!("{POOL}#{}", "x".repeat(bytes - POOL.len() - 1));
    assert_eq!(errors_of(&padding(1 << 20)), [""; 0]);
    assert_eq!(
        errors_of(&padding((1 << 20) + 1)),
        ["the file is longer than 1 MiB"]
    );
}

#[test]
fn nesting_without_end_is_a_finding_and_not_the_end() {
    for open in ["[", "{a=", "{a=["] {
        assert!(!errors_of(&format!("x = {}", open.repeat(200_000))).is_empty());
    }
    assert!(!errors_of(&format!("{} = 1", ["a"; 100_000].join("."))).is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(pieces in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let text: String = pieces.into_iter().map(|at| PIECES[at]).collect();
        let (config, findings) = Config::from_vars("x", &text, &[]);
        proptest::prop_assert_eq!(config.is_none(), findings.has_errors());
    }
}

/// What random files are made of.
const PIECES: &[&str] = &[
    "[[pool]]\n",
    "[[listen]]\n",
    "[listen.difficulty]\n",
    "[lanes]\n",
    "[run]\n",
    "[pool]\n",
    "[[log]]\n",
    "[site]\n",
    "[[group]]\n",
    "[[feeder]]\n",
    "[[source]]\n",
    "[[calendar]]\n",
    "[curtail]\n",
    "limit = ",
    "feeder = ",
    "rating = ",
    "machines = ",
    "cooling = ",
    "from = ",
    "deadlines = ",
    "\"5 MW\"\n",
    "[\"10.0.0.0/8\"]\n",
    "\"9e9 %\"\n",
    "url = ",
    "user = ",
    "name = ",
    "min = ",
    "max = ",
    "start = ",
    "first = ",
    "tls = ",
    "pools = ",
    "password = ",
    "\"h:1\"\n",
    "\"a.{worker}\"\n",
    "\"\"\n",
    "1\n",
    "-1\n",
    "1e308\n",
    "nan\n",
    "inf\n",
    "true\n",
    "{ env = \"X\" }\n",
    "[]\n",
    "[1, \"h:1\"]\n",
    "{}\n",
    "\n",
    "\u{e9}",
    "\0",
    "=",
    "\"",
    "0x",
    "1979-05-27\n",
];

/// A line of the example with its key or section in force. A fixed difficulty stands there beside the keys it excludes.
fn uncommented(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("# ") else {
        return line;
    };
    let is_key = rest
        .split_once(" = ")
        .is_some_and(|(key, _)| !key.contains(' '));
    let is_section = rest.starts_with('[') && rest.ends_with(']');
    match (is_key || is_section) && !rest.starts_with("fixed") {
        true => rest,
        false => line,
    }
}

/// Every key of the example with its value as written, commented out or not.
fn written(text: &str) -> Vec<(String, String)> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in text.lines() {
        let line = uncommented(line);
        let line = line.strip_prefix("# fixed").map_or(line, |_| &line[2..]);
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
        {
            keys.push((format!("{section}.{key}"), value.to_owned()));
        }
    }
    keys
}

/// A whole file with one more line in one of its sections.
fn whole(section: &str, line: &str) -> String {
    let head = |text: &str| text.trim_matches(['[', ']']) == section;
    include_str!("configs/whole.toml")
        .lines()
        .flat_map(|text| [text, if head(text) { line } else { "" }])
        .fold(String::new(), |all, line| all + line + "\n")
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

/// A case's text, and the lines expected for it.
fn parted(case: &str) -> (String, Vec<&str>) {
    let (shown, text): (Vec<&str>, Vec<&str>) =
        case.lines().partition(|line| line.starts_with("> "));
    let text = text.iter().map(|line| format!("{line}\n")).collect();
    (text, shown.iter().map(|line| &line[2..]).collect())
}

fn line(finding: &Finding) -> String {
    match (finding.line, finding.column) {
        (Some(line), Some(column)) => format!("{line}:{column} {finding}"),
        _ => finding.to_string(),
    }
}
