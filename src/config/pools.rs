//! `[[pool]]`: from keys to [`Pool`]s and what the router knows of them.
//!
//! Invariant: the pool at index i has `LinkId(i)`.

use super::Pool;
use super::build::World;
use super::file::{Document, Section};
use super::finding::{Finding, Findings, Severity};
use super::units::{self, PoolUrl, want};
use super::{Shared, secret};
use crate::proxy::{link, link::Identity, router};
use crate::work::{Difficulty, LinkId};

/// Longest user template, in bytes: with a worker's 128 the authorize stays far below any pool's line limit.
const MAX_USER: usize = 256;

/// Reads all of them; `None` if one is wrong.
pub(super) fn read(
    document: &Document,
    shared: &Shared,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Vec<(Pool, router::Pool)>> {
    if document.pool.is_empty() {
        let finding = Finding::said(Severity::Error, "pool", "there is no pool to mine for")
            .hint("add [[pool]] with `url` and `user`");
        findings.push(finding.at(&document.place));
    }
    let sections = document.pool.iter().map(|named| Section::of("pool", named));
    let pools: Vec<_> = (0..)
        .zip(sections.zip(&document.pool))
        .map(|(id, (section, named))| {
            pool(&section, LinkId(id), &named.name, shared, world, findings)
        })
        .collect();
    let pools: Vec<_> = pools.into_iter().collect::<Option<_>>()?;
    check_twins(document, &pools, findings);
    check_failover(document, &pools, findings);
    Some(pools)
}

fn pool(
    section: &Section<'_>,
    id: LinkId,
    name: &str,
    shared: &Shared,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<(Pool, router::Pool)> {
    section.take("name", findings, units::name);
    section.missing(
        "url",
        "stratum+tcp://HOST:PORT, stratum+ssl://HOST:PORT or stratum2+tcp://HOST:PORT/KEY",
        findings,
    );
    section.missing(
        "user",
        "the pool's user, such as \"account.{worker}\"",
        findings,
    );
    let url = section.take("url", findings, units::pool_url);
    let user = section.take("user", findings, user);
    let password = section.take("password", findings, |v| secret::read(v, world));
    let identity = identity(section, user.as_deref(), findings);
    let tier = section.take("tier", findings, |v| units::whole(v, &(0..=255)));
    // A weight is relative; a share of nothing is what tiers are for.
    let share = section.take("share", findings, |v| units::number(v, &(0.001..=1e6)));
    let ca = section.take("ca", findings, |v| units::line(v, 4096));
    let reconnect_hosts = section.take("reconnect_hosts", findings, units::hosts);
    // 1,000 a second is 1/400 of what one core can judge, and more than any pool bears.
    let rate = section.take("shares_per_second", findings, |v| {
        units::number(v, &(0.001..=1000.0))
    });
    let rolling = section.take("version_rolling", findings, units::flag)?;
    if let Some(url) = &url {
        remark(section, url, rolling, findings);
    }
    let url = url?;
    let tls = url.tls.then(|| ca.map(|ca| world.base.join(ca)));
    let pool = Pool {
        link: link::Config {
            id,
            name: name.to_owned(),
            protocol: match url.authority {
                Some(_) => link::Protocol::V2,
                None => link::Protocol::V1,
            },
            host: url.host.clone(),
            port: url.port,
            tls: url.tls,
            user: user?,
            password: password?,
            identity: identity?,
            version_mask: if rolling { shared.version_mask } else { 0 },
            reconnect_hosts: reconnect_hosts?,
            shares_per_second: rate?,
            // Known once the listeners are.
            easiest: Difficulty::MIN,
            refresh: shared.refresh,
            seed: seed(id),
        },
        host: url.host,
        port: url.port,
        tls,
        authority: url.authority,
    };
    let share = share?;
    let tier = u8::try_from(tier?).ok()?;
    Some((pool, router::Pool { id, tier, share }))
}

/// Jitter must differ between processes, or they all come back to a pool at once. Not a secret: the id will do in need.
fn seed(id: LinkId) -> u64 {
    getrandom::u64().unwrap_or_else(|_| u64::from(id.0))
}

/// The user template; `{worker}` is all that may stand in braces.
fn user(value: &super::tree::Value) -> Result<String, units::Want> {
    let user = units::line(value, MAX_USER)?;
    match user.replacen("{worker}", "", 1).contains(['{', '}']) {
        true => Err(want("a name with at most one {worker} and no other braces")),
        false => Ok(user),
    }
}

/// `worker` if the user says so; a contradiction between the two is refused.
fn identity(
    section: &Section<'_>,
    user: Option<&str>,
    findings: &mut Findings,
) -> Option<Identity> {
    let words = [("account", Identity::Account), ("worker", Identity::Worker)];
    let given = section.given("identity").is_some();
    let stated = section.take("identity", findings, |v| units::either(v, words));
    let user = user?;
    let templated = user.contains("{worker}");
    let implied = if templated {
        Identity::Worker
    } else {
        Identity::Account
    };
    if !given {
        return Some(implied);
    }
    if stated? != implied {
        let message = match templated {
            true => "\"account\" sends every share under one name, but `user` contains {worker}",
            false => "\"worker\" needs {worker} in `user`",
        };
        section.say(Severity::Error, "identity", message, findings);
        return None;
    }
    stated
}

/// What is allowed but worth saying.
fn remark(section: &Section<'_>, url: &PoolUrl, rolling: bool, findings: &mut Findings) {
    if !url.tls && section.given("ca").is_some() {
        let message = "a certificate authority needs a stratum+ssl:// url";
        section.say(Severity::Error, "ca", message, findings);
    }
    let here = url.host == "localhost"
        || url
            .host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if !url.tls && url.authority.is_none() && !here {
        let message = "not encrypted: whoever is on the way can take the hashrate; \
                       use stratum2+tcp:// or stratum+ssl:// if the pool has it";
        section.say(Severity::Warning, "url", message, findings);
    }
    if !rolling {
        let message = "miners that may be moved to this pool roll no version bits on any pool";
        section.say(Severity::Warning, "version_rolling", message, findings);
    }
}

/// The same account at the same pool, twice: it works, but is hardly meant.
fn check_twins(document: &Document, pools: &[(Pool, router::Pool)], findings: &mut Findings) {
    for (at, (one, _)) in pools.iter().enumerate() {
        let same = |(other, _): &&(Pool, router::Pool)| {
            (&other.host, other.port, &other.link.user) == (&one.host, one.port, &one.link.user)
        };
        if let Some((first, _)) = pools[..at].iter().find(same) {
            let section = Section::of("pool", &document.pool[at]);
            let message = format!("the same place and user as pool {}", first.link.name);
            section.say(Severity::Warning, "url", message, findings);
        }
    }
}

fn check_failover(document: &Document, pools: &[(Pool, router::Pool)], findings: &mut Findings) {
    if let [_] = pools {
        let message = "the only pool: when it fails, miners wait";
        let section = Section::of("pool", &document.pool[0]);
        let finding = Finding::said(Severity::Note, &section.path("url"), message);
        findings.push(
            finding
                .hint("add another with a higher `tier`")
                .at(section.place("url")),
        );
    }
}
