//! Which sessions become machines, and which never do.

use super::*;
use crate::config::Config;
use crate::telemetry::board::tests::observation;

const SITE: &str = "[[pool]]\nurl = \"127.0.0.1:3333\"\nuser = \"a\"\n\
    [site]\nname = \"north\"\nlimit = \"5 MW\"\n\
    [[feeder]]\nname = \"A\"\nrating = \"2 MW\"\n\
    [[group]]\nname = \"hall\"\nfeeder = \"A\"\nmachines = [\"10.1.0.0/20\"]\nmost_machines = 2\n\
    [[group]]\nname = \"rack\"\nfeeder = \"A\"\nworkers = [\"c1-*\"]\nmodel = \"s21\"\nmost_machines = 2\n\
    [[source]]\nname = \"ems\"\nsecret = \"0123456789abcdef\"\n";

#[test]
fn a_name_alone_is_no_machine_and_with_its_first_accepted_share_it_is() {
    let power = power();
    for id in 0..3_000 {
        join(&power, id, "192.0.2.1", &format!("c1-{id}"));
    }
    assert_eq!(names(&power), [""; 0]);
    power.accepted(&[observation(7, "c1-7", 0, 3)]);
    assert_eq!(names(&power), [""; 0], "refused shares");
    power.accepted(&[observation(7, "c1-7", 1, 0)]);
    assert_eq!(names(&power), ["c1-7"]);
    assert_eq!(power.mined().len(), 1, "that share is its own already");
}

#[test]
fn an_address_of_a_group_is_a_machine_at_once() {
    let power = power();
    join(&power, 1, "10.1.0.1", "whoever");
    assert_eq!(names(&power), ["10.1.0.1"]);
}

#[test]
fn a_machine_that_is_known_is_told_at_once_when_it_comes_back() {
    let power = power();
    power.tell("c1-1", Told::Withdrawn);
    join(&power, 1, "192.0.2.1", "c1-1");
    assert_eq!(names(&power), ["c1-1"]);
    power.left(SessionId(1));
    assert_eq!(names(&power), ["c1-1"]);
    join(&power, 2, "192.0.2.1", "c1-1");
    assert_eq!(names(&power), ["c1-1"]);
}

#[test]
fn a_group_takes_the_most_machines_and_not_one_more_and_says_so_once() {
    let power = power();
    for id in 1..=2 {
        join(&power, id, &format!("10.1.0.{id}"), "whoever");
    }
    assert_eq!(names(&power), ["10.1.0.1", "10.1.0.2"]);
    assert!(power.full().is_empty());
    for id in 3..=4 {
        join(&power, id, &format!("10.1.0.{id}"), "whoever");
    }
    assert_eq!(names(&power), [""; 0]);
    assert!(power.full().into_iter().eq([GroupId(0)]));
    assert!(power.full().is_empty(), "said");
    power.left(SessionId(1));
    join(&power, 5, "10.1.0.1", "whoever");
    assert_eq!(names(&power), ["10.1.0.1"], "known before");
    join(&power, 6, "192.0.2.1", "c1-1");
    power.accepted(&[observation(6, "c1-1", 1, 0)]);
    assert_eq!(names(&power), ["c1-1"], "another group");
}

fn power() -> Power {
    let config = Config::from_toml("x", SITE, &|_| None).expect("valid");
    Power::new(config.site.expect("has a site").bindings)
}

fn join(power: &Power, id: u64, address: &str, worker: &str) {
    let session = SessionId(id);
    power.joined(session, address.parse().expect("an address"));
    power.reachable(session, Arc::default());
    power.authorized(session, &worker.into());
}

/// Of the machines that came or went since the last call.
fn names(power: &Power) -> Vec<String> {
    let changes = power.changes().into_iter();
    let mut names: Vec<String> = changes.map(|seen| seen.name.to_string()).collect();
    names.sort();
    names
}
