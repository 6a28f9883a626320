//! A session's task under the runtime's own clock, held by the test. What a session decides is tested with the machine.

use super::*;
use crate::cli::bench::lab;
use crate::proxy::lease::{Issue, LaneMemory, Lease, ResumeToken, Seat};
use crate::proxy::session::{Bucket, Config, WallAnchor};
use crate::stratum::v1::down::notification;
use crate::tasks::{Hub, LinkPort};
use crate::telemetry::board::tests as fixture;
use crate::work::{Difficulty, Lane, Layout, Work, vardiff};
use std::sync::atomic::AtomicU64;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Notify, mpsc, watch};

/// Two shares at once, then one in 2 s.
const SUBMITS: Bucket = Bucket {
    per_second: 0.5,
    burst: 2.0,
};
const OTHERS: Bucket = Bucket {
    per_second: 100.0,
    burst: 100.0,
};

/// The wake of the alarm comes while the second share waits for its link, and is that wait's; the pause ends with it.
#[tokio::test(start_paused = true)]
async fn a_timer_that_goes_off_while_a_share_waits_for_its_link_is_not_lost() {
    let work = Arc::new(lab::work(1, Difficulty::MIN));
    // Nobody takes from the link's queue: the first share fills it.
    let (shares_tx, _shares_rx) = mpsc::channel(1);
    let mut miner = mining(&work, shares_tx);

    miner.share(&work, 0).await;
    let asked = clock();
    miner.share(&work, 1).await;
    assert!(
        clock() >= asked + reach::LINK_WAIT,
        "the second share waited"
    );

    miner.share(&work, 2).await;
}

struct Miner(BufReader<DuplexStream>);

impl Miner {
    /// Submits and waits for the answer.
    async fn share(&mut self, work: &Work, nonce: u32) {
        let line = [&lab::line(work.id, nonce)[..], b"\n"].concat();
        self.0.write_all(&line).await.expect("the session is there");
        let mut answer = String::new();
        let answered = self.0.read_line(&mut answer);
        let answered = tokio::time::timeout(Duration::from_secs(600), answered).await;
        answered.expect("an answer").expect("of whole lines");
        let accepted = format!("{{\"id\":{nonce},\"result\":true,\"error\":null}}\n");
        assert_eq!(answer, accepted);
    }
}

/// One who has logged in and got this work; its session runs.
fn mining(work: &Arc<Work>, shares_tx: mpsc::Sender<Box<Submission>>) -> Miner {
    let (ours, stream) = tokio::io::duplex(MAX_LINE);
    let start = Start {
        stream,
        first: Vec::new(),
        session: logged_in(clock(), work),
        id: SessionId(1),
        listener: ListenerId(0),
        shard: Arc::new(Shard::new(hub(shares_tx), false)),
        cancel: CancellationToken::new(),
    };
    tokio::spawn(run(start));
    Miner(BufReader::new(ours))
}

fn hub(shares_tx: mpsc::Sender<Box<Submission>>) -> Arc<Hub> {
    let port = LinkPort {
        shares_tx,
        blocks_tx: mpsc::channel(1).0,
        refresh: Notify::new(),
        work: watch::channel(None).1,
    };
    Arc::new(Hub {
        router_tx: mpsc::channel(1).0,
        links: vec![port],
        masks: Vec::new(),
        board: Arc::new(fixture::board(clock())),
        power: None,
        next_session: Arc::new(AtomicU64::new(2)),
    })
}

fn logged_in(now: Instant, work: &Arc<Work>) -> Session {
    let mask = work.version_mask;
    let mut session = Session::new(now, SessionId(1), Arc::new(config(now, work)), mask);
    let seat = Seat {
        lane: Lane(1),
        layout: Layout::WIDE,
        width: 0,
        token: ResumeToken([1; 16]),
        memory: LaneMemory::default(),
    };
    let lease = Lease {
        link: Some(work.link),
        version_mask: mask,
    };
    let issue = Arc::new(Issue {
        v1_clean: notification::notify(work, true),
        v1_keep: notification::notify(work, false),
        own: None,
        work: work.clone(),
    });
    let [configure, subscribe, authorize] = lab::LOGIN.map(Input::Line);
    let seated = Input::Seated(Box::new(seat), lease);
    for input in [
        configure,
        subscribe,
        seated,
        authorize,
        Input::Issue(&issue),
    ] {
        session.handle_input(now, input);
        while session.poll_output().is_some() {}
    }
    session
}

fn config(now: Instant, work: &Work) -> Config {
    Config {
        listener: ListenerId(0),
        vardiff: vardiff::Config {
            start: Difficulty::MIN,
            min: Difficulty::MIN,
            max: Difficulty::MAX,
            fixed: Some(Difficulty::MIN),
            shares_per_minute: 12.0,
            ceiling_per_minute: 60.0,
        },
        password: None,
        submits: SUBMITS,
        others: OTHERS,
        version_mask: work.version_mask,
        channels: 64,
        fast_lines: true,
        wall: WallAnchor {
            at: now,
            unix_s: u64::from(work.ntime),
        },
    }
}
