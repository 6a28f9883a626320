//! `[[feeder]]` and `[[group]]`: how the site is wired, and which machines are where.
//!
//! Invariant: index i of the groups and of their bindings is the same group.

use super::{Binding, Firmware, Range, models};
use crate::config::file::{Document, Section};
use crate::config::finding::{Findings, Severity};
use crate::config::quantities;
use crate::config::tree::Value;
use crate::config::units::{self, Want, want};
use crate::curtail::Watts;
use crate::curtail::fleet::Model;
use crate::curtail::site::{Feeder, FeederId, Group};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

/// The families that there are drivers for.
const FAMILIES: [&str; 3] = ["luxos", "whatsminer", "bitaxe"];
/// Most ranges, and most patterns, of one group: a range per switch.
const MOST_PER_GROUP: usize = 256;
/// Longest pattern, in bytes: as long as a worker's name.
const MAX_PATTERN: usize = 128;

/// From nothing to more than any feeder or site has.
fn any() -> RangeInclusive<Watts> {
    Watts::ZERO..=super::MOST_WATTS
}

/// Reads all feeders; `None` if one is wrong.
pub(super) fn feeders(document: &Document, findings: &mut Findings) -> Option<Vec<Feeder>> {
    let feeder = |named: &crate::config::file::Named| {
        let section = Section::of("feeder", named);
        section.missing("name", "a name, as in the scope feeder:NAME", findings);
        section.missing(
            "rating",
            "what its breaker is rated for, such as \"2 MW\"",
            findings,
        );
        section.take("name", findings, quantities::name);
        let rating = section.take("rating", findings, |v| {
            quantities::watts(v, &(Watts(1)..=super::MOST_WATTS))
        });
        let starts = section.take("starts_per_s", findings, |v| units::whole(v, &(1..=10_000)));
        Some(Feeder {
            name: named.name.clone(),
            rating: rating?,
            starts_per_s: starts?,
        })
    };
    let feeders: Vec<_> = document.all("feeder").iter().map(feeder).collect();
    feeders.into_iter().collect()
}

/// Reads all groups; `None` if one is wrong.
pub(super) fn groups(
    document: &Document,
    feeders: Option<&[Feeder]>,
    models: &[Model],
    findings: &mut Findings,
) -> Option<Vec<(Group, Binding)>> {
    let groups = document.all("group").iter().map(|named| {
        let section = Section::of("group", named);
        let group = group(&section, &named.name, document, findings);
        let binding = binding(&section, models, findings);
        if let (Some(group), Some(feeders)) = (&group, feeders) {
            check_limits(&section, group, feeders, findings);
        }
        Some((group?, binding?))
    });
    let groups: Vec<_> = groups.collect();
    groups.into_iter().collect()
}

fn group(
    section: &Section<'_>,
    name: &str,
    document: &Document,
    findings: &mut Findings,
) -> Option<Group> {
    section.missing("name", "a name, as in the scope group:NAME", findings);
    section.missing(
        "feeder",
        "the name of the [[feeder]] that it hangs on",
        findings,
    );
    section.take("name", findings, quantities::name);
    let feeder = feeder_of(section, document, findings);
    // Water chillers in the tropics take less than half of what they cool.
    let overhead = section.take("cooling", findings, |v| quantities::factor(v, 2.0));
    let heat_floor = section.take("heat_floor", findings, |v| quantities::watts(v, &any()));
    let limit = match section.given("limit") {
        None => Some(Watts::UNLIMITED),
        Some(_) => section.take("limit", findings, |v| quantities::watts(v, &any())),
    };
    let most = section.take("most_starting", findings, |v| {
        units::whole(v, &(1..=100_000))
    });
    Some(Group {
        name: name.to_owned(),
        feeder: feeder?,
        overhead_permille: overhead?,
        heat_floor: heat_floor?,
        limit: limit?,
        most_starting: most?,
    })
}

fn feeder_of(
    section: &Section<'_>,
    document: &Document,
    findings: &mut Findings,
) -> Option<FeederId> {
    let name = section.take("feeder", findings, quantities::name)?;
    let mut known = document.all("feeder").iter().map(|f| f.name.as_str());
    if let Some(at) = known.clone().position(|feeder| feeder == name) {
        return u16::try_from(at).ok().map(FeederId);
    }
    let message = format!("there is no feeder {name:?}");
    match known.next() {
        None => section.say(
            Severity::Error,
            "feeder",
            message + "; add [[feeder]]",
            findings,
        ),
        Some(_) => {
            let known = document.all("feeder").iter().map(|f| f.name.as_str());
            section.unknown("feeder", message, &name, known, findings);
        }
    }
    None
}

/// A floor above the group's own limit could never be kept; a limit above the breaker says nothing.
fn check_limits(section: &Section<'_>, group: &Group, feeders: &[Feeder], findings: &mut Findings) {
    let floor = group.heat_floor.scaled(group.overhead_permille);
    if floor > group.limit {
        let message = format!("{floor} at the meter, above its limit of {}", group.limit);
        section.say(Severity::Error, "heat_floor", message, findings);
    }
    let feeder = feeders.get(usize::from(group.feeder.0));
    let Some(feeder) = feeder.filter(|feeder| group.limit > feeder.rating) else {
        return;
    };
    if section.given("limit").is_some() {
        let message = format!(
            "more than feeder {} is rated for, {}",
            feeder.name, feeder.rating
        );
        section.say(Severity::Warning, "limit", message, findings);
    }
}

