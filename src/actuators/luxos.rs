//! LuxOS: cgminer-style JSON over TCP 4028 (docs.luxor.tech, "API"). Sleep, wake up, trim by profiles.
//!
//! | step | request | answer |
//! |---|---|---|
//! | read | `config+summary+power` | each command's own answer under its name, in an array |
//! | who | `config` | `CONFIG[0].MACAddr`, `.SerialNumber`, `.CurtailMode` |
//! | how | `config+profiles` | `CONFIG[0].Profile`, `.IsAtmEnabled`; `PROFILES[..]."Profile Name"`, `.Watts` |
//! | session | `logon` | `SESSION[0].SessionID`; error 402 while another lives |
//! | write | `curtail` "SID,sleep" or "SID,wakeup" | `STATUS[0].STATUS` = "S" |
//! | trim | `profileset` "SID,NAME" | the same |
//! | done | `logoff` "SID" | whatever: a session dies after a minute by itself |
//!
//! Some versions close the connection after each answer. Then the session id is what binds a write to a machine: it is
//! used only after the machine with the right MAC address has named it as its own, in one answer (`config+session`), and
//! any other machine refuses it (403).
//!
//! A percentage is of what the machine's own default profile is published to draw, and becomes the largest profile within
//! it ([`Profiles::at_most`]), chosen anew from the list each time: a machine with other boards has other profiles. Run is
//! the default profile. Where ATM is on, profiles are ATM's: none is set, and what it chose is no trim of ours. Without
//! `profiles` in the config none is read, set or shown.
//!
//! Not tuning, fast wakes or `powertargetset`. Invariant: [`Write`] is every write this driver can send.

mod answers;
mod profiles;

pub use answers::{Who, done, observation, session, who, who_can, who_has, who_in_full};
pub use profiles::{Profile, Profiles};

