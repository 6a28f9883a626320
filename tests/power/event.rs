//! What can happen in the world of the controller. Not what comes of it (`world`, `driver`, `senses`).

/// What can happen. Machines by number; the last field is the life of the controller that wanted it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ev {
    /// What comes every second: the wall clock, shares, connections, the meter, GPU telemetry, heartbeats.
    Second,
    /// The process comes up again.
    Restart,
    /// The controller's own timer.
    Turn(u32),
    /// A command reaches its machine.
    Deliver(u32, u32),
    /// What became of it reaches the driver.
    Reply(u32, u32),
    /// A machine is read.
    Read(u32, u32),
    /// What it said reaches the driver.
    Seen(u32, u32),
    /// A machine is read because it is its turn.
    Poll(u32, u32),
}