fn binding(section: &Section<'_>, models: &[Model], findings: &mut Findings) -> Option<Binding> {
    let machines = section.take("machines", findings, |v| few(quantities::ranges(v)?));
    let workers = section.take("workers", findings, |v| few(patterns(v)?));
    let given = section.given("model").is_some();
    let model = models::of_group(section, models, findings);
    let firmware = section.take("firmware", findings, firmware);
    // A million is more than there are on earth at one place; one that is counted costs about 1 KB.
    let most = section.take("most_machines", findings, |v| {
        units::whole(v, &(1..=1_000_000))
    });
    let (machines, workers, firmware) = (machines?, workers?, firmware?);
    if machines.is_empty() && workers.is_empty() {
        let message = "nothing is ever in it: it has neither `machines` nor `workers`";
        section.say(Severity::Warning, "machines", message, findings);
    } else if machines.is_empty()
        && section.given("firmware").is_some()
        && firmware != Firmware::None
    {
        let message = "nothing may be written without `machines`: only their work can be withdrawn";
        section.say(Severity::Warning, "firmware", message, findings);
    } else if firmware == Firmware::None && !given {
        let message = "without firmware to ask, say which `model` they are";
        section.say(Severity::Error, "model", message, findings);
    }
    if given && model.is_none() {
        return None;
    }
    Some(Binding {
        machines,
        workers,
        model,
        firmware,
        most_machines: most? as usize,
    })
}

fn firmware(value: &Value) -> Result<Firmware, Want> {
    let word = units::text(value)?;
    let family = FAMILIES.into_iter().find(|family| *family == word);
    match (word, family) {
        (_, Some(family)) => Ok(Firmware::Family(family)),
        ("auto", _) => Ok(Firmware::Auto),
        ("none", _) => Ok(Firmware::None),
        _ => Err(want(format!(
            "\"auto\", \"none\" or one of {}",
            FAMILIES.join(", ")
        ))),
    }
}

/// Patterns of worker names: one, or a list.
fn patterns(value: &Value) -> Result<Vec<String>, Want> {
    let patterns = match value {
        Value::Text(one) => vec![one.clone()],
        _ => units::list(value)?,
    };
    let fits = |p: &String| {
        (1..=MAX_PATTERN).contains(&p.len())
            && !p.chars().any(char::is_control)
            && p.bytes().filter(|b| *b == b'*').count() <= 8
    };
    match patterns.iter().find(|pattern| !fits(pattern)) {
        None => Ok(patterns),
        Some(_) => Err(want(format!(
            "patterns of 1 to {MAX_PATTERN} bytes with at most 8 stars"
        ))),
    }
}

/// A list that is not too long.
fn few<T>(list: Vec<T>) -> Result<Vec<T>, Want> {
    match list.len() <= MOST_PER_GROUP {
        true => Ok(list),
        false => Err(want(format!("at most {MOST_PER_GROUP}"))),
    }
}

/// Reports ranges that two groups claim, and those that no machine may be in.
pub(super) fn check_ranges(
    document: &Document,
    groups: &[(Group, Binding)],
    simulation: bool,
    findings: &mut Findings,
) {
    let mut all = Vec::new();
    for (at, (_, binding)) in groups.iter().enumerate() {
        let section = Section::of("group", &document.all("group")[at]);
        for range in &binding.machines {
            if let Some(why) = forbidden(range, simulation) {
                let message = format!("{} {why}", shown(range));
                section.say(Severity::Error, "machines", message, findings);
            }
            all.push((range.first, range.last(), at, *range));
        }
    }
    // Ranges are cut at powers of two: two of them are apart, or one holds the other. Sorted, with the wider one first,
    // the one that holds another is on the stack of those that have not ended yet.
    all.sort_unstable_by_key(|(first, last, at, _)| (*first, std::cmp::Reverse(*last), *at));
    let mut open: Vec<(IpAddr, usize, Range)> = Vec::new();
    for (first, last, at, range) in all {
        while open.last().is_some_and(|(end, ..)| *end < first) {
            open.pop();
        }
        if let Some((_, other, outer)) = open.iter().find(|(_, other, _)| *other != at) {
            let (at, other) = (at.max(*other), at.min(*other));
            let section = Section::of("group", &document.all("group")[at]);
            let of = &document.all("group")[other].name;
            let message = match range == *outer {
                true => format!("{} is also in group {of}", shown(&range)),
                false => format!(
                    "{} and {} of group {of} overlap",
                    shown(&range),
                    shown(outer)
                ),
            };
            section.say(Severity::Error, "machines", message, findings);
        }
        open.push((last, at, range));
    }
}

fn shown(range: &Range) -> String {
    format!("{}/{}", range.first, range.prefix)
}

/// Why no machine may be there. The drivers refuse such addresses one by one (STRATUM.md section 4, "actuator
/// address"); saying it here is saying it in time.
fn forbidden(range: &Range, simulation: bool) -> Option<&'static str> {
    let meets = |first: IpAddr, prefix: u8| {
        let other = Range { first, prefix };
        other.contains(range.first) || range.contains(first)
    };
    let v4 = |a: u8, b: u8| IpAddr::from([a, b, 0, 0]);
    let v6 = |top: u16| IpAddr::from(Ipv6Addr::new(top, 0, 0, 0, 0, 0, 0, 0));
    if meets(v4(0, 0), 8) || range.contains(IpAddr::from([255; 4])) || range.contains(v6(0)) {
        return Some("contains addresses that are none (unspecified, broadcast)");
    }
    let loopback = meets(v4(127, 0), 8) || range.contains(IpAddr::from(Ipv6Addr::LOCALHOST));
    if loopback && !simulation {
        return Some("contains loopback: that is for actuators.simulation");
    }
    if meets(v4(169, 254), 16) || meets(v6(0xfe80), 10) {
        return Some("contains link-local addresses");
    }
    let multicast = meets(v4(224, 0), 4) || meets(v6(0xff00), 8);
    multicast.then_some("contains multicast addresses")
}
