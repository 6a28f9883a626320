//! Rounds over real sockets on loopback: exporters that answer, and exporters that never do.

use super::*;
use crate::feeds::dcgm::{Config, Dcgm};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// One GPU of 700 W behind each endpoint.
const NAMEPLATE: i64 = 700;
/// Rounds follow each other, with hardly any patience.
const OFTEN: Duration = Duration::from_millis(20);
/// One round, with all the patience there is.
const SELDOM: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_exporter_that_never_answers_does_not_keep_the_others_from_being_read() {
    let (silent, mut let_go_rx) = silent().await;
    let good = exporter(250).await;
    let mut readings_rx = scraping(&[silent, good], OFTEN);
    // The silent one's GPU may draw all it can; the other one's is measured.
    while next(&mut readings_rx).await != NAMEPLATE + 250 {}
    let let_go = let_go_rx.try_recv();
    assert_eq!(let_go, Err(oneshot::error::TryRecvError::Empty));
}

#[tokio::test]
async fn a_scrape_that_hangs_does_not_delay_the_rounds_after_its_own() {
    let (silent, mut let_go_rx) = silent().await;
    let good = exporter(250).await;
    let mut readings_rx = scraping(&[silent, good], OFTEN);
    while next(&mut readings_rx).await != NAMEPLATE + 250 {}
    for _ in 0..10 {
        assert_eq!(next(&mut readings_rx).await, NAMEPLATE + 250);
    }
    let let_go = let_go_rx.try_recv();
    assert_eq!(let_go, Err(oneshot::error::TryRecvError::Empty));
}

#[tokio::test]
async fn the_first_reading_has_all_who_answer() {
    let mut exporters = Vec::new();
    for watts in 1..=5 {
        exporters.push(exporter(watts * 100).await);
    }
    let mut readings_rx = scraping(&exporters, SELDOM);
    assert_eq!(next(&mut readings_rx).await, 1500);
}

#[tokio::test]
async fn more_endpoints_than_are_scraped_at_a_time_are_all_read() {
    let good = exporter(100).await;
    let mut readings_rx = scraping(&[good; AT_ONCE + 2], OFTEN);
    let all = 100 * (AT_ONCE as i64 + 2);
    while next(&mut readings_rx).await != all {}
}

/// Starts the task.
fn scraping(endpoints: &[SocketAddr], every: Duration) -> mpsc::Receiver<Input> {
    let config = Config {
        gpus_per_node: 1,
        gpu_nameplate_watts: NAMEPLATE as f64,
        ..Config::default()
    };
    let endpoint = |address: &SocketAddr| {
        let url = Url::parse(&format!("http://{address}/metrics")).expect("a url");
        let feed: Box<dyn Feed> = Box::new(Dcgm::new(config.clone()));
        (url, feed)
    };
    let (readings_tx, readings_rx) = mpsc::channel(1);
    tokio::spawn(run(Start {
        feeds: endpoints.iter().map(endpoint).collect(),
        every,
        input: |reading| Input::Gpu(reading.watts),
        readings_tx,
        fetcher: Fetcher::default(),
    }));
    readings_rx
}

async fn next(readings_rx: &mut mpsc::Receiver<Input>) -> i64 {
    match readings_rx.recv().await.expect("the task runs") {
        Input::Gpu(Some(watts)) => watts.0,
        other => panic!("no power: {other:?}"),
    }
}

/// Tells the watts of its GPU to everybody.
async fn exporter(watts: i64) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let mut stream = asked(&listener).await;
            let body = format!("DCGM_FI_DEV_POWER_USAGE{{gpu=\"0\",Hostname=\"n\"}} {watts}\n");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            // Who asked may have gone.
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    address
}

/// Never answers; says when the first scrape has been given up.
async fn silent() -> (SocketAddr, oneshot::Receiver<()>) {
    let (listener, address) = listener().await;
    let (let_go_tx, let_go_rx) = oneshot::channel();
    tokio::spawn(async move {
        let mut stream = asked(&listener).await;
        let _ = stream.read(&mut [0; 1]).await;
        let _ = let_go_tx.send(());
    });
    (address, let_go_rx)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// The next scrape, its request read.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a scrape");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n")
        && stream.read_buf(&mut request).await.is_ok_and(|n| n > 0)
    {}
    stream
}
