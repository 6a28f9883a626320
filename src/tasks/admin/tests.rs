//! The API through real loopback sockets, the way scrapers, browsers and hostile peers meet it.

use super::*;
use crate::api::model;
use crate::proxy::lease::{ListenerId, SessionId};
use crate::proxy::link::{Event, SettleResult};
use crate::proxy::session;
use crate::proxy::tally::Settled;
use crate::telemetry::board::tests as fixture;
use crate::work::LinkId;
use std::io::{Read, Write};
use std::net::TcpStream;

/// What a miner would call itself to break a terminal, a page, a spreadsheet, JSON or a metrics line.
const HOSTILE: &str =
    "a\"b\\c\r\nsluice_blocks_found_total 1\r\n<script>=cmd()\u{202e}\u{1b}[31m\0";

struct Site {
    board: Arc<Board>,
    address: SocketAddr,
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    fn start(worker_metrics: bool) -> Self {
        let board = Arc::new(fixture::board(Instant::now()));
        let cancel = CancellationToken::new();
        let config = config::Api {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            worker_metrics,
        };
        let (address, thread) =
            spawn(&config, board.clone(), None, cancel.clone()).expect("a free port on loopback");
        Self {
            board,
            address,
            cancel,
            thread: Some(thread),
        }
    }

    fn miner(&self, id: u64, worker: &str) {
        let now = Instant::now();
        fixture::connect(&self.board, id, 0, now);
        let agent = session::Event::Subscribed {
            agent: worker.into(),
            lane: crate::work::Lane(7),
            resumed: false,
        };
        self.board.session_event(SessionId(id), &agent, now);
        self.board
            .observe(&fixture::observation(id, worker, 9, 1), now);
    }

    /// Status, head and body of a raw request.
    fn raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        (
            status.expect("a status"),
            head.to_lowercase(),
            body.to_owned(),
        )
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        let host = self.address;
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.cancel.cancel();
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the admin thread does not panic");
    }
}

#[test]
fn it_is_alive_before_it_is_ready_and_says_why() {
    let site = Site::start(false);
    assert_eq!(site.get("/livez").0, 200);
    let down = Event::Down {
        reason: "connection refused".to_owned(),
        retry_in: Duration::from_secs(1),
    };
    site.board.link_event(LinkId(0), &down);
    let (status, _, body) = site.get("/readyz");
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "not ready: no pool is up (first: connection refused; second: not connected yet)\n"
    );
    site.board
        .link_status(LinkId(1), &fixture::up(), Instant::now());
    let (status, _, body) = site.get("/readyz");
    assert_eq!((status, body.as_str()), (200, "ready: 1 of 2 pools up\n"));
}

