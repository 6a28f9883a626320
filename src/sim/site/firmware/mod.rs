//! The firmware protocols as functions: a request's bytes in, a reply's bytes and its delay out.
//!
//! No sockets, no clock. Written from published descriptions, on its own: it shares nothing with the drivers, so that it
//! can contradict them. Invariant: any bytes are survived, and what is held per machine does not grow with requests.

pub mod bitaxe;
pub mod frame;
pub mod luxos;
pub mod whatsminer;

use super::{
    device::{Answer, Device, Identity},
    faults::Fault,
    model::Family,
};
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// Longest request, bytes.
pub const REQUEST_CAP: usize = 64 * 1024;

/// What comes back for one request.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// Bytes to write, framed; `None`: nothing, ever.
    pub bytes: Option<Vec<u8>>,
    /// After so long.
    pub delay: Duration,
    /// Whether the request was an order to change power (session handling is not).
    pub order: bool,
    /// HTTP status where there is one, else 0.
    pub status: u16,
}

/// When a request was received: on the simulator's clock and on the machine's.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Monotonic.
    pub at: Instant,
    /// Seconds since 1970.
    pub unix_s: u64,
}

/// A device and what its firmware remembers between requests.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The machine itself.
    pub device: Device,
    /// Where it lives.
    pub address: Ipv4Addr,
    /// Clients that are connected to its firmware.
    pub clients: usize,
    /// Password of its write calls, where there is one.
    pub password: String,
    luxos: luxos::Memory,
}

impl Machine {
    /// A machine as it comes up.
    pub fn new(device: Device, address: Ipv4Addr, password: &str) -> Self {
        Self {
            device,
            address,
            clients: 0,
            password: password.to_owned(),
            luxos: luxos::Memory::default(),
        }
    }

    /// Whether one more client gets in. It leaves by [`Machine::leave`].
    pub fn admit(&mut self, now: Instant) -> bool {
        let exhausted = self.device.fault() == Some(Fault::Exhausted);
        let room = match self.device.model().family {
            Family::Luxos => self.clients < luxos::CLIENTS,
            Family::Whatsminer => !exhausted && self.clients < whatsminer::CLIENTS,
            Family::Bitaxe => !exhausted && self.clients < bitaxe::CLIENTS,
        };
        let admitted = room && self.device.reachable(now);
        self.clients += usize::from(admitted);
        admitted
    }

    /// A client has gone.
    pub fn leave(&mut self) {
        self.clients -= 1;
    }
}

/// `02:1a:...`, upper or lower case as the family writes it.
fn mac(identity: &Identity, upper: bool) -> String {
    let bytes = identity.mac.iter().map(|byte| match upper {
        true => format!("{byte:02X}"),
        false => format!("{byte:02x}"),
    });
    bytes.collect::<Vec<_>>().join(":")
}

/// Where the family's own words for the three spoken answers are chosen: `None` for silence.
fn spoken<T>(answer: Answer, ok: T, error: T, not_ready: T) -> Option<T> {
    match answer {
        Answer::Ok => Some(ok),
        Answer::Error => Some(error),
        Answer::NotReady => Some(not_ready),
        Answer::Silence => None,
    }
}

#[cfg(test)]
mod tests;
