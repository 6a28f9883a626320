//! Bytes to messages and back. Pure; V1 and (later) V2 never import each other.

pub mod v1;
