//! What LuxOS answers mean, and nothing else: bytes in, values out.
//!
//! Not what is asked, nor what follows from an answer. Pure. Invariant: nothing is read out of an answer, or out of a part
//! of a joined one, that does not say of itself that it is a success.

use super::profiles::{self, Profile, Profiles};
use crate::actuators::{
    Identity,
    reply::{BadAnswer, Few, First, LONGEST_TEXT, Loose, clean, identity, json},
};
use crate::curtail::fleet::{Mode, Observation};
use serde::Deserialize;

/// What `config` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// MAC address or serial number.
    pub id: String,
    /// Cleaned.
    pub model: String,
    /// Whether it is curtailed; `None`: in some other mode.
    pub asleep: Option<bool>,
    /// The profile in force; empty: it does not say.
    pub profile: String,
    /// Whether its own thermal manager is on, which then chooses profiles.
    pub atm: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "UPPERCASE", bound(deserialize = "'de: 'a"))]
struct Envelope<'a> {
    status: First<Status<'a>>,
    config: First<ConfigRow<'a>>,
    session: First<SessionRow<'a>>,
    power: First<PowerRow<'a>>,
    summary: First<SummaryRow<'a>>,
    version: First<VersionRow<'a>>,
    profiles: Few<ProfileRow<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Status<'a> {
    #[serde(rename = "STATUS")]
    status: Loose<'a>,
    #[serde(rename = "Code")]
    code: Loose<'a>,
    #[serde(rename = "Msg")]
    words: Loose<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ConfigRow<'a> {
    #[serde(rename = "MACAddr")]
    mac: Loose<'a>,
    #[serde(rename = "SerialNumber")]
    serial: Loose<'a>,
    #[serde(rename = "Model")]
    model: Loose<'a>,
    #[serde(rename = "CurtailMode")]
    curtail: Loose<'a>,
    #[serde(rename = "Profile")]
    profile: Loose<'a>,
    #[serde(rename = "IsAtmEnabled")]
    atm: Loose<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct SessionRow<'a> {
    #[serde(rename = "SessionID")]
    id: Loose<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct PowerRow<'a> {
    #[serde(rename = "Watts")]
    watts: Loose<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct SummaryRow<'a> {
    #[serde(rename = "GHS 5s")]
    ghs: Loose<'a>,
    #[serde(rename = "Elapsed")]
    elapsed: Loose<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct VersionRow<'a> {
    #[serde(rename = "LUXminer")]
    luxminer: Loose<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ProfileRow<'a> {
    #[serde(rename = "Profile Name")]
    name: Loose<'a>,
    #[serde(rename = "Watts")]
    watts: Loose<'a>,
}

/// Several answers in one, each under its command's name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Joined<'a> {
    config: First<Envelope<'a>>,
    power: First<Envelope<'a>>,
    session: First<Envelope<'a>>,
    summary: First<Envelope<'a>>,
    version: First<Envelope<'a>>,
    profiles: First<Envelope<'a>>,
}

impl<'a> Envelope<'a> {
    fn read(reply: &'a [u8]) -> Result<Self, BadAnswer> {
        json::<Self>(reply)?.successful()
    }

    fn successful(self) -> Result<Self, BadAnswer> {
        let status = self.status.0.as_ref();
        let status = status.ok_or(BadAnswer::Unreadable("no STATUS"))?;
        match status.status.text() {
            Some("S") => Ok(self),
            Some("E" | "F" | "W" | "I") => Err(BadAnswer::No {
                code: status.code.code().unwrap_or(0),
                words: clean(status.words.text().unwrap_or("no reason given")),
            }),
            _ => Err(BadAnswer::Unreadable("no STATUS letter")),
        }
    }

    fn who(&self) -> Result<Who, BadAnswer> {
        let row = self.config.0.as_ref();
        let row = row.ok_or(BadAnswer::Unreadable("no CONFIG"))?;
        Ok(Who {
            id: identity(&row.mac, &row.serial)?,
            model: clean(row.model.text().unwrap_or("")),
            asleep: match row.curtail.text().unwrap_or("None") {
                mode if mode.eq_ignore_ascii_case("sleep") => Some(true),
                mode if mode.is_empty() || mode.eq_ignore_ascii_case("none") => Some(false),
                _ => None,
            },
            profile: profiles::name(row.profile.text().unwrap_or("")).to_owned(),
            atm: row.atm.truth().unwrap_or(false),
        })
    }

