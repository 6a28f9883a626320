//! What can happen in the world of the proxy. Not what comes of it (`world`).

/// What can happen; the numbers are indices of the world's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ev {
    /// A miner's own timers, its next share among them.
    Miner(usize),
    /// A miner opens a connection.
    Connect(usize),
    /// Bytes reach the miner of a connection.
    ToMiner(usize),
    /// Bytes reach a session.
    ToSession(usize),
    /// A session's task runs.
    Session(usize),
    /// A link's task runs.
    Link(usize),
    /// A link's connection attempt ends.
    Connected(usize),
    /// Bytes reach the pool of a connection.
    ToPool(usize),
    /// Bytes reach the link of a connection.
    FromPool(usize),
    /// A pool's own timers.
    Pool(usize),
    /// The router's task runs.
    Router,
    /// The shard's beat.
    Beat,
    /// A fault of the plan.
    Fault(usize),
    /// Something to be looked at, later than what caused it.
    Check(usize),
}
