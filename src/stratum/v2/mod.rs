//! Stratum V2: what secures a connection, and the binary frames and messages on it, as the specification and its reference
//! implementation (SRI) speak them. Pure.

pub mod code;
pub mod frame;
pub mod message;
pub mod noise;
pub mod tlv;
mod wire;
