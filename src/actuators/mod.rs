//! One firmware family per file behind [`Actuator`]: say who you are, do this, what are you doing.
//!
//! Not retries, schedules or decisions: no loop here, one call is one conversation. Invariant: a write is sent only after
//! the machine's identity was read and matched *in the same connection*.
//!
//! ```text
//!  luxos ─ whatsminer ─ bitaxe   a family: what is sent, what an answer means (pure), the conversation
//!        \      │      /
//!     policy   wire   reply      may this address be spoken to; bounded sockets; bounded reading (pure)
//! ```
//!
//! A new family is a file with `NAME`, `open(&Config)` and an [`Actuator`], and its line in `DRIVERS`.

pub mod bitaxe;
pub mod luxos;
mod policy;
pub mod reply;
#[cfg(test)]
mod testing;
pub mod whatsminer;
mod wire;

use crate::curtail::{
    Setpoint,
    fleet::{Capability, Observation},
};
use std::{
    collections::BTreeMap, fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration,
};

/// Makes the driver of a family.
type Open = fn(&Config) -> Arc<dyn Actuator>;

/// Every family, one line each.
const DRIVERS: [(&str, Open); 3] = [
    (luxos::NAME, luxos::open),
    (whatsminer::NAME, whatsminer::open),
    (bitaxe::NAME, bitaxe::open),
];

/// The names of all families, as the config writes them.
pub const FAMILIES: &[&str] = &{
    let mut names = [""; DRIVERS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = DRIVERS[index].0;
        index += 1;
    }
    names
};

/// One whole call, identity check included, takes no longer than this.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Longest reply of a device, bytes.
pub const LONGEST_REPLY: usize = 256 * 1024;

/// What a call returns.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What the drivers are told. Keys are names of families; what is absent is the vendor's own default.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// TCP ports.
    pub ports: BTreeMap<String, u16>,
    /// Who writes, where a family asks for it. Without one its machines are read and never written to.
    pub accounts: BTreeMap<String, Account>,
    /// LuxOS: trim by profiles. An operator's own profile then ends with the first trim: full power is the default one.
    pub profiles: bool,
    /// Machines are simulated on loopback: 127.0.0.0/8 may be spoken to, if it is allowed.
    pub simulation: bool,
    /// Address ranges, as an address and the length of its prefix. Nothing else is ever connected to.
    pub allowed: Vec<(IpAddr, u8)>,
}

/// A name and a password.
#[derive(Clone, Debug)]
pub struct Account {
    /// As the firmware knows it.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The driver of a family; `None`: there is no such family.
pub fn family(name: &str, config: &Config) -> Option<Arc<dyn Actuator>> {
    let (_, open) = DRIVERS.iter().find(|(known, _)| *known == name)?;
    Some(open(config))
}

/// A firmware family. Each call opens what it needs and closes it; whoever calls bounds how many run at once.
pub trait Actuator: Send + Sync + std::fmt::Debug {
    /// Its name in the config, in logs and in metrics.
    fn family(&self) -> &'static str;
    /// What it can do and how fast, as published by the vendor.
    fn capability(&self) -> Capability;
    /// Who answers at `address`.
    fn identify(&self, address: IpAddr) -> Call<'_, Identity>;
    /// What the machine is doing. Checks identity first.
    fn observe<'a>(&'a self, device: &'a Device) -> Call<'a, Observation>;
    /// Commands `setpoint`. Returns once the device has acknowledged: that is not yet a drop.
    fn apply<'a>(&'a self, device: &'a Device, setpoint: Setpoint) -> Call<'a, ()>;
}

/// A machine to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where its firmware answers.
    pub address: IpAddr,
    /// Who it must be.
    pub identity: String,
}

impl Device {
    /// Whether who answers is who it must be.
    fn check(&self, found: &str) -> Result<(), Failure> {
        match found == self.identity {
            true => Ok(()),
            false => Err(Failure::WrongIdentity {
                found: found.to_owned(),
            }),
        }
    }
}

/// Who answers at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// MAC address in lower case with colons; where the firmware has none, `serial:` and its serial number.
    pub id: String,
    /// Model as the firmware says it, cleaned to printable ASCII, at most 64 bytes.
    pub model: String,
    /// Firmware version, cleaned likewise.
    pub version: String,
}

/// Why a call failed, and whether it may have been applied all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The address is not one that the config allows to be written to.
    #[error("{0} is outside of the address ranges of its group")]
    NotAllowed(IpAddr),
    /// No connection: nothing was written.
    #[error("cannot be reached ({0})")]
    Unreachable(String),
    /// Somebody else answers: nothing was written.
    #[error("another machine answers: {found}")]
    WrongIdentity {
        /// Who answers.
        found: String,
    },
    /// The firmware has no session or no client slot free: nothing was written.
    #[error("firmware is busy with other clients ({0})")]
    Busy(String),
    /// The device said no, or what it says of itself does. Firmware has said no and done it.
    #[error("refused: {0}")]
    Refused(String),
    /// The driver or this machine's firmware version cannot do this: nothing was written.
    #[error("cannot do this: {0}")]
    Unsupported(String),
    /// The write was sent and no readable answer came: unknown whether it was applied.
    #[error("no readable answer ({0}); it may have been applied")]
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_name_and_nothing_else_is() {
        assert_eq!(FAMILIES, ["luxos", "whatsminer", "bitaxe"]);
        for name in FAMILIES {
            let driver = family(name, &Config::default()).unwrap();
            assert_eq!(driver.family(), *name);
            assert!(driver.capability().off.is_some());
        }
        assert!(family("LuxOS", &Config::default()).is_none());
        assert!(family("", &Config::default()).is_none());
    }

    #[tokio::test]
    async fn a_driver_that_was_told_no_ranges_connects_nowhere() {
        let address = "10.0.0.5".parse().unwrap();
        for name in FAMILIES {
            let driver = family(name, &Config::default()).unwrap();
            let outcome = driver.identify(address).await;
            assert_eq!(outcome, Err(Failure::NotAllowed(address)), "{name}");
        }
    }
}
