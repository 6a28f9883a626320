//! Stratum V2: binary frames and their messages, as the specification and its reference implementation (SRI) speak them.

pub mod code;
pub mod frame;
pub mod message;
pub mod tlv;
mod wire;
