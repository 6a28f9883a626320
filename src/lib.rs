//! Sluice: a Stratum mining proxy between ASIC fleets and pools that judges every share itself. **This page is the map.**
//!
//! ```text
//!   miners ──> tasks::session ══ proxy::session ─┐ shares: bounded, may wait 2 s
//!              (one per connection, on shards)   v
//!                   ^  mailbox             tasks::link ══ proxy::link ──> pools
//!                   │                            │
//!                   └── work: latest wins <──────┘          ══ : drives a pure machine
//!                   └── lease: latest wins <── tasks::router ══ proxy::router
//!
//!   api, feeds ──> tasks::curtail ══ curtail::controller ──> ledger, then tasks::reconcile ──> actuators ──> firmware
//!                        ^  └──> tasks::power: sessions watched, work withdrawn                     │
//!                        └───────────── receipts, telemetry, shares <───────────────────────────────┘
//! ```
//!
//! # Layers: who may use whom (`tests/layers.rs` checks it)
//!
//! | module | is | may use |
//! |---|---|---|
//! | [`machine`] | the contract of the pure core | nothing of ours |
//! | [`work`] | what mining is: work, share, target, lanes, duplicate window, vardiff, hashrate | nothing of ours |
//! | [`stratum`] | bytes <-> messages | work |
//! | [`proxy`] | the mining machines: session, link, router | machine, work, stratum |
//! | [`curtail`] | the power machine: signals, limit, plan, proof | machine |
//! | [`actuators`] | firmware families, one file each, behind one trait | curtail |
//! | [`feeds`] | scraped text -> watts: GPUs, meters; pure but for `fetch` | curtail |
//! | [`telemetry`] | counters, the board (read model), logs | work, proxy, curtail (ids and stats, read only) |
//! | [`ledger`] | what must survive a crash: orders, intents, the hash-chained audit | curtail, telemetry |
//! | [`api`] | HTTP: health, metrics, orders, read model | telemetry, curtail, ledger |
//! | [`tasks`] | everything that loops and awaits | all of the above, config |
//! | [`config`] | the file as written, checked and typed | work, stratum (V2 keys), proxy, curtail, actuators, feeds, ledger (each module's own `Config`) |
//! | [`sim`] | simulated pools and miners, from their own small code | nothing of ours, so that it can contradict us |
//! | [`app`], [`cli`] | composition root, verbs | everything |
//!
//! # Glossary
//!
//! session: a miner's connection (down). link: a configured pool connection (up). work: what a link got from its pool.
//! job: work as one miner was given it. share: what a miner sends; verdict: what we make of it. lane: the bytes of the
//! extranonce that are one session's alone. seat: a lane held. lease: the link a session mines for. target: a bound on
//! hashes, never watts. channel: Stratum's, never a queue. signal: what a controller sends; order, reservation: a signal
//! that was taken. limit: watts that mining may draw. setpoint: what one machine shall do. observation: what its firmware
//! says. proven: observed, and not contradicted by shares or meter. committed: all that is not proven off.
//!
//! # Invariants
//!
//! * I1 two live sessions never share search space; a freed lane rests as long as its work may live (asserted).
//! * I2 `pool extranonce1 + pad + lane + extranonce2` has exactly the pool's length.
//! * I3 a share is submitted at most once per pool connection. I4 every share ends in exactly one bucket.
//! * I5 nothing known to be bad is forwarded (block candidates excepted).
//! * I6 `received = accepted + sum(rejected)` and `submitted = accepted + rejected + unknown + in flight`, in integers.
//! * I7 our verdict and the pool's diverging by more than 1 % over 5 minutes is an alarm.
//! * I8 exactly one answer per request with an id, in order.
//! * I9 a clean notify leaves within one turn. I10 a dead pool is noticed (RST at once, frozen within 20 s of the first
//!   unanswered share) and its miners are on the backup within 5 s.
//! * Pure modules name no clock, no socket, no lock and await nothing. Every queue is bounded and its size argued; every
//!   collection a peer can grow has a cap. A refusal to a peer is a value, an error ends one connection, a broken
//!   invariant panics; a panic in a session costs that connection, any other ends the process.

pub mod actuators;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod curtail;
pub mod feeds;
pub mod ledger;
pub mod machine;
pub mod proxy;
pub mod sim;
pub mod stratum;
pub mod tasks;
pub mod telemetry;
pub mod work;
