//! `[[source]]` and `[[token]]`: who may send signals, and how they prove who they are.
//!
//! Invariant: no two tokens and no two sources have the same secret, so a request has one sender; a token's source exists.

use super::{Secret, Token};
use crate::config::build::World;
use crate::config::file::{Document, Section};
use crate::config::finding::{Findings, Severity};
use crate::config::units::{self, Want, want};
use crate::config::{quantities, secret, tree::Value};
use crate::curtail::site::Source;
use std::time::Duration;

/// Shortest key, in bytes: 16 random ones cannot be guessed.
const SHORTEST: usize = 16;

/// Reads all tokens; `None` if one is wrong.
pub(in crate::config) fn tokens(
    document: &Document,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Vec<Token>> {
    let all = document.all("token");
    let sections: Vec<_> = all
        .iter()
        .map(|named| Section::of("token", named))
        .collect();
    let tokens: Vec<_> = sections
        .iter()
        .zip(all)
        .map(|(section, named)| token(section, &named.name, document, world, findings))
        .collect();
    let tokens: Vec<Token> = tokens.into_iter().collect::<Option<_>>()?;
    for (at, one) in tokens.iter().enumerate() {
        if let Some(first) = tokens[..at].iter().find(|t| t.secret == one.secret) {
            let message = format!("the same as that of token {}", first.name);
            sections[at].say(Severity::Error, "secret", message, findings);
        }
    }
    Some(tokens)
}

fn token(
    section: &Section<'_>,
    name: &str,
    document: &Document,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Token> {
    section.missing("name", "a name for the audit", findings);
    section.missing(
        "secret",
        "{ env = \"NAME\" } or { file = \"PATH\" }",
        findings,
    );
    section.take("name", findings, quantities::name);
    let secret = key(section, world, findings, sendable);
    let scopes = section.take("scopes", findings, scopes);
    let source = match section.given("source") {
        None => Some(None),
        Some(_) => source_of(section, document, findings).map(Some),
    };
    let [read, curtail, admin] = scopes?;
    Some(Token {
        name: name.to_owned(),
        secret: secret?,
        read,
        curtail,
        admin,
        source: source?,
    })
}

/// The source that a token speaks for.
fn source_of(
    section: &Section<'_>,
    document: &Document,
    findings: &mut Findings,
) -> Option<String> {
    let name = section.take("source", findings, quantities::name)?;
    let known = document.all("source").iter().map(|s| s.name.as_str());
    if known.clone().any(|source| source == name) {
        return Some(name);
    }
    let message = format!("there is no source {name:?}");
    section.unknown("source", message, &name, known, findings);
    None
}

/// Which of read, curtail and admin.
fn scopes(value: &Value) -> Result<[bool; 3], Want> {
    const KNOWN: [&str; 3] = ["read", "curtail", "admin"];
    let wanted = || want("one or more of \"read\", \"curtail\" and \"admin\"");
    let scopes = units::list(value)?;
    match !scopes.is_empty() && scopes.iter().all(|s| KNOWN.contains(&s.as_str())) {
        true => Ok(KNOWN.map(|known| scopes.iter().any(|s| s == known))),
        false => Err(wanted()),
    }
}

/// Reads all sources with their keys; `None` if one is wrong.
pub(super) fn sources(
    document: &Document,
    tokens: Option<&[Token]>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Vec<(Source, Option<Secret>)>> {
    let sources = document.all("source").iter().map(|named| {
        let section = Section::of("source", named);
        let read = source(&section, &named.name, world, findings);
        let speaks = |token: &Token| {
            token.curtail && token.source.as_ref().is_none_or(|of| *of == named.name)
        };
        let mute = section.given("secret").is_none() && tokens.is_some_and(|t| !t.iter().any(speaks));
        if mute {
            let message = "nobody can speak for it: it has no secret, and no token of scope curtail is for it";
            section.say(Severity::Warning, "secret", message, findings);
        }
        read
    });
    let sources: Vec<_> = sources.collect();
    let sources: Vec<(Source, Option<Secret>)> = sources.into_iter().collect::<Option<_>>()?;
    for (at, (_, key)) in sources.iter().enumerate() {
        let mut before = sources[..at].iter();
        if let Some((first, _)) = before.find(|(_, k)| key.is_some() && k == key) {
            let section = Section::of("source", &document.all("source")[at]);
            let message = format!("the same as that of source {}", first.name);
            section.say(Severity::Error, "secret", message, findings);
        }
    }
    Some(sources)
}

fn source(
    section: &Section<'_>,
    name: &str,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<(Source, Option<Secret>)> {
    section.missing("name", "the name that its orders carry", findings);
    section.take("name", findings, quantities::name);
    let given = section.given("secret").is_some();
    let secret = key(section, world, findings, |_| true);
    let most_urgent = section.take("most_urgent", findings, |v| units::whole(v, &(0..=3)));
    let heartbeat = section.take("heartbeat", findings, heartbeat);
    let range = Duration::from_secs(2)..=Duration::from_secs(86_400);
    let dead_after = section.take("dead_after", findings, |v| units::duration(v, &range));
    let (heartbeat, dead_after) = (heartbeat?, dead_after?);
    if let Some(every) = heartbeat {
        let show = units::show(dead_after);
        if every >= dead_after {
            let message = format!(
                "lost after {show}, and heard only every {}",
                units::show(every)
            );
            section.say(Severity::Error, "dead_after", message, findings);
        } else if every * 3 >= dead_after {
            let message = format!(
                "lost after {show}, before three heartbeats are missed: it is never only on hold"
            );
            section.say(Severity::Warning, "dead_after", message, findings);
        }
    }
    if given && secret.is_none() {
        return None;
    }
    let source = Source {
        name: name.to_owned(),
        most_urgent: u8::try_from(most_urgent?).ok()?,
        heartbeat,
        dead_after,
    };
    Some((source, secret))
}

/// `"none"`, or how often it is heard.
fn heartbeat(value: &Value) -> Result<Option<Duration>, Want> {
    if matches!(value, Value::Text(text) if text == "none") {
        return Ok(None);
    }
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    let read = units::duration(value, &range).map(Some);
    read.map_err(|_| want("a duration from 1s to 1h, or \"none\": it lives by `expires_at`"))
}

/// Whether a header carries it as it is: `Authorization: Bearer TOKEN` (RFC 6750, 2.1).
fn sendable(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A secret that is long enough, and that its sender can send.
fn key(
    section: &Section<'_>,
    world: &World<'_>,
    findings: &mut Findings,
    sendable: fn(&str) -> bool,
) -> Option<Secret> {
    section.given("secret")?;
    let read = |value: &Value| {
        let secret = secret::read(value, world)?;
        let wanted = match (secret.len() >= SHORTEST, sendable(&secret)) {
            (true, true) => return Ok(Secret(secret)),
            (false, _) => format!("a secret of at least {SHORTEST} bytes"),
            (true, false) => "a secret that a header can carry: ASCII without spaces".into(),
        };
        Err(want(wanted).hint("such as `openssl rand -hex 32` makes"))
    };
    section.take("secret", findings, read)
}
