//! What the controller is told and what it says: the words of the driver, the audit and the replay.
//!
//! Not what it makes of them. Invariant: an [`Input`] holds everything that was learned, so a list of them with their times
//! is a whole history.

use crate::curtail::{
    MachineId, Setpoint, Wall, Watts,
    fleet::{Facts, Kind, Observation, Receipt},
    orders::{Digest, Fence, Order},
    reserve::Reservation,
    signal::{Envelope, Refusal},
    view::{OrderStatus, Preview, ReservationStatus},
};
use serde::{Deserialize, Serialize};

/// What happened. Everything the controller ever learns, in a form that the audit keeps and replays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// What the outside calls this moment. Before anything else, and once a second.
    Clock(Wall),
    /// A model under a driver; numbered in order of arrival.
    Kind(Kind),
    /// A machine becomes known (or its facts changed), with what it was told before a restart and for how long, if so.
    Machine {
        /// What it is.
        facts: Facts,
        /// Its setpoint before a restart, and for how many milliseconds it has had it.
        intent: Option<(Setpoint, u64)>,
    },
    /// State of before a restart.
    Restore(Box<Save>),
    /// A signal, authenticated.
    Signal {
        /// Echoed in the answer.
        call: u64,
        /// As sent.
        envelope: Box<Envelope>,
        /// Of the bytes that were signed.
        digest: Digest,
        /// Sent with an operator's rights.
        admin: bool,
        /// Only plan.
        dry_run: bool,
    },
    /// A source is alive.
    Heartbeat {
        /// Echoed in the answer.
        call: u64,
        /// Who.
        source: String,
        /// Shares the fence of orders.
        epoch: u64,
        /// Shares the fence of orders.
        seq: u64,
        /// When it was written.
        issued_at: Wall,
        /// Of the bytes that were signed.
        digest: Digest,
    },
    /// End an order or give a reservation back.
    Release {
        /// Echoed in the answer.
        call: u64,
        /// `o-<n>` or `r-<n>`.
        id: String,
        /// Whose it must be; `None`: anybody's.
        by: Option<String>,
        /// Asked with an operator's rights, who alone may end an emergency stop.
        admin: bool,
    },
    /// Move the end of a lease.
    Renew {
        /// Echoed in the answer.
        call: u64,
        /// `o-<n>` or `r-<n>`.
        id: String,
        /// The new end.
        expires_at: Wall,
        /// Whose it must be; `None`: anybody's.
        by: Option<String>,
    },
    /// What became of a command.
    Receipt {
        /// To whom.
        machine: MachineId,
        /// Which command.
        attempt: u32,
        /// What became of it.
        receipt: Receipt,
    },
    /// What a firmware says.
    Observed {
        /// Which machine.
        machine: MachineId,
        /// What it says.
        seen: Observation,
    },
    /// A machine's pool connection came or went.
    Connected {
        /// Which machine.
        machine: MachineId,
        /// It is there.
        connected: bool,
    },
    /// Shares of a machine that is not meant to run in full, since the last of these.
    Shares {
        /// Which machine.
        machine: MachineId,
        /// How many.
        shares: u32,
        /// How many it would find on average in that time at full power.
        full: f64,
    },
    /// What the shares of all machines since the last of these stand for, by the table's joules per hash.
    Hashed {
        /// On average, at the meter.
        watts: Watts,
        /// From how many shares of the same worth that is known: it is known to one in their root.
        shares: u64,
    },
    /// So many machines mine here of which nobody knows what they draw.
    Strangers(u32),
    /// Something that an operator should look at, seen by the driver.
    Warn(String),
    /// The meter, or that it cannot be believed.
    Meter(Option<Watts>),
    /// GPU telemetry, or that there is none to be believed.
    Gpu(Option<Watts>),
}

/// What shall happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Keep this over a restart.
    Save(Box<Save>),
    /// Answer a call.
    Answer {
        /// Which.
        call: u64,
        /// What.
        answer: Result<Answer, Refusal>,
    },
    /// Tell a machine. An intent: durable before it is sent.
    Command {
        /// Which.
        machine: MachineId,
        /// What it shall do.
        setpoint: Setpoint,
        /// Receipts say it back.
        attempt: u32,
    },
    /// What is known of a machine changed.
    Standing {
        /// Which.
        machine: MachineId,
        /// `proven`, `failed`, `liar`, `fought`.
        is: Proof,
    },
    /// Someone should look.
    Alarm(String),
}

/// What is known of a machine after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It gives what was asked.
    Proven,
    /// It does not, or cannot be told.
    Failed,
    /// It says it does, and does not.
    Liar,
    /// Somebody else commands it too.
    Fought,
}

/// State that must survive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Save {
    /// An order changed.
    Order(Order),
    /// A reservation changed.
    Reservation(Reservation),
    /// A fence moved.
    Fence {
        /// Whose.
        source: String,
        /// Where it is now.
        fence: Fence,
    },
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An order was taken, or had been.
    Order {
        /// As it stands.
        status: Box<OrderStatus>,
        /// It had been taken before.
        repeated: bool,
    },
    /// A reservation was taken, or had been.
    Reservation {
        /// As it stands.
        status: Box<ReservationStatus>,
        /// It had been taken before.
        repeated: bool,
    },
    /// What an order would do.
    Preview(Box<Preview>),
    /// Done.
    Done,
}
