//! What STRATUM.md section 4 lists for V2 peers, through real sockets: from a miner, and from a pool.
//!
//! The client's cipher is SRI's and its codec the simulation's, never ours, so both can contradict the proxy. Invariant:
//! each row ends or refuses only its own connection or channel.

mod channels;
mod client;
mod handshake;
mod hundred;
mod messages;
mod names;
mod pools;
mod readers;
mod setup;
mod window;
