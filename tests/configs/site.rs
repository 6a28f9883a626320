//! `[site]` and what belongs to it: what is read, each mistake with the line that is shown for it, limits on both sides.

use super::{Config, Severity, errors, errors_of, line, load, parted, vars};
use sluice::config::site::{Firmware, SiteConfig};
use sluice::curtail::site::{FeederId, GroupId, Metered};
use sluice::curtail::{Wall, Watts};
use std::net::IpAddr;
use std::time::Duration;

/// The least site there can be: 10 lines behind the pool's 3.
const SITE: &str = "[site]\nname = \"north\"\nlimit = \"5 MW\"\n\
                    [[feeder]]\nname = \"A\"\nrating = \"2 MW\"\n\
                    [[group]]\nname = \"hall\"\nfeeder = \"A\"\nmachines = [\"10.1.0.0/20\"]\n";

#[test]
fn the_shipped_site_is_read_whole() {
    let text = include_str!("../../config/site.toml");
    let secrets = [
        "EMS_KEY",
        "SLURM_TOKEN",
        "OPERATOR_TOKEN",
        "WHATSMINER_PASSWORD",
    ];
    let secrets: Vec<_> = secrets
        .map(|name| (name, format!("{name}-0123456789")))
        .into();
    let secrets: Vec<_> = secrets.iter().map(|(n, s)| (*n, s.as_str())).collect();
    let (config, findings) = Config::from_vars("x", text, &vars(&secrets));
    let config = config.unwrap_or_else(|| panic!("{findings}"));
    assert_eq!(findings.count(Severity::Warning), 0, "{findings}");
    assert_eq!(config.tokens.len(), 2);
    let site = config.site.as_ref().unwrap();
    assert_eq!(
        site.summary(),
        "site north: 5.00 MW, 2 feeders, 3 groups, 3 sources"
    );
    assert_eq!(site.site.groups[0].overhead_permille, 1060);
    assert_eq!(site.site.groups[2].feeder, FeederId(1));
    assert_eq!(site.site.telemetry.meter, Some(Metered::Site));
    // 2 urls x 4 nodes x (8 x 700 W x 1.1 + 1,500 W)
    assert_eq!(site.site.telemetry.gpu_nameplate, Some(Watts(61_280)));
    assert_eq!(site.site.calendar[0].from, Wall(1_803_859_200_000));
    let printed = format!("{config:?} {config:#?}");
    assert!(secrets.iter().all(|(_, secret)| !printed.contains(secret)));
}

#[test]
fn without_a_site_there_is_no_curtailment() {
    assert!(load("x", super::POOL).site.is_none());
}

#[test]
fn machines_are_found_by_address_first_and_by_worker_then() {
    let site = site_of(
        "[[group]]\nname = \"b\"\nfeeder = \"A\"\nmachines = [\"10.2.0.0/16\", \"10.2.1.0/24\", \"fd00::/64\"]\n\
         [[group]]\nname = \"c\"\nfeeder = \"A\"\nworkers = [\"rack?-*\", \"exact\"]\nmodel = \"s21\"\nfirmware = \"none\"\n\
         [[group]]\nname = \"d\"\nfeeder = \"A\"\nworkers = \"*\"\n",
    );
    let of = |address: &str, worker: &str| {
        let address: IpAddr = address.parse().unwrap();
        site.bindings.group_of(address, worker).map(|group| group.0)
    };
    for (address, worker, group) in [
        ("10.1.0.0", "exact", 0),
        ("10.1.15.255", "", 0),
        ("10.1.16.0", "exact", 2),
        ("10.2.1.7", "", 1),
        ("10.2.0.0", "", 1),
        ("10.2.255.255", "", 1),
        ("::ffff:10.2.1.7", "", 1),
        ("fd00::9", "", 1),
        ("fd00:0:0:1::", "", 3),
        ("192.0.2.1", "rack7-12", 2),
        ("192.0.2.1", "rack-12", 3),
        ("192.0.2.1", "exactly", 3),
    ] {
        assert_eq!(of(address, worker), Some(group), "{address} {worker}");
    }
    let third = site.bindings.of(GroupId(2)).unwrap();
    assert_eq!(third.firmware, Firmware::None);
    assert_eq!(site.models[third.model.unwrap()].name, "Antminer S21");
    assert_eq!(site.bindings.allowed().count(), 4);
}

