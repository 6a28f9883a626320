//! The machines' other half: each mines, from its own address, exactly while and as fast as its device hashes.
//!
//! What a miner says is decided in `sim::miner`. Invariant: a device that does not hash has no pool connection.

use super::{
    Shared,
    address::address,
    config::{SiteConfig, temperament},
    device::Device,
};
use crate::sim::{
    fleet::{Fleet, FleetConfig, FleetHandle},
    miner::MinerConfig,
    v2::MannersV2,
};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often devices are looked at. Ramps take seconds.
const EVERY: Duration = Duration::from_millis(100);
/// A change of hashrate is passed on from this part of the full one.
const STEP: f64 = 0.01;

/// Starts a miner for each device.
pub(super) fn fleet(config: &SiteConfig, pool: SocketAddr, devices: &[Device]) -> FleetHandle {
    Fleet::start(FleetConfig {
        temperaments: devices
            .iter()
            .map(|device| temperament(device.model().family))
            .collect(),
        user: config.user.clone(),
        protocols: config.protocols.clone(),
        manners: MannersV2::ALL.to_vec(),
        authority: config.authority.clone(),
        each: MinerConfig {
            seed: config.seed,
            ..MinerConfig::default()
        },
        // The hashrates bound it already; a pause after each share would cost more than the share.
        cpu_share: 1.0,
        sources: (0..devices.len()).map(address).collect(),
        hashrates: devices
            .iter()
            .map(|device| device.model().hashrate)
            .collect(),
        ..FleetConfig::new(pool, devices.len())
    })
}

/// Keeps miners at what their devices do, until the site ends.
pub(super) async fn follow(site: Arc<Shared>, fleet: FleetHandle) {
    let mut ticks = tokio::time::interval(EVERY);
    let full = |n: usize| site.machine(n).device.model().hashrate;
    let mut told: Vec<Option<f64>> = (0..site.machines.len()).map(|n| Some(full(n))).collect();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = site.end.cancelled() => return,
        }
        let now = Instant::now();
        for (n, told) in told.iter_mut().enumerate() {
            let (hashing, full) = {
                let mut machine = site.machine(n);
                (machine.device.hashing(now), machine.device.model().hashrate)
            };
            let wanted = (hashing > 0.0).then_some(hashing * full);
            if differs(*told, wanted, full) {
                fleet.set_miner(n, wanted);
                *told = wanted;
            }
        }
    }
}

fn differs(told: Option<f64>, wanted: Option<f64>, full: f64) -> bool {
    match (told, wanted) {
        (Some(told), Some(wanted)) => (told - wanted).abs() > STEP * full,
        (told, wanted) => told.is_some() != wanted.is_some(),
    }
}
