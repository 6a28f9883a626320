//! The board under test, and the observations that other tests feed it.

use super::*;
use crate::proxy::link::SettleResult;
use crate::proxy::tally::Reject;
use std::time::Duration;

/// Two listeners, two pools.
pub(crate) fn board(now: Instant) -> Board {
    let card = |name: &str, tier| PoolCard {
        name: name.to_owned(),
        url: format!("stratum+tcp://{name}.example.com:3333"),
        user: "account.{worker}".to_owned(),
        tier,
        share: 1.0,
        plaintext: true,
    };
    Board::new(
        now,
        vec!["main".to_owned(), "lab".to_owned()],
        vec![card("first", 0), card("second", 1)],
    )
}

pub(crate) fn connect(board: &Board, id: u64, listener: u16, now: Instant) {
    let peer = SocketAddr::from(([10, 0, 0, 1], 40_000));
    board.connected(SessionId(id), ListenerId(listener), peer, now);
}

/// `accepted` shares accepted and `stale` refused as stale, each of difficulty 1.
pub(crate) fn observation(id: u64, worker: &str, accepted: u64, stale: u64) -> Observation {
    let mut judged = Judged::default();
    for share in 0..accepted + stale {
        judged.received.add(1 << 32);
        if share < accepted {
            judged.accepted.add(1 << 32);
        } else {
            judged.rejected[Reject::Stale as usize].add(1 << 32);
        }
    }
    Observation {
        session: SessionId(id),
        worker: worker.into(),
        judged,
        link: None,
        difficulty: Difficulty::ONE,
    }
}

pub(crate) fn up() -> Status {
    Status {
        up: true,
        extranonce2_size: Some(8),
        version_mask: Some(0x1fff_e000),
        difficulty: Some(Difficulty::ONE),
        suspect: false,
        excluded: false,
        epoch: 1,
    }
}

pub(crate) fn settlement(worker: &str, result: SettleResult) -> Settlement {
    Settlement {
        worker: worker.into(),
        hashes: 1 << 32,
        result,
        latency: Some(Duration::from_millis(20)),
        block: false,
    }
}

#[test]
fn totals_outlive_the_sessions_they_came_from() {
    let now = Instant::now();
    let board = board(now);
    connect(&board, 1, 0, now);
    board.observe(&observation(1, "rig1", 5, 2), now);
    board.closed(SessionId(1), Close::Peer, now);
    let listeners = board.listeners(now);
    assert_eq!(board.miner_count(), 0);
    assert_eq!(listeners[0].connections, 0);
    assert_eq!(listeners[0].accepted.shares, 5);
    assert_eq!(listeners[0].reasons["stale"], 2);
    assert_eq!(listeners[0].closed["peer"], 1);
    assert_eq!(listeners[1].received.shares, 0);
    assert!(board.conserves() && board.balances());
}

#[test]
fn an_observation_after_the_close_is_still_counted() {
    let now = Instant::now();
    let board = board(now);
    connect(&board, 1, 0, now);
    board.closed(SessionId(1), Close::Peer, now);
    board.observe(&observation(1, "rig1", 3, 0), now);
    assert_eq!(board.workers(now)[0].accepted.shares, 3);
    assert!(board.conserves() && board.balances());
}

#[test]
fn an_account_that_does_not_add_up_is_noticed() {
    let now = Instant::now();
    let board = board(now);
    connect(&board, 1, 0, now);
    let mut bad = observation(1, "rig1", 3, 0);
    bad.judged.received.shares += 1;
    board.observe(&bad, now);
    assert!(!board.conserves());
}

#[test]
fn a_pool_ledger_that_does_not_add_up_is_noticed() {
    let now = Instant::now();
    let board = board(now);
    let mut totals = Settled::default();
    totals.submitted.add(1);
    let end = settlement("rig1", SettleResult::Accepted);
    board.settled(LinkId(0), &end, &totals, now);
    assert!(!board.conserves());
    totals.accepted.add(1);
    board.settled(LinkId(0), &end, &totals, now);
    assert!(board.conserves());
}

#[test]
fn workers_up_to_the_cap_have_accounts_and_the_rest_share_one() {
    let now = Instant::now();
    let mut board = board(now);
    board.max_workers = 3;
    for id in 0..3 {
        connect(&board, id, 0, now);
        board.observe(&observation(id, &format!("rig{id}"), 1, 0), now);
    }
    assert!(board.workers(now).iter().all(|w| w.name != OTHER));
    for id in 3..10 {
        connect(&board, id, 0, now);
        board.observe(&observation(id, &format!("rig{id}"), 1, 0), now);
    }
    let workers = board.workers(now);
    assert_eq!(workers.len(), 4);
    let other = workers.iter().find(|w| w.name == OTHER);
    assert_eq!(other.map(|w| w.accepted.shares), Some(7));
    assert!(board.conserves() && board.balances());
}

#[test]
fn a_pool_says_of_each_worker_what_became_of_its_shares() {
    let now = Instant::now();
    let board = board(now);
    let totals = Settled::default();
    let rejected = SettleResult::Rejected(crate::stratum::v1::up::RefusalKind::Stale);
    for result in [SettleResult::Accepted, rejected, SettleResult::Unknown] {
        board.settled(LinkId(0), &settlement("rig1", result), &totals, now);
    }
    let worker = &board.workers(now)[0];
    assert_eq!(worker.pool_accepted.shares, 1);
    assert_eq!(worker.pool_rejected.shares, 1);
}

