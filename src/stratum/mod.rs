//! Bytes to messages and back. Pure; V1 and V2 never import each other.

pub mod label;
pub mod v1;
pub mod v2;
