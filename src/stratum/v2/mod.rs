//! Stratum V2's bytes: what secures a connection, and what is said on it. Pure.

pub mod noise;
