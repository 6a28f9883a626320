//! The drivers over loopback.

use super::*;

#[tokio::test]
async fn a_mixed_fleet_mines_over_noise_and_every_counter_is_conserved() {
    let pool = start(easy());
    let fleet = fleet(&pool, 8);
    let mined = |s: &super::super::super::stats::MinerStats| s.mining == 8 && s.accepted > 200;
    fleet.wait_for(SOON, mined).await.unwrap();
    pool.new_block();
    pool.new_job();
    pool.with(|core, now| core.set_difficulty(now, 2.0 * EASY));
    pool.new_block();
    fleet.wait_for(SOON, |s| s.accepted > 400).await.unwrap();
    let miners = fleet.finish(SOON).await;
    let stats = pool.stats();
    assert_eq!(miners.violations_total(), 0, "{miners:?}");
    assert_eq!(miners.unanswered, 0, "{miners:?}");
    assert_eq!(miners.submitted, stats.pool.received);
    assert_eq!(miners.accepted, stats.pool.accepted);
    assert_eq!(miners.accepted_hashes, stats.pool.accepted_hashes);
    assert_eq!(
        stats.pool.received,
        stats.pool.accepted + stats.pool.rejected_total()
    );
    // Only a new block makes a good share bad.
    assert_eq!(
        stats.pool.rejected_total(),
        stats.pool.rejected_for(Reason::Stale)
    );
    assert_eq!(stats.channels_total, 3 + 3 + 2 * 4);
    assert_eq!(stats.extended_total, 3 + 2 * 2);
    pool.stop().await;
}

#[tokio::test]
async fn a_fleet_comes_back_after_a_kill_a_reconnect_message_and_a_drop() {
    let pool = start(easy());
    let fleet = fleet(&pool, 3);
    fleet.wait_for(SOON, |s| s.accepted > 20).await.unwrap();
    pool.kill().await;
    fleet.wait_for(SOON, |s| s.mining == 0).await.unwrap();
    pool.resume().unwrap();
    fleet.wait_for(SOON, |s| s.mining == 3).await.unwrap();
    pool.with(|core, now| core.reconnect(now, "", 0));
    fleet.wait_for(SOON, |s| s.disconnects == 6).await.unwrap();
    fleet.wait_for(SOON, |s| s.mining == 3).await.unwrap();
    fleet.drop_all();
    fleet.wait_for(SOON, |s| s.connects == 12).await.unwrap();
    let before = fleet.stats().accepted;
    let on = |s: &super::super::super::stats::MinerStats| s.mining == 3 && s.accepted > before + 20;
    fleet.wait_for(SOON, on).await.unwrap();
    let miners = fleet.finish(SOON).await;
    let noticed: Vec<_> = miners.violations.keys().copied().collect();
    assert_eq!(noticed, [Violation::HungUp]);
    pool.stop().await;
}

#[tokio::test]
async fn a_fleet_is_sent_to_another_pool_of_the_same_authority() {
    let (pool, other) = (start(easy()), start(easy()));
    let fleet = fleet(&pool, 3);
    fleet.wait_for(SOON, |s| s.mining == 3).await.unwrap();
    let port = other.address().port();
    pool.with(|core, now| core.reconnect(now, "127.0.0.1", port));
    other
        .wait_for(SOON, |s| s.pool.accepted > 20)
        .await
        .unwrap();
    assert_eq!(fleet.finish(SOON).await.violations_total(), 0);
}

#[tokio::test]
async fn a_pool_of_another_authority_gets_no_miner() {
    let pool = start(easy());
    let stranger = start(PoolConfigV2 { seed: 9, ..easy() });
    let fleet = Fleet::start(FleetConfig {
        authority: Some(stranger.authority()),
        ..config(&pool, 2)
    });
    let handshake = Violation::V2(Breach::Handshake);
    let refused =
        |s: &super::super::super::stats::MinerStats| s.violations.contains_key(&handshake);
    fleet.wait_for(SOON, refused).await.unwrap();
    assert_eq!(fleet.stats().connects, 0);
    assert!(pool.url().ends_with(&pool.authority()));
}