    fn session_id(&self) -> Result<&str, BadAnswer> {
        let row = self.session.0.as_ref();
        let id = row.and_then(|row| row.id.text()).unwrap_or("");
        // It goes into requests between quotes and commas.
        let plain = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        match plain && (1..=LONGEST_TEXT).contains(&id.len()) {
            true => Ok(id),
            false => Err(BadAnswer::Unreadable("no SessionID")),
        }
    }
}

/// Reads the answer to `config`.
///
/// # Errors
/// It is none, or names no machine.
pub fn who(reply: &[u8]) -> Result<Who, BadAnswer> {
    Envelope::read(reply)?.who()
}

/// Reads the answer to `logon`: the session id.
///
/// # Errors
/// It is none, or the firmware gives no session.
pub fn session(reply: &[u8]) -> Result<String, BadAnswer> {
    Envelope::read(reply)?.session_id().map(str::to_owned)
}

/// Reads the answer to `config+session`: who it is, and the session it has open.
///
/// # Errors
/// It is none, names no machine or no session.
pub fn who_has(reply: &[u8]) -> Result<(Who, String), BadAnswer> {
    let joined = json::<Joined<'_>>(reply)?;
    let session = part(joined.session)?.session_id()?.to_owned();
    Ok((part(joined.config)?.who()?, session))
}

/// Reads the answer to `config+version`.
///
/// # Errors
/// It is none, or names no machine. A firmware that will not say its version is still who it is.
pub fn who_in_full(reply: &[u8]) -> Result<Identity, BadAnswer> {
    let joined = json::<Joined<'_>>(reply)?;
    let who = part(joined.config)?.who()?;
    let version = part(joined.version).ok().and_then(|part| part.version.0);
    let version = version.unwrap_or_default();
    Ok(Identity {
        id: who.id,
        model: who.model,
        version: clean(version.luxminer.text().unwrap_or("")),
    })
}

/// Reads the answer to `config+summary+power`. Power is left out where the firmware will not say it.
///
/// # Errors
/// It is none, names no machine, or says nothing of what the machine does.
pub fn observation(reply: &[u8]) -> Result<(Who, Observation), BadAnswer> {
    let joined = json::<Joined<'_>>(reply)?;
    let who = part(joined.config)?.who()?;
    let summary = part(joined.summary)?.summary.0;
    let summary = summary.ok_or(BadAnswer::Unreadable("no SUMMARY"))?;
    let hashes = summary.ghs.number().is_some_and(|ghs| ghs > 0.0);
    let power = part(joined.power).ok().and_then(|part| part.power.0);
    let observation = Observation {
        watts: power.and_then(|power| power.watts.watts()),
        mode: match (who.asleep, hashes) {
            (Some(true), _) => Mode::Off,
            (Some(false), true) => Mode::Running,
            (Some(false), false) | (None, _) => Mode::Between,
        },
        uptime_s: summary.elapsed.seconds(),
    };
    Ok((who, observation))
}

/// Reads the answer to `config+profiles`. `None`: it lists no profiles that power could be judged by.
///
/// # Errors
/// It is none, or names no machine.
pub fn who_can(reply: &[u8]) -> Result<(Who, Option<Profiles>), BadAnswer> {
    let joined = json::<Joined<'_>>(reply)?;
    let who = part(joined.config)?.who()?;
    let rows = part(joined.profiles).map(|part| part.profiles.0);
    let rows = rows.unwrap_or_default().into_iter();
    let profiles = rows.filter_map(|row| Profile::new(row.name.text()?, row.watts.watts()?));
    Ok((who, Profiles::new(profiles.collect())))
}

fn part(part: First<Envelope<'_>>) -> Result<Envelope<'_>, BadAnswer> {
    let part = part.0.ok_or(BadAnswer::Unreadable("a part is missing"))?;
    part.successful()
}

/// Reads the answer to a write.
///
/// # Errors
/// It is none, or the firmware says no.
pub fn done(reply: &[u8]) -> Result<(), BadAnswer> {
    Envelope::read(reply).map(drop)
}
