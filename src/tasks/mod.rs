//! Everything that loops and awaits, one file per kind of task. What it decides is decided by the machines.

pub mod admin;
