//! Sluice: a Stratum mining proxy that judges every share itself.
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod machine;
pub mod proxy;
pub mod sim;
pub mod stratum;
pub mod tasks;
pub mod telemetry;
pub mod work;