#[test]
fn every_sample_of_the_metrics_parses_and_counts_what_happened() {
    let site = Site::start(false);
    site.miner(1, "rig1");
    let totals = Settled::default();
    let end = fixture::settlement("rig1", SettleResult::Accepted);
    site.board.settled(LinkId(0), &end, &totals, Instant::now());
    site.board.verdict_seconds(0.000_01);
    let (status, head, body) = site.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"));
    let samples = samples(&body);
    let value = |key: &str| samples.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    for (key, expected) in [
        (
            r#"sluice_shares_total{listener="main",result="accepted",reason="none"}"#,
            9.0,
        ),
        (
            r#"sluice_shares_total{listener="main",result="rejected",reason="stale"}"#,
            1.0,
        ),
        (
            r#"sluice_share_difficulty_total{listener="main",result="accepted"}"#,
            9.0,
        ),
        (
            r#"sluice_share_difficulty_total{listener="main",result="rejected"}"#,
            1.0,
        ),
        (r#"sluice_downstream_connections{listener="main"}"#, 1.0),
        (
            r#"sluice_downstream_closed_total{listener="lab",reason="peer"}"#,
            0.0,
        ),
        (
            r#"sluice_downstream_refused_total{reason="per_address"}"#,
            0.0,
        ),
        (r#"sluice_upstream_up{pool="first"}"#, 0.0),
        (r#"sluice_upstream_submit_seconds_count{pool="first"}"#, 1.0),
        (r#"sluice_share_verdict_seconds_count"#, 1.0),
        (r#"sluice_job_broadcast_seconds_count"#, 0.0),
        (r#"sluice_leases{pool="second"}"#, 0.0),
        (r#"sluice_blocks_found_total"#, 0.0),
        (r#"sluice_under_credit_hashes_total{listener="main"}"#, 0.0),
    ] {
        assert_eq!(value(key), Some(expected), "{key}\n{body}");
    }
    assert!(body.contains("sluice_build_info{version="));
    assert!(body.contains(r#"sluice_hashrate_hashes_per_second{listener="main",window="1m"}"#));
}

#[test]
fn metrics_of_workers_are_there_only_if_wanted() {
    let site = Site::start(false);
    let (status, head, body) = site.get("/metrics/workers");
    assert_eq!(status, 404);
    assert!(head.contains("application/problem+json"));
    assert!(body.contains("worker_metrics = true"));
    let site = Site::start(true);
    site.miner(1, "rig1");
    let (status, _, body) = site.get("/metrics/workers");
    assert_eq!(status, 200);
    let accepted = r#"sluice_worker_shares_total{worker="rig1",side="proxy",result="accepted"}"#;
    assert!(
        samples(&body).contains(&(accepted.to_owned(), 9.0)),
        "{body}"
    );
}

#[test]
fn hostile_names_stay_inside_their_quotes_in_every_sink() {
    let site = Site::start(true);
    site.miner(1, HOSTILE);
    let site_metrics = site.get("/metrics").2;
    assert!(!site_metrics.contains("script"));
    let workers = site.get("/metrics/workers").2;
    assert_eq!(samples(&workers).len(), 9, "{workers}");
    let page: model::Miners = serde_json::from_str(&site.get("/api/v1/miners").2).expect("JSON");
    assert_eq!(page.miners[0].worker.as_deref(), Some(HOSTILE));
}

#[test]
fn miners_are_paged_and_the_page_is_capped() {
    let site = Site::start(false);
    for id in 0..1_001 {
        fixture::connect(&site.board, id, 0, Instant::now());
    }
    let page = |query: &str| -> model::Miners {
        serde_json::from_str(&site.get(&format!("/api/v1/miners{query}")).2).expect("JSON")
    };
    assert_eq!(page("").miners.len(), model::PAGE);
    assert_eq!(page("?limit=1000").miners.len(), 1_000);
    assert_eq!(page("?limit=1001").miners.len(), 1_000);
    let last = page("?limit=10&offset=995");
    assert_eq!((last.miners.len(), last.total), (6, 1_001));
    assert_eq!(last.miners[0].id, 995);
    assert_eq!(page("?worker=nobody").total, 0);
    let (status, _, body) = site.get("/api/v1/miners?limit=many");
    assert_eq!(status, 400);
    assert!(body.contains("urn:sluice:problem:bad-query"));
}

#[test]
fn the_summary_adds_up() {
    let site = Site::start(false);
    site.miner(1, "rig1");
    fixture::connect(&site.board, 2, 1, Instant::now());
    site.board
        .observe(&fixture::observation(2, "rig2", 1, 1), Instant::now());
    let summary: model::Summary =
        serde_json::from_str(&site.get("/api/v1/summary").2).expect("JSON");
    assert!(summary.conserves);
    assert_eq!((summary.miners, summary.pools), (2, 2));
    assert_eq!((summary.accepted.shares, summary.rejected.shares), (10, 2));
    assert_eq!(summary.reasons["stale"], 2);
    assert_eq!(summary.listeners.len(), 2);
}

#[test]
fn a_name_that_merely_points_here_reads_nothing() {
    let site = Site::start(false);
    for host in ["evil.example", "evil.example:3380", ""] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, _, body) = site.raw(&request);
        assert_eq!(status, 403, "{host}");
        assert!(body.contains("urn:sluice:problem:host-not-allowed"));
    }
    let twice = "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n";
    assert_ne!(site.raw(twice).0, 200);
    let local = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(site.raw(local).0, 200);
}

#[test]
fn only_reading_is_allowed_and_elsewhere_is_nothing() {
    let site = Site::start(false);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (status, head, _) = site.raw(&request);
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get, head"));
    }
    let head = "HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (status, _, body) = site.raw(head);
    assert_eq!((status, body.as_str()), (200, ""));
    let (status, _, body) = site.get("/api/v2/summary");
    assert_eq!(status, 404);
    assert!(body.contains("urn:sluice:problem:not-found"));
}

#[test]
fn a_head_within_the_limit_is_read_and_one_beyond_ends_the_connection() {
    let site = Site::start(false);
    let request = |padding: usize| {
        let start = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(padding))
    };
    let fixed = request(0).len();
    let limit = bounded::REQUEST_BYTES;
    assert_eq!(site.raw(&request(limit - fixed)).0, 200);
    let mut stream = TcpStream::connect(site.address).expect("it listens");
    // The connection may be reset while we still write.
    let _ = stream.write_all(request(limit + 1 - fixed).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let site = Site::start(false);
    let config = config::Api {
        address: site.address,
        worker_metrics: false,
    };
    let error = spawn(&config, site.board.clone(), None, CancellationToken::new())
        .expect_err("the port is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&site.address.to_string()));
    assert!(
        error
            .to_string()
            .contains("choose another address under [api]")
    );
}

#[test]
fn listeners_and_pools_keep_their_names_in_the_api() {
    let site = Site::start(false);
    site.board.leased(SessionId(1), Some(LinkId(0)));
    let now = Instant::now();
    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
    site.board.connected(SessionId(5), ListenerId(1), peer, now);
    site.board.leased(SessionId(5), Some(LinkId(1)));
    let page: model::Miners = serde_json::from_str(&site.get("/api/v1/miners").2).expect("JSON");
    assert_eq!(page.miners[0].listener, "lab");
    assert_eq!(page.miners[0].pool.as_deref(), Some("second"));
    let pools: model::Pools = serde_json::from_str(&site.get("/api/v1/pools").2).expect("JSON");
    assert_eq!(pools.pools[1].leases, 1);
}

/// Reads OpenMetrics text the strict way: name, labels in quotes with escapes, a value; panics at anything else.
fn samples(text: &str) -> Vec<(String, f64)> {
    assert!(text.ends_with("# EOF\n"));
    let lines = text.split('\n').filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with("# "))
        .map(|line| {
            let end = series_end(line);
            let value = line[end..].strip_prefix(' ').expect("a space");
            (line[..end].to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

fn series_end(line: &str) -> usize {
    let name = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .expect("more than a name");
    if !line[name..].starts_with('{') {
        return name;
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line[name..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return name + at + 1,
            _ => {}
        }
    }
    panic!("labels without an end: {line}");
}