#[test]
fn a_model_is_found_however_it_is_written_and_never_guessed() {
    let site = site_of(
        "[[model]]\nname = \"S19J PRO\"\nhashrate = \"110 TH/s\"\npower = \"3400 W\"\n\
         [[model]]\nname = \"lab-s21\"\nhashrate = \"40 kH/s\"\npower = \"3.5 kW\"\nidle = \"12 W\"\n",
    );
    let watts = |name: &str| site.model(name).map(|model| model.watts.0);
    assert_eq!(watts("Antminer S19j Pro"), Some(3400));
    assert_eq!(watts("antminer s21"), Some(3500));
    assert_eq!(watts("M50S_VH30"), Some(3276));
    assert_eq!(watts("WhatsMiner M30S++"), Some(3472));
    assert_eq!(watts("M30S+"), Some(3400));
    assert_eq!(watts("lab-s21"), Some(3500));
    for unknown in ["", "Antminer", "S19 XP Hyd", "S19", "M30S+++"] {
        let known = unknown == "S19";
        assert_eq!(watts(unknown).is_some(), known, "{unknown}");
    }
}

#[test]
fn a_source_has_a_heartbeat_or_lives_by_its_orders() {
    let site = site_of(
        "[[source]]\nname = \"a\"\nsecret = \"0123456789abcdef\"\n\
         [[source]]\nname = \"b\"\nheartbeat = \"none\"\nmost_urgent = 0\n",
    );
    let sources = &site.site.sources;
    assert_eq!(sources[0].heartbeat, Some(Duration::from_secs(5)));
    assert_eq!((sources[1].heartbeat, sources[1].most_urgent), (None, 0));
    let keys: Vec<_> = site
        .source_keys
        .iter()
        .map(|key| key.as_ref().map(|k| k.expose()))
        .collect();
    assert_eq!(keys, [Some("0123456789abcdef"), None]);
}

#[test]
fn the_ledger_is_where_it_is_said_or_in_the_state_folder_or_beside_the_file() {
    let ledger = |text: &str, env: &dyn Fn(&str) -> Option<String>| {
        let text = format!("{}{SITE}{text}", super::POOL);
        let config = Config::from_toml("etc/x.toml", &text, env).unwrap();
        config.site.unwrap().ledger.display().to_string()
    };
    let service = |name: &str| (name == "STATE_DIRECTORY").then(|| "/state/a:/state/b".to_owned());
    assert_eq!(ledger("", &|_| None), "etc/sluice-ledger.db");
    assert_eq!(ledger("", &service), "/state/a/sluice-ledger.db");
    assert_eq!(
        ledger("[curtail]\nledger = \"l.db\"\n", &service),
        "etc/l.db"
    );
}

#[test]
fn the_environment_sets_keys_of_a_site() {
    let env = vars(&[
        ("SLUICE__SITE__LIMIT", "4 MW"),
        ("SLUICE__GROUP__HALL__MACHINES", "10.1.0.0/24, 10.1.1.0/24"),
        ("SLUICE__GROUP__HALL__COOLING", "1.1"),
        ("SLUICE__ACTUATORS__WHATSMINER__PORT", "5555"),
        ("SLUICE__ACTUATORS__LUXOS__PROFILES", "true"),
        ("SLUICE__METER__URL", "http://127.0.0.1:1/"),
        ("SLUICE__METER__LABELS", "{ phase = \"1\" }"),
    ]);
    let text = format!("{}{SITE}", super::POOL);
    let (config, findings) = Config::from_vars("x", &text, &env);
    let site = config.unwrap_or_else(|| panic!("{findings}")).site.unwrap();
    assert_eq!(site.site.limit, Watts(4_000_000));
    assert_eq!(site.site.groups[0].overhead_permille, 1100);
    assert_eq!(site.bindings.allowed().count(), 2);
    assert_eq!(site.actuators.ports["whatsminer"], 5555);
    assert!(site.actuators.profiles);
    assert_eq!(
        site.meter.unwrap().labels,
        [("phase".to_owned(), "1".to_owned())]
    );
}