#[test]
fn the_words_for_a_pools_reasons_are_in_the_order_of_its_kinds() {
    use crate::stratum::v1::up::RefusalKind as Kind;
    let word = |kind: Kind| super::read::REFUSALS[kind as usize];
    assert_eq!(word(Kind::Stale), "stale");
    assert_eq!(word(Kind::Duplicate), "duplicate");
    assert_eq!(word(Kind::LowDifficulty), "low_difficulty");
    assert_eq!(word(Kind::Unauthorized), "unauthorized");
    assert_eq!(word(Kind::NotSubscribed), "not_subscribed");
    assert_eq!(word(Kind::Other), "other");
}

#[test]
fn moves_are_counted_and_an_excluded_pool_says_why() {
    let now = Instant::now();
    let board = board(now);
    let (from, to, why) = (Some(LinkId(0)), Some(LinkId(1)), "failover");
    let moved = router::Event::Moved {
        from,
        to,
        miners: 7,
        why,
    };
    board.router_event(&moved);
    board.router_event(&router::Event::Excluded(LinkId(1)));
    assert_eq!(board.moved(), 7);
    let note = board.pools(now)[1].note.clone();
    assert_eq!(
        note.as_deref(),
        Some("gives too little extranonce for our layout")
    );
}

#[test]
fn what_a_pool_says_stays_when_it_comes_up_and_what_was_wrong_goes() {
    let now = Instant::now();
    let board = board(now);
    let link = LinkId(1);
    let noted = |event: link::Event| {
        board.link_event(link, &event);
        board.link_event(link, &link::Event::Up);
        board.pools(now)[1].note.clone()
    };
    assert_eq!(noted(link::Event::LoginRefused("no".into())), None);
    let message = link::Event::Message("back at noon".into());
    assert_eq!(noted(message).as_deref(), Some("says: back at noon"));
}

#[test]
fn miners_come_in_pages_of_a_stable_order() {
    let now = Instant::now();
    let board = board(now);
    for id in (0..10).rev() {
        connect(&board, id, 0, now);
        let name = format!("hall{}.rig{id}", id % 2);
        board.session_event(SessionId(id), &session::Event::Authorized(name.into()), now);
    }
    let ids =
        |page: &[crate::telemetry::view::Miner]| page.iter().map(|m| m.id).collect::<Vec<_>>();
    let (page, total) = board.miners("", 3, 4, now);
    assert_eq!((ids(&page), total), (vec![3, 4, 5, 6], 10));
    let (page, total) = board.miners("hall1", 1, 2, now);
    assert_eq!((ids(&page), total), (vec![3, 5], 5));
    assert_eq!(board.miners("", 10, 5, now).0.len(), 0);
}

#[test]
fn leases_and_states_of_pools_are_shown() {
    let now = Instant::now();
    let board = board(now);
    connect(&board, 1, 0, now);
    board.leased(SessionId(1), Some(LinkId(1)));
    board.link_status(LinkId(1), &up(), now);
    board.link_issue(LinkId(1), now);
    let pools = board.pools(now + Duration::from_secs(5));
    assert_eq!((pools[0].up, pools[0].leases), (false, 0));
    assert_eq!((pools[1].up, pools[1].leases), (true, 1));
    assert_eq!(pools[1].job_age_seconds, Some(5.0));
    assert_eq!(board.pools_up(), (1, 2));
}

#[test]
fn a_wave_is_worth_a_line_and_a_trickle_is_not() {
    let now = Instant::now();
    let board = board(now);
    for id in 0..19 {
        connect(&board, id, 0, now);
    }
    assert_eq!(board.wave(), None);
    for id in 100..120 {
        connect(&board, id, 0, now);
    }
    let line = board.wave().expect("20 came");
    assert_eq!(line, "20 miners connected, 0 left in the last minute");
    assert_eq!(board.wave(), None);
}

#[test]
fn the_log_line_says_how_the_site_is() {
    let now = Instant::now();
    let board = board(now);
    connect(&board, 1, 0, now);
    board.observe(&observation(1, "rig1", 199, 1), now);
    board.link_status(LinkId(0), &up(), now);
    let line = board.log_line(now + Duration::from_secs(60));
    assert!(line.starts_with("1 miners, "), "{line}");
    assert!(
        line.ends_with("199 shares accepted, 0.50 % rejected, 1 of 2 pools up"),
        "{line}"
    );
}

#[test]
fn events_of_unknown_sessions_and_links_change_nothing() {
    let now = Instant::now();
    let board = board(now);
    board.closed(SessionId(9), Close::Peer, now);
    board.leased(SessionId(9), Some(LinkId(9)));
    board.link_status(LinkId(9), &up(), now);
    connect(&board, 1, 77, now);
    board.observe(&observation(1, "rig1", 1, 0), now);
    board.closed(SessionId(1), Close::Peer, now);
    assert!(board.conserves() && board.balances());
}

#[test]
fn an_idle_miner_costs_at_most_700_bytes() {
    // The map keeps up to 16/7 slots per entry just after it has grown; names are an agent and a worker of 64 bytes each.
    let slot = size_of::<(SessionId, Miner)>() + 1;
    let names = 2 * (64 + 16);
    let idle = slot * 16 / 7 + names;
    assert!(idle <= 700, "{idle} bytes");
    let active = idle + size_of::<Activity>();
    assert!(active <= 1_024, "{active} bytes");
}
