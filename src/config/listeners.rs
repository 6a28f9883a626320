//! `[[listen]]`: from keys to [`Listener`]s and the pools each may use.
//!
//! Invariant: the listener at index i has `ListenerId(i)`.

use super::build::World;
use super::file::{Document, Section};
use super::finding::{Findings, Severity};
use super::{Listener, Shared, secret, units};
use crate::proxy::lease::ListenerId;
use crate::proxy::session;
use crate::work::{Difficulty, LinkId, vardiff};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Most shares a minute that can be aimed at: the default submit bucket passes 20 a second for ever.
const MOST_PER_MINUTE: f64 = 1200.0;

/// Reads all of them; `None` if one is wrong.
pub(super) fn read(
    document: &Document,
    shared: &Shared,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Vec<(Listener, Vec<LinkId>)>> {
    let listeners: Vec<_> = (0..)
        .zip(&document.listen)
        .map(|(id, named)| {
            let section = Section::of("listen", named);
            section.take("name", findings, units::name);
            let pools = pools(&section, document, findings);
            let listener = listener(
                &section,
                ListenerId(id),
                &named.name,
                shared,
                world,
                findings,
            );
            Some((listener?, pools?))
        })
        .collect();
    let listeners: Vec<_> = listeners.into_iter().collect::<Option<_>>()?;
    check_unused(document, &listeners, findings);
    Some(listeners)
}

fn listener(
    section: &Section<'_>,
    id: ListenerId,
    name: &str,
    shared: &Shared,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Listener> {
    let address = section.take("address", findings, units::address);
    let tls = tls(&section.inner("listen.tls"), world, findings);
    let password = section.take("password", findings, |v| secret::read(v, world));
    if password.is_some() && shared.v2 {
        let message = "Stratum V2 has no password: V2 miners get no channel on this listener";
        section.say(Severity::Note, "password", message, findings);
    }
    let vardiff = vardiff(section, shared, findings);
    Some(Listener {
        name: name.to_owned(),
        address: address?,
        tls: tls?,
        session: session::Config {
            listener: id,
            vardiff: vardiff?,
            password,
            submits: shared.submits,
            others: shared.others,
            version_mask: shared.version_mask,
            channels: shared.channels,
            fast_lines: shared.fast_lines,
            wall: shared.wall,
        },
    })
}

/// Both files, or none; the outer `None` says that a finding was made.
fn tls(
    section: &Section<'_>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Option<(PathBuf, PathBuf)>> {
    if !section.is_given() {
        return Some(None);
    }
    let certificate = section.take("certificate", findings, |v| units::line(v, 4096));
    let key = section.take("key", findings, |v| units::line(v, 4096));
    section.missing("certificate", "a PEM file with the chain", findings);
    section.missing("key", "a PEM file with the private key", findings);
    Some(Some((world.base.join(certificate?), world.base.join(key?))))
}

/// Difficulty and share rates. What is not written bends to what is; what is written must fit together.
fn vardiff(
    outer: &Section<'_>,
    shared: &Shared,
    findings: &mut Findings,
) -> Option<vardiff::Config> {
    let section = outer.inner("listen.difficulty");
    let min = section.take("min", findings, units::difficulty);
    let max = section.take("max", findings, units::difficulty);
    let start = section.take("start", findings, units::difficulty);
    let fixed = section.take("fixed", findings, units::difficulty);
    let rates = rates(outer, shared, findings);
    for key in ["min", "start", "fixed"] {
        remark_difficulty(&section, key, findings);
    }
    if section.given("fixed").is_some() {
        for key in ["start", "min", "max"] {
            if section.given(key).is_some() {
                let message = "a fixed difficulty has no start, min or max";
                section.say(Severity::Error, key, message, findings);
            }
        }
    }
    let (min, max, mut start) = (min?, max?, start?);
    if min > max {
        let key = if section.given("min").is_some() {
            "min"
        } else {
            "max"
        };
        let message = format!("min {} is above max {}", min.value(), max.value());
        section.say(Severity::Error, key, message, findings);
        return None;
    }
    if section.given("start").is_none() {
        start = start.max(min).min(max);
    } else if start < min || start > max {
        let (least, most) = (min.value(), max.value());
        let message = format!("start {} is outside {least} to {most}", start.value());
        section.say(Severity::Error, "start", message, findings);
    }
    let (shares_per_minute, ceiling_per_minute) = rates?;
    Some(vardiff::Config {
        start,
        min,
        max,
        fixed,
        shares_per_minute,
        ceiling_per_minute,
    })
}

fn remark_difficulty(section: &Section<'_>, key: &str, findings: &mut Findings) {
    let given = section
        .given(key)
        .map(|node| units::difficulty(&node.value));
    let Some(Ok(difficulty)) = given else { return };
    if difficulty < Difficulty::ONE {
        let message = "below 1: a lab, no ASIC mines this";
        section.say(Severity::Note, key, message, findings);
    }
    if difficulty.value().log2().fract() != 0.0 {
        let floor = difficulty.value().log2().floor().exp2();
        let message = format!("rounded down to {floor}, a power of two");
        section.say(Severity::Warning, key, message, findings);
    }
}

fn rates(section: &Section<'_>, shared: &Shared, findings: &mut Findings) -> Option<(f64, f64)> {
    let range = 1.0..=MOST_PER_MINUTE;
    let aim = section.take("shares_per_minute", findings, |v| units::number(v, &range));
    let ceiling = section.take("ceiling_per_minute", findings, |v| units::number(v, &range));
    let (aim, mut ceiling) = (aim?, ceiling?);
    if section.given("shares_per_minute").is_some() && !(6.0..=20.0).contains(&aim) {
        let message = "6 to 20 shares a minute serve vardiff best";
        section.say(Severity::Note, "shares_per_minute", message, findings);
    }
    if section.given("ceiling_per_minute").is_none() {
        ceiling = ceiling.max(aim);
    } else if ceiling < aim {
        let message = format!("the ceiling {ceiling} is below shares_per_minute {aim}");
        section.say(Severity::Error, "ceiling_per_minute", message, findings);
    }
    if ceiling / 60.0 > shared.submits.per_second {
        let most = shared.submits.per_second * 60.0;
        let key = match section.given("ceiling_per_minute") {
            Some(_) => "ceiling_per_minute",
            None => "shares_per_minute",
        };
        let message = format!("limits.submits_per_second lets only {most} a minute pass");
        section.say(Severity::Error, key, message, findings);
    }
    Some((aim, ceiling))
}

/// The pools of a listener, by name; all if it names none.
fn pools(
    section: &Section<'_>,
    document: &Document,
    findings: &mut Findings,
) -> Option<Vec<LinkId>> {
    let ids = (0..).map(LinkId).zip(&document.pool);
    if section.given("pools").is_none() {
        return Some(ids.map(|(id, _)| id).collect());
    }
    let names = section.take("pools", findings, units::list)?;
    if names.is_empty() {
        let message = "an empty list: this listener would have no work";
        section.say(Severity::Error, "pools", message, findings);
        return None;
    }
    let ids: Vec<_> = ids.collect();
    let mut found = Vec::new();
    for name in &names {
        match ids
            .iter()
            .find(|(_, pool)| pool.name.eq_ignore_ascii_case(name))
        {
            Some((id, _)) if found.contains(id) => {
                let message = format!("pool {name:?} is named twice");
                section.say(Severity::Warning, "pools", message, findings);
            }
            Some((id, _)) => found.push(*id),
            None => {
                let known = ids.iter().map(|(_, pool)| pool.name.as_str());
                let message = format!("there is no pool {name:?}");
                section.unknown("pools", message, name, known, findings);
            }
        }
    }
    (found.len() == names.len())
        .then_some(found)
        .or(Some(Vec::new()))
}

fn check_unused(
    document: &Document,
    listeners: &[(Listener, Vec<LinkId>)],
    findings: &mut Findings,
) {
    for (id, named) in (0..).map(LinkId).zip(&document.pool) {
        if !listeners.iter().any(|(_, pools)| pools.contains(&id)) {
            let section = Section::of("pool", named);
            section.say(
                Severity::Warning,
                "name",
                "no listener uses this pool",
                findings,
            );
        }
    }
}

/// Reports addresses that cannot be bound at the same time. A wildcard takes its port on every address.
pub(super) fn check_addresses(
    document: &Document,
    listeners: &[(Listener, Vec<LinkId>)],
    api: Option<(SocketAddr, &Section<'_>)>,
    findings: &mut Findings,
) {
    let sections = document
        .listen
        .iter()
        .map(|named| Section::of("listen", named));
    let bound: Vec<_> = sections
        .zip(listeners.iter().map(|(l, _)| l.address))
        .collect();
    for (at, (section, address)) in bound.iter().enumerate() {
        let earlier = bound[..at].iter().zip(&document.listen);
        for ((_, other), named) in earlier {
            if clash(*address, *other) {
                let message = format!("{address} clashes with listener {} on {other}", named.name);
                section.say(Severity::Error, "address", message, findings);
            }
        }
        if let Some((api, place)) = api.as_ref().filter(|(api, _)| clash(*address, *api)) {
            let (key, section) = match place.given("listen").is_some() {
                true => ("listen", *place),
                false => ("address", section),
            };
            let message = format!("the API on {api} clashes with a listener on {address}");
            section.say(Severity::Error, key, message, findings);
        }
    }
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}