/// `bad_site.txt`: as `bad.txt`; SITE stands for a valid pool and the least site, 13 lines.
#[test]
fn every_mistake_about_a_site_is_shown_where_it_is_made() {
    let cases: Vec<&str> = include_str!("bad_site.txt").split("---\n").collect();
    for case in &cases {
        let (text, shown) = parted(case);
        let text = text
            .replace("SITE\n", &format!("P{SITE}"))
            .replace("POOL\n", "P");
        assert_eq!(errors_of(&text), shown, "\n{text}");
    }
    assert!(cases.len() >= 50);
}

#[test]
fn what_runs_but_is_hardly_meant_is_a_warning() {
    let text = format!(
        "{}{SITE}[[group]]\nname = \"b\"\nfeeder = \"A\"\nlimit = \"3 MW\"\n\
         [[source]]\nname = \"a\"\nheartbeat = \"5s\"\ndead_after = \"15s\"\n\
         [[calendar]]\nfrom = 2027-01-01\nmining = \"5 MW\"\n\
         [curtail]\nbreaker = \"81 %\"\n",
        super::POOL
    );
    let (config, findings) = Config::from_vars("x", &text, &[]);
    assert!(config.is_some(), "{findings}");
    let warnings = findings.iter().filter(|f| f.severity == Severity::Warning);
    let expected = [
        "14:1 warning: group.b.machines: nothing is ever in it: it has neither `machines` nor `workers`",
        "17:9 warning: group.b.limit: more than feeder A is rated for, 2.00 MW",
        "18:1 warning: source.a.secret: nobody can speak for it: it has no secret, and no token of scope curtail is for it",
        "21:14 warning: source.a.dead_after: lost after 15s, before three heartbeats are missed: it is never only on hold",
        "24:10 warning: calendar.calendar-1.mining: bounds nothing: mining never gets more than 5.00 MW",
        "26:11 warning: curtail.breaker: above 80 %: a breaker is rated for that much of continuous load",
    ];
    assert_eq!(warnings.map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn the_limits_of_a_site_hold_on_both_sides() {
    for (section, good, bad) in [
        (
            "[curtail]",
            "minimum_off = \"60s\"",
            "minimum_off = \"59s\"",
        ),
        ("[curtail]", "minimum_on = \"60s\"", "minimum_on = \"59s\""),
        (
            "[curtail]",
            "restore_after = \"5s\"",
            "restore_after = \"4s\"",
        ),
        (
            "[curtail]\nlab = true",
            "minimum_off = \"0s\"",
            "minimum_off = \"25h\"",
        ),
        (
            "[curtail]",
            "most_cycles_a_day = 288",
            "most_cycles_a_day = 289",
        ),
        ("[curtail]", "breaker = \"100 %\"", "breaker = \"100.1 %\""),
        ("[curtail]", "deadband = \"0.1 %\"", "deadband = \"0 %\""),
        ("[curtail]", "skew = \"60s\"", "skew = \"61s\""),
        ("[curtail]", "safe = \"5 MW\"", "safe = \"5000001 W\""),
        ("[actuators]", "in_flight = 4096", "in_flight = 4097"),
        ("[actuators]", "luxos.port = 65535", "luxos.port = 65536"),
        (
            "[meter]\nurl = \"http://h/\"",
            "max_age = \"1001ms\"",
            "max_age = \"1s\"",
        ),
        (
            "[gpu]\nurls = [\"http://h/\"]",
            "node_factor = 2.0",
            "node_factor = 2.1",
        ),
        (
            "[[group]]\nname = \"b\"\nfeeder = \"A\"",
            "cooling = 1.0",
            "cooling = 0.999",
        ),
        (
            "[[group]]\nname = \"b\"\nfeeder = \"A\"",
            "most_starting = 1",
            "most_starting = 0",
        ),
        (
            "[[group]]\nname = \"b\"\nfeeder = \"A\"",
            "most_machines = 1",
            "most_machines = 0",
        ),
        (
            "[[group]]\nname = \"b\"\nfeeder = \"A\"",
            "most_machines = 1000000",
            "most_machines = 1000001",
        ),
        (
            "[[feeder]]\nname = \"b\"",
            "rating = \"1 W\"",
            "rating = \"0 W\"",
        ),
        (
            "[[source]]\nname = \"b\"",
            "secret = \"0123456789abcdef\"",
            "secret = \"0123456789abcde\"",
        ),
        (
            "[[source]]\nname = \"b\"",
            "dead_after = \"6s\"",
            "dead_after = \"5s\"",
        ),
        (
            "[[source]]\nname = \"b\"",
            "most_urgent = 3",
            "most_urgent = 4",
        ),
    ] {
        let text = |line: &str| format!("P{SITE}{section}\n{line}\n");
        assert_eq!(errors_of(&text(good)), [""; 0], "{good}");
        assert_eq!(errors_of(&text(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn a_thousand_groups_are_taken_and_one_more_than_1024_is_not() {
    let group = |n: usize| {
        let range = format!("10.{}.{}.0/24", n / 256, n % 256);
        format!("[[group]]\nname = \"g{n}\"\nfeeder = \"A\"\nmachines = [\"{range}\"]\n")
    };
    let site = SITE.replace("10.1.0.0/20", "10.200.0.0/20");
    let groups = |count: usize| (1..count).map(group).collect::<String>();
    assert_eq!(errors_of(&format!("P{site}{}", groups(1024))), [""; 0]);
    let over = errors_of(&format!("P{site}{}", groups(1025)));
    assert_eq!(over, ["4106:1 group: at most 1024 are allowed"]);
}

#[test]
fn a_token_may_read_unless_its_scopes_say_otherwise() {
    let token = "P[[token]]\nname = \"t\"\nsecret = \"0123456789abcdef\"\n";
    let config = load("x", &token.replacen('P', super::POOL, 1));
    assert!(config.tokens[0].read && !config.tokens[0].curtail && !config.tokens[0].admin);
}

#[test]
fn a_short_secret_is_refused_without_being_shown() {
    let text = format!(
        "{}[[token]]\nname = \"t\"\nsecret = \"hunter2\"\n",
        super::POOL
    );
    let (_, findings) = Config::from_vars("x", &text, &[]);
    assert_eq!(errors(&findings).count(), 1);
    assert!(!format!("{findings} {findings:?}").contains("hunter2"));
}

proptest::proptest! {
    /// Ranges of 10.0.0.0/26 to /30 in three groups: refused exactly if two groups share an address, and if not, every
    /// address is found in the group that has it.
    #[test]
    fn ranges_are_refused_if_two_groups_share_an_address_and_found_if_not(
        ranges in proptest::collection::vec((0usize..3, 0u8..64, 26u8..=30), 1..12),
    ) {
        let cut = |at: u8, prefix: u8| at & !(0xff >> (prefix - 24));
        let ranges: Vec<_> = ranges.into_iter().map(|(g, at, p)| (g, cut(at * 4, p), p)).collect();
        let owners = |address: u8| {
            let here = ranges.iter().filter(|(_, at, p)| cut(address, *p) == *at);
            let mut owners: Vec<usize> = here.map(|(group, ..)| *group).collect();
            owners.sort_unstable();
            owners.dedup();
            owners
        };
        let groups = (0..3).map(|group| {
            let own = ranges.iter().filter(|(g, ..)| *g == group);
            let own: Vec<_> = own.map(|(_, at, p)| format!("\"10.0.0.{at}/{p}\"")).collect();
            let own = own.join(", ");
            format!("[[group]]\nname = \"g{group}\"\nfeeder = \"A\"\nmachines = [{own}]\n")
        });
        let text = format!("{}{SITE}{}", super::POOL, groups.collect::<String>());
        let (config, findings) = Config::from_vars("x", &text, &[]);
        let shared = (0..=255).any(|address| owners(address).len() > 1);
        proptest::prop_assert_eq!(findings.has_errors(), shared, "{}", findings);
        let Some(site) = config.and_then(|config| config.site) else { return Ok(()) };
        for address in 0..=255 {
            let found = site.bindings.group_at(IpAddr::from([10, 0, 0, address]));
            let group = owners(address).first().map(|group| GroupId(*group as u16 + 1));
            proptest::prop_assert_eq!(found, group, "10.0.0.{}", address);
        }
    }
}

fn site_of(more: &str) -> SiteConfig {
    let config = load("x", &format!("{}{SITE}{more}", super::POOL));
    config.site.expect("there is a [site]")
}
