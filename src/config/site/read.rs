//! From the tables of a site to a [`SiteConfig`], and what holds between them.
//!
//! Invariant: what comes out can be kept: every bound leaves room for what it must carry.

use super::law::{self, Curtail};
use super::{Bindings, MOST_WATTS, SiteConfig, Token, calendar, models, parts, senders, telemetry};
use crate::config::build::World;
use crate::config::file::{Document, Section};
use crate::config::finding::{Finding, Findings, Severity};
use crate::config::{quantities, units};
use crate::curtail::Watts;
use crate::curtail::site::{Feeder, Group, Law, Site, Telemetry};
use std::path::PathBuf;

/// Everything that means nothing without `[site]`.
const ONCE: [&str; 4] = ["curtail", "actuators", "meter", "gpu"];
const SEVERAL: [&str; 5] = ["feeder", "group", "model", "source", "calendar"];

/// Reads it all. Outer `None`: something is wrong; inner: there is no site.
pub(in crate::config) fn read(
    document: &Document,
    tokens: Option<&[Token]>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Option<SiteConfig>> {
    let section = document.section("site");
    if !section.is_given() {
        check_alone(document, findings);
        return Some(None);
    }
    let grid = grid(&section, findings);
    let curtail_section = document.section("curtail");
    let lab = curtail_section.take("lab", findings, units::flag);
    let curtail = law::read(&curtail_section, lab.unwrap_or(false), world, findings);
    let room = grid.as_ref().map(Grid::room);
    if let (Some(room), Some(curtail)) = (room, &curtail) {
        check_safe(&curtail_section, curtail.safe, room, findings);
    }
    let models = models::read(document, findings);
    let feeders = parts::feeders(document, findings);
    let known = models.as_deref().unwrap_or_default();
    let groups = parts::groups(document, feeders.as_deref(), known, findings);
    let actuators = telemetry::actuators(&document.section("actuators"), world, findings);
    if let (Some(groups), Some(actuators)) = (&groups, &actuators) {
        parts::check_ranges(document, groups, actuators.simulation, findings);
    }
    let sources = senders::sources(document, tokens, world, findings);
    let calendar = calendar::read(document, room, findings);
    let meter = telemetry::meter(&document.section("meter"), findings);
    let gpu = telemetry::gpu(&document.section("gpu"), findings);
    check_whole(document, &section, findings);
    let (grid, curtail, feeders) = (grid?, curtail?, feeders?);
    let (groups, of_groups): (Vec<_>, Vec<_>) = groups?.into_iter().unzip();
    check_floors(document, &feeders, &groups, &curtail.law, findings);
    let (sources, source_keys) = sources?.into_iter().unzip();
    let (meter, gpu) = (meter?, gpu?);
    let telemetry = Telemetry {
        meter: meter.as_ref().map(|meter| meter.measures),
        gpu_nameplate: gpu.as_ref().map(super::Gpu::nameplate),
    };
    if let Some(nameplate) = telemetry.gpu_nameplate.filter(|w| *w > grid.room()) {
        let message = format!(
            "{nameplate} of GPUs at full power do not fit: {} are left",
            grid.room()
        );
        document
            .section("gpu")
            .say(Severity::Warning, "nameplate", message, findings);
    }
    Some(Some(SiteConfig {
        site: grid.site(feeders, groups, sources, calendar?, telemetry, &curtail),
        models: models?,
        bindings: Bindings::new(of_groups),
        actuators: actuators?,
        meter,
        gpu,
        source_keys,
        ledger: curtail.ledger,
        on_exit: curtail.on_exit,
        lab: lab?,
    }))
}

/// Where its ledger is, and nothing else. Outer `None`: that is wrong; inner: there is no site.
pub(in crate::config) fn ledger(
    document: &Document,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Option<PathBuf>> {
    if !document.section("site").is_given() {
        return Some(None);
    }
    law::ledger(&document.section("curtail"), world, findings).map(Some)
}

/// What `[site]` says.
struct Grid {
    name: String,
    limit: Watts,
    other_load: Watts,
    guard: Watts,
}

impl Grid {
    /// What is left for GPUs and mining.
    fn room(&self) -> Watts {
        self.limit - self.other_load - self.guard
    }

    fn site(
        self,
        feeders: Vec<Feeder>,
        groups: Vec<Group>,
        sources: Vec<crate::curtail::site::Source>,
        calendar: Vec<crate::curtail::site::Dated>,
        telemetry: Telemetry,
        curtail: &Curtail,
    ) -> Site {
        Site {
            name: self.name,
            limit: self.limit,
            other_load: self.other_load,
            guard: self.guard,
            safe: curtail.safe,
            feeders,
            groups,
            sources,
            calendar,
            telemetry,
            law: curtail.law.clone(),
        }
    }
}

fn grid(section: &Section<'_>, findings: &mut Findings) -> Option<Grid> {
    section.missing("name", "the name that orders are addressed to", findings);
    section.missing(
        "limit",
        "what it may draw at the meter, such as \"5 MW\"",
        findings,
    );
    let name = section.take("name", findings, quantities::name);
    let range = Watts::ZERO..=MOST_WATTS;
    let mut power = |key: &str| section.take(key, findings, |v| quantities::watts(v, &range));
    let (limit, other_load, guard) = (power("limit"), power("other_load"), power("guard"));
    let grid = Grid {
        name: name?,
        limit: limit?,
        other_load: other_load?,
        guard: guard?,
    };
    if grid.room() <= Watts::ZERO {
        let (other, guard) = (grid.other_load, grid.guard);
        let message = format!(
            "{}: other_load {other} and guard {guard} leave nothing",
            grid.limit
        );
        section.say(Severity::Error, "limit", message, findings);
        return None;
    }
    Some(grid)
}

fn check_safe(section: &Section<'_>, safe: Watts, room: Watts, findings: &mut Findings) {
    if safe > room {
        let message = format!("{safe} is more than the site's limit leaves, {room}");
        section.say(Severity::Error, "safe", message, findings);
    }
}

/// The floors of a feeder's groups must fit under its breaker, as far as that is planned for.
fn check_floors(
    document: &Document,
    feeders: &[Feeder],
    groups: &[Group],
    law: &Law,
    findings: &mut Findings,
) {
    for (at, feeder) in feeders.iter().enumerate() {
        let here = groups
            .iter()
            .filter(|group| usize::from(group.feeder.0) == at);
        let floors: Watts = here.map(|g| g.heat_floor.scaled(g.overhead_permille)).sum();
        let planned = Watts(feeder.rating.0 * i64::from(law.breaker_permille) / 1000);
        if floors > planned {
            let message =
                format!("the heat floors of its groups are {floors}, and it may carry {planned}");
            let section = Section::of("feeder", &document.all("feeder")[at]);
            section.say(Severity::Error, "rating", message, findings);
        }
    }
}

/// A site that can be neither curtailed nor asked to.
fn check_whole(document: &Document, section: &Section<'_>, findings: &mut Findings) {
    let mut say = |severity, message: &str, hint: &str| {
        let finding = Finding::said(severity, "site", message).hint(hint);
        findings.push(finding.at(section.place("")));
    };
    if document.all("group").is_empty() {
        let hint = "add [[feeder]] and [[group]]";
        say(Severity::Error, "no machine belongs to it", hint);
    }
    let none = document.all("source").is_empty();
    if none && document.all("calendar").is_empty() && !document.section("gpu").is_given() {
        let hint = "add [[source]] and [[token]], [gpu] or [[calendar]]";
        say(Severity::Warning, "nothing can ask it to make room", hint);
    }
}

/// Tables that belong to a site, without one.
fn check_alone(document: &Document, findings: &mut Findings) {
    let once = ONCE.iter().filter_map(|name| {
        let section = document.section(name);
        section
            .is_given()
            .then(|| (*name, section.place("").clone()))
    });
    let several = SEVERAL.iter().filter_map(|name| {
        let first = document.all(name).first()?;
        Some((*name, first.place.clone()))
    });
    let alone: Vec<_> = once.chain(several).collect();
    for (name, place) in alone {
        let finding = Finding::said(
            Severity::Error,
            name,
            "belongs to a site, and there is none",
        );
        findings.push(
            finding
                .hint("add [site] with `name` and `limit`")
                .at(&place),
        );
    }
}
