//! What people read, and what they read when nothing answers.

use super::*;
use crate::proxy::lease::SessionId;
use crate::telemetry::board::tests as fixture;
use crate::work::LinkId;
use std::net::TcpListener;
use std::time::Instant;

#[test]
fn nobody_there_is_said_in_one_line_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let api = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = proxy(&api)
        .get::<Summary>("/api/v1/summary")
        .expect_err("nobody listens");
    assert_eq!(
        error.to_string(),
        format!(
            "no Sluice answers at {api} (connection refused). Is it running? Give --api URL if it listens elsewhere."
        )
    );
}

#[test]
fn a_url_that_is_none_is_said_too() {
    let error = proxy("not a url")
        .get::<Summary>("/api/v1/summary")
        .expect_err("no URL");
    assert!(error.to_string().contains("Give --api URL"), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn the_summary_is_for_people() {
    let now = Instant::now();
    let board = fixture::board(now);
    fixture::connect(&board, 1, 0, now);
    board.observe(&fixture::observation(1, "rig1", 1_500, 3), now);
    board.link_status(LinkId(0), &fixture::up(), now);
    let text = summary_text(&Summary::of(&board, now + Duration::from_secs(3_700)));
    assert!(text.contains(", up 1h 1m\n"), "{text}");
    assert!(
        text.contains("shares     1,500 accepted, 3 rejected (0.20 %)\n"),
        "{text}"
    );
    assert!(text.contains("rejected   stale 3\n"), "{text}");
    assert!(text.contains("pools      1 of 2 up\n"), "{text}");
    assert!(!text.contains("WARNING"), "{text}");
}

#[test]
fn tables_are_aligned_and_say_never_rather_than_zero() {
    let now = Instant::now();
    let board = fixture::board(now);
    fixture::connect(&board, 1, 0, now);
    fixture::connect(&board, 2, 0, now);
    board.speaks_v2(SessionId(2));
    board.observe(&fixture::observation(2, "a-long-worker-name", 1, 0), now);
    let later = now + Duration::from_secs(125);
    let page = Miners::of(&board, &Default::default(), later);
    let text = miners_table(&page);
    let lines: Vec<&str> = text.lines().collect();
    let column = lines[0].find("PEER").expect("a header");
    assert!(lines[1][column..].starts_with("10.0.0.1:40000"), "{text}");
    assert!(lines[2][column..].starts_with("10.0.0.1:40000"), "{text}");
    assert!(
        lines[1].contains("never") && lines[2].contains("2m 5s ago"),
        "{text}"
    );
    let by = lines[0].find("BY").expect("a header");
    let protocols = [lines[1], lines[2]].map(|line| &line[by..by + 2]);
    assert_eq!(protocols, ["V1", "V2"], "{text}");
    assert_eq!(lines[3], "2 miners");
}

#[test]
fn pools_that_are_down_or_plain_say_so_below_the_table() {
    let now = Instant::now();
    let board = fixture::board(now);
    board.link_status(LinkId(0), &fixture::up(), now);
    let pools = board.pools(now);
    let text = pools_table(&Pools { pools });
    assert!(text.contains("second: not connected yet\n"), "{text}");
    assert!(!text.contains("first: not connected"), "{text}");
    assert!(text.contains("first: not encrypted"), "{text}");
}

#[test]
fn a_hostile_name_keeps_to_its_cell() {
    let now = Instant::now();
    let board = fixture::board(now);
    fixture::connect(&board, 1, 0, now);
    let name = "a\r\nsluice up\u{202e}\u{1b}[31m\0";
    board.observe(&fixture::observation(1, name, 1, 0), now);
    let text = miners_table(&Miners::of(&board, &Default::default(), now));
    assert_eq!(text.lines().count(), 3, "{text:?}");
    assert!(
        text.chars()
            .all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic())
    );
}

#[test]
fn a_whole_fleet_is_read_over_the_api_page_by_page() {
    let now = Instant::now();
    let board = std::sync::Arc::new(fixture::board(now));
    for id in 0..2_500 {
        fixture::connect(&board, id, 0, now);
    }
    let config = crate::config::Api {
        address: ([127, 0, 0, 1], 0).into(),
        worker_metrics: false,
    };
    let cancel = tokio_util::sync::CancellationToken::new();
    let (address, thread) = crate::tasks::admin::spawn(&config, board, None, cancel.clone())
        .expect("a free port on loopback");
    let all = all_miners(&format!("http://{address}/")).expect("it answers");
    assert_eq!((all.total, all.miners.len()), (2_500, 2_500));
    assert!(all.miners.is_sorted_by_key(|miner| miner.id));
    let refused = proxy(&format!("http://{address}")).get::<Miners>("/api/v1/miners?limit=x");
    let text = refused.expect_err("no number").to_string();
    assert!(
        text.contains("limit and offset are whole numbers"),
        "{text}"
    );
    cancel.cancel();
    thread.join().expect("it ends");
}

#[test]
fn nothing_that_moves_a_cursor_is_printed() {
    assert_eq!(
        printable("a\u{1b}[31m\r\n\u{202e}\u{85}b c"),
        "a?[31m????b c"
    );
}
