//! The control channel over real sockets: the proxy as a process of its own, machines that speak their firmware, a meter,
//! a pool; what is asserted is what the machines do in truth, not what the proxy says of them.
//!
//! `plant` holds what the tests stand on, `desk` sends orders and asks, `eyes` watches the machines. Not the law's corner
//! cases (`tests/power`, in virtual time). Invariant: no fixed port; what takes time is waited for.

mod cap;
mod desk;
mod exit;
mod eyes;
mod kill;
mod large;
mod plant;
mod silence;
