//! LuxOS: cgminer-style JSON over TCP 4028 (docs.luxor.tech, "API"). Sleep and wake up; no trim.
//!
//! | step | request | answer |
//! |---|---|---|
//! | read | `config+summary+power` | each command's own answer under its name, in an array |
//! | who | `config` | `CONFIG[0].MACAddr`, `.SerialNumber`, `.CurtailMode` |
//! | session | `logon` | `SESSION[0].SessionID`; error 402 while another lives |
//! | write | `curtail` "SID,sleep" or "SID,wakeup" | `STATUS[0].STATUS` = "S" |
//! | done | `logoff` "SID" | whatever: a session dies after a minute by itself |
//!
//! Some versions close the connection after each answer. Then the session id is what binds a write to a machine: it is
//! used only after the machine with the right MAC address has named it as its own, in one answer (`config+session`), and
//! any other machine refuses it (403).
//!
//! Not profiles: they retune, and are refused while ATM is on. Invariant: [`Write`] is every write this driver can send.

mod answers;

pub use answers::{Who, done, observation, session, who, who_has, who_in_full};

use super::{
    Actuator, Call, Config, Device, Failure, Identity, PATIENCE,
    policy::Policy,
    reply::{BadAnswer, Objects},
    wire::{Broken, Wire},
};
use crate::curtail::{
    Setpoint,
    fleet::{Capability, Observation, Off},
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
const CONFIG_AND_SESSION: &[u8] = br#"{"command":"config+session"}"#;
const CONFIG_AND_VERSION: &[u8] = br#"{"command":"config+version"}"#;
const CONFIG_AND_POWER: &[u8] = br#"{"command":"config+summary+power"}"#;

/// Makes the driver.
pub(super) fn open(config: &Config) -> Arc<dyn Actuator> {
    Arc::new(Luxos::new(config))
}

/// Everything that this driver can change on a machine; the text is a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Takes the one session.
    Logon,
    /// Boards and power supply off.
    Sleep(&'a str),
    /// On again, at the pace of a boot.
    Wakeup(&'a str),
    /// Gives the session back.
    Logoff(&'a str),
}

impl Write<'_> {
    /// The request. Session ids come from [`session`], which lets none through that would need escaping.
    pub fn request(&self) -> Vec<u8> {
        let (command, session, action) = match self {
            Self::Logon => return br#"{"command":"logon"}"#.to_vec(),
            Self::Sleep(session) => ("curtail", session, ",sleep"),
            Self::Wakeup(session) => ("curtail", session, ",wakeup"),
            Self::Logoff(session) => ("logoff", session, ""),
        };
        format!(r#"{{"command":"{command}","parameter":"{session}{action}"}}"#).into_bytes()
    }
}

/// The driver.
#[derive(Debug)]
struct Luxos {
    policy: Policy,
    port: u16,
    patience: Duration,
}

impl Luxos {
    fn new(config: &Config) -> Self {
        Self {
            policy: Policy::new(config),
            port: config.ports.get(NAME).copied().unwrap_or(PORT),
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

    async fn apply(&self, device: &Device, setpoint: Setpoint) -> Result<(), Failure> {
        let write = match setpoint {
            Setpoint::Off => Write::Sleep,
            Setpoint::Run => Write::Wakeup,
            Setpoint::Percent(_) | Setpoint::Withdrawn => {
                return Err(Failure::Unsupported("LuxOS sleeps or runs".to_owned()));
            }
        };
        // Giving the session back has its own share of the time: a write that is never answered must not leave the
        // machine closed to everyone for a minute.
        let end = Instant::now() + self.patience;
        let deadline = end - self.patience / 10;
        let mut wire = self.open(device.address, deadline).await?;
        let found = ask(&mut wire, CONFIG, who).await;
        device.check(&found.map_err(Broken::before_write)?.id)?;
        let logon = Write::Logon.request();
        let (id, closes) = match ask(&mut wire, &logon, session).await {
            Err(Broken::Closed) => {
                wire = self.open(device.address, deadline).await?;
                (ask(&mut wire, &logon, session).await, true)
            }
            id => (id, false),
        };
        let id = id.map_err(no_session)?;
        let proven = match closes {
            true => self.prove(device, &id, &mut wire).await,
            false => Ok(()),
        };
        let outcome = match proven {
            Ok(()) => ask(&mut wire, &write(&id).request(), done)
                .await
                .map_err(refused),
            unproven => unproven,
        };
        wire.until(end);
        self.give_back(device.address, &id, wire).await;
        outcome
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
        // CURTAILMENT.md section 2: 25 W in less than 5 s, full in less than 10 s; sleep survives a reboot.
        Capability {
            trim: None,
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
        Box::pin(async {
            let read = self.read(device.address, CONFIG_AND_POWER, observation);
            let (who, observation) = read.await?;
            device.check(&who.id)?;
            Ok(observation)
        })
    }

    fn apply<'a>(&'a self, device: &'a Device, setpoint: Setpoint) -> Call<'a, ()> {
        Box::pin(self.apply(device, setpoint))
    }
}

#[cfg(test)]
mod tests;