use super::{
    Actuator, Call, Config, Device, Failure, Identity, PATIENCE,
    policy::Policy,
    reply::{BadAnswer, Objects},
    wire::{Broken, Wire},
};
use crate::curtail::{
    Setpoint,
    fleet::{Capability, Mode, Observation, Off, Trim},
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::Instant;

/// In the config, in logs and metrics.
pub const NAME: &str = "luxos";
/// Where it listens.
const PORT: u16 = 4028;
/// "Another session is active" (luxos-tooling, `asyncops.py`).
const SESSION_ACTIVE: i64 = 402;

const CONFIG: &[u8] = br#"{"command":"config"}"#;
const CONFIG_AND_PROFILES: &[u8] = br#"{"command":"config+profiles"}"#;
const CONFIG_AND_SESSION: &[u8] = br#"{"command":"config+session"}"#;
const CONFIG_AND_VERSION: &[u8] = br#"{"command":"config+version"}"#;
const CONFIG_AND_POWER: &[u8] = br#"{"command":"config+summary+power"}"#;

/// Makes the driver.
pub(super) fn open(config: &Config) -> Arc<dyn Actuator> {
    Arc::new(Luxos::new(config))
}

/// Everything that this driver can change on a machine; the first text is a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Takes the one session.
    Logon,
    /// Boards and power supply off.
    Sleep(&'a str),
    /// On again, at the pace of a boot.
    Wakeup(&'a str),
    /// Another profile, ramped to as after a boot; the second text is its name.
    Profile(&'a str, &'a str),
    /// Gives the session back.
    Logoff(&'a str),
}

impl Write<'_> {
    /// The request. Session ids come from [`session`] and names from [`Profiles`], which let none through that would need
    /// escaping.
    pub fn request(&self) -> Vec<u8> {
        let (command, session, action) = match self {
            Self::Logon => return br#"{"command":"logon"}"#.to_vec(),
            Self::Sleep(session) => ("curtail", session, ",sleep"),
            Self::Wakeup(session) => ("curtail", session, ",wakeup"),
            Self::Profile(session, name) => ("profileset", session, &*format!(",{name}")),
            Self::Logoff(session) => ("logoff", session, ""),
        };
        format!(r#"{{"command":"{command}","parameter":"{session}{action}"}}"#).into_bytes()
    }
}

/// What a setpoint asks for, before there is a session.
#[derive(Debug)]
enum Change {
    Sleep,
    Wakeup,
    Profile(String),
}

impl Change {
    fn with<'a>(&'a self, session: &'a str) -> Write<'a> {
        match self {
            Self::Sleep => Write::Sleep(session),
            Self::Wakeup => Write::Wakeup(session),
            Self::Profile(name) => Write::Profile(session, name),
        }
    }
}

/// The driver.
#[derive(Debug)]
struct Luxos {
    policy: Policy,
    port: u16,
    /// Whether profiles are its business.
    profiles: bool,
    patience: Duration,
}

impl Luxos {
    fn new(config: &Config) -> Self {
        Self {
            policy: Policy::new(config),
            port: config.ports.get(NAME).copied().unwrap_or(PORT),
            profiles: config.profiles,
            patience: PATIENCE,
        }
    }

    async fn open(&self, address: IpAddr, deadline: Instant) -> Result<Wire, Failure> {
        Wire::open(&self.policy, address, self.port, deadline).await
    }

    /// One read on a connection of its own.
    async fn read<T>(
        &self,
        address: IpAddr,
        request: &[u8],
        read: Reader<T>,
    ) -> Result<T, Failure> {
        let mut wire = self.open(address, Instant::now() + self.patience).await?;
        let answer = ask(&mut wire, request, read).await;
        answer.map_err(Broken::before_write)
    }

    async fn observe(&self, device: &Device) -> Result<Observation, Failure> {
        let deadline = Instant::now() + self.patience;
        let mut wire = self.open(device.address, deadline).await?;
        let answer = ask(&mut wire, CONFIG_AND_POWER, observation).await;
        let (who, seen) = answer.map_err(Broken::before_write)?;
        device.check(&who.id)?;
        if !self.profiles || seen.mode != Mode::Running || !is_trimmed(&who) {
            return Ok(seen);
        }
        let mut answer = ask(&mut wire, CONFIG_AND_PROFILES, who_can).await;
        if answer == Err(Broken::Closed) {
            wire = self.open(device.address, deadline).await?;
            answer = ask(&mut wire, CONFIG_AND_PROFILES, who_can).await;
        }
        let (who, profiles) = answer.map_err(Broken::before_write)?;
        device.check(&who.id)?;
        let mode = trim(&who, profiles.as_ref(), &seen);
        Ok(Observation { mode, ..seen })
    }

    async fn apply(&self, device: &Device, setpoint: Setpoint) -> Result<(), Failure> {
        match setpoint {
            Setpoint::Off | Setpoint::Run => {}
            Setpoint::Percent(1..=99) if self.profiles => {}
            Setpoint::Percent(_) | Setpoint::Withdrawn => {
                let why = "LuxOS sleeps, runs or, with `profiles`, runs at 1 to 99 percent";
                return Err(Failure::Unsupported(why.to_owned()));
            }
        }
        // Giving the session back has its own share of the time: a write that is never answered must not leave the
        // machine closed to everyone for a minute.
        let end = Instant::now() + self.patience;
        let deadline = end - self.patience / 10;
        let mut wire = self.open(device.address, deadline).await?;
        let changes = self.changes(device, setpoint, &mut wire).await?;
        let logon = Write::Logon.request();
        let (id, closes) = match ask(&mut wire, &logon, session).await {
            Err(Broken::Closed) => {
                wire = self.open(device.address, deadline).await?;
                (ask(&mut wire, &logon, session).await, true)
            }
            id => (id, false),
        };
        let id = id.map_err(no_session)?;
        let mut outcome = Ok(());
        for change in &changes {
            if outcome.is_ok() && closes {
                outcome = self.prove(device, &id, &mut wire).await;
            }
            if outcome.is_ok() {
                let answer = ask(&mut wire, &change.with(&id).request(), done).await;
                outcome = answer.map_err(refused);
            }
        }
        wire.until(end);
        self.give_back(device.address, &id, wire).await;
        outcome
    }

    /// What takes the machine to `setpoint`, once it has said who it is.
    async fn changes(
        &self,
        device: &Device,
        setpoint: Setpoint,
        wire: &mut Wire,
    ) -> Result<Vec<Change>, Failure> {
        if !self.profiles || setpoint == Setpoint::Off {
            let found = ask(wire, CONFIG, who).await;
            device.check(&found.map_err(Broken::before_write)?.id)?;
            return Ok(vec![match setpoint {
                Setpoint::Off => Change::Sleep,
                _ => Change::Wakeup,
            }]);
        }
        let found = ask(wire, CONFIG_AND_PROFILES, who_can).await;
        let (who, profiles) = found.map_err(Broken::before_write)?;
        device.check(&who.id)?;
        match setpoint {
            Setpoint::Percent(percent) => Ok(vec![trimmed(&who, profiles.as_ref(), percent)?]),
            _ => Ok(full(&who, profiles.as_ref())),
        }
    }

    /// That the machine which must be written to holds session `id`, where connections close after each answer. `wire`
    /// is a fresh one afterwards.
    async fn prove(&self, device: &Device, id: &str, wire: &mut Wire) -> Result<(), Failure> {
        *wire = self.open(device.address, wire.deadline()).await?;
        let holder = ask(wire, CONFIG_AND_SESSION, who_has).await;
        let (who, holds) = holder.map_err(Broken::before_write)?;
        device.check(&who.id)?;
        if holds != id {
            return Err(busy("another client took the session"));
        }
        *wire = self.open(device.address, wire.deadline()).await?;
        Ok(())
    }

    /// Whatever comes of it: a session that is not given back dies by itself after a minute.
    async fn give_back(&self, address: IpAddr, id: &str, mut wire: Wire) {
        let logoff = Write::Logoff(id).request();
        if ask(&mut wire, &logoff, done).await != Err(Broken::Closed) {
            return;
        }
        if let Ok(mut wire) = self.open(address, wire.deadline()).await {
            let _ = ask(&mut wire, &logoff, done).await;
        }
    }
}

/// What takes a machine to `percent` of its full power.
fn trimmed(who: &Who, profiles: Option<&Profiles>, percent: u8) -> Result<Change, Failure> {
    let refused = |why: &str| Err(Failure::Refused(why.to_owned()));
    if who.asleep != Some(false) {
        return Err(busy("asleep: wake it first"));
    }
    if who.atm {
        return refused("its ATM is on and chooses the profile itself");
    }
    let Some(profiles) = profiles else {
        return refused("it lists no profiles, or no default one");
    };
    match profiles.at_most(percent) {
        Some(profile) => Ok(Change::Profile(profile.name.clone())),
        None => refused(&format!("no profile draws {percent} percent or less")),
    }
}

/// What takes a machine to its full power: from sleep, from a profile, from both.
fn full(who: &Who, profiles: Option<&Profiles>) -> Vec<Change> {
    let profiles = profiles.filter(|_| is_trimmed(who));
    let default = profiles.map(|profiles| Change::Profile(profiles.default_name().to_owned()));
    // What was read may be a second old, but nobody who was just put off is raised so soon: awake is awake.
    match default {
        Some(default) if who.asleep == Some(false) => vec![default],
        default => std::iter::once(Change::Wakeup).chain(default).collect(),
    }
}

/// Whether the profile in force may be one that we set.
fn is_trimmed(who: &Who) -> bool {
    !who.atm && !who.profile.is_empty() && !profiles::is_default(&who.profile)
}

/// What a machine that hashes does, by its profile. One that does not say its watts is believed no trim: the name of the
/// profile changes at once, its power half a minute later.
fn trim(who: &Who, profiles: Option<&Profiles>, seen: &Observation) -> Mode {
    let Some(profiles) = profiles.filter(|_| is_trimmed(who)) else {
        return seen.mode;
    };
    match (profiles.percent(&who.profile), seen.watts) {
        (Some(100..), _) => Mode::Running,
        (Some(percent), Some(_)) => Mode::Trimmed(percent),
        (Some(_), None) | (None, _) => Mode::Between,
    }
}

/// Reads an answer's bytes.
type Reader<T> = fn(&[u8]) -> Result<T, BadAnswer>;

async fn ask<T>(wire: &mut Wire, request: &[u8], read: Reader<T>) -> Result<T, Broken> {
    let mut objects = Objects::default();
    let answer = wire.ask(request, |stream| objects.end(stream)).await?;
    Ok(read(answer)?)
}

fn busy(why: &str) -> Failure {
    Failure::Busy(why.to_owned())
}

/// Without a session nothing was written.
fn no_session(broken: Broken) -> Failure {
    match broken {
        Broken::Unreadable(BadAnswer::No {
            code: SESSION_ACTIVE,
            words,
        }) => Failure::Busy(words),
        broken => broken.before_write(),
    }
}

/// After a write only a clear no is known to be one, and even that may not be true.
fn refused(broken: Broken) -> Failure {
    match broken {
        Broken::Unreadable(no @ BadAnswer::No { .. }) => Failure::Refused(no.to_string()),
        broken => broken.after_write(),
    }
}

impl Actuator for Luxos {
    fn family(&self) -> &'static str {
        NAME
    }

    fn capability(&self) -> Capability {
        // CURTAILMENT.md section 2: 25 W in less than 5 s, full in less than 10 s; sleep survives a reboot, a profile too
        // (unless the operator turned `autosave` off). A profile is ramped to, tier 3: half a minute [d]. The lowest of
        // the sixteen steps down draws about a third of the default (S19j Pro: 997 of 3126 W); half is left to hold.
        let trim = Trim {
            floor_percent: 50,
            settles: Duration::from_secs(30),
            persists: true,
        };
        Capability {
            trim: self.profiles.then_some(trim),
            off: Some(Off {
                down: Duration::from_secs(5),
                up: Duration::from_secs(10),
                persists: true,
            }),
        }
    }

    fn identify(&self, address: IpAddr) -> Call<'_, Identity> {
        Box::pin(self.read(address, CONFIG_AND_VERSION, who_in_full))
    }

    fn observe<'a>(&'a self, device: &'a Device) -> Call<'a, Observation> {
        Box::pin(self.observe(device))
    }

    fn apply<'a>(&'a self, device: &'a Device, setpoint: Setpoint) -> Call<'a, ()> {
        Box::pin(self.apply(device, setpoint))
    }
}

#[cfg(test)]
mod tests;
