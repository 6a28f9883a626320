//! Stratum V1: newline-terminated JSON-RPC, as the field really speaks it.

pub mod down;
pub mod hex;
mod json;
pub mod line;
pub mod message;
pub mod up;
mod word;
