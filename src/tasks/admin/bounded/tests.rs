//! The limits over real sockets on loopback, each with the others so long that only it can be what acts.

use super::*;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore};

const LONG: Duration = Duration::from_secs(3600);
const NEVER: Times = Times {
    silent: LONG,
    request: LONG,
};
const ORDER: &[u8] = b"POST /order HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn an_order_is_answered_through_512_silent_connections_by_closing_the_oldest() {
    let lab = Lab::start(NEVER).await;
    let mut silent = Vec::new();
    for _ in 0..512 {
        silent.push(lab.connect().await);
    }
    let mut asking = lab.connect().await;
    assert!(asking.answers(ORDER).await);
    // All but as many as fit beside it, the oldest ones.
    let gone = 512 + 1 - CONNECTIONS;
    for peer in &mut silent[..gone] {
        peer.closed().await;
    }
    for peer in &mut silent[gone..] {
        assert!(
            peer.answers(ORDER).await,
            "it has had its place all the time"
        );
    }
}

#[tokio::test]
async fn half_a_head_keeps_no_place_and_leading_empty_lines_are_no_head() {
    let lab = Lab::start(NEVER).await;
    let mut begun = Vec::new();
    for at in 0..CONNECTIONS {
        let mut peer = lab.connect().await;
        let some: &[u8] = match at.is_multiple_of(2) {
            true => b"GET / HTTP/1.1\r\nHost: local",
            false => b"\r\n\r\n\r\n",
        };
        peer.0.write_all(some).await.expect("open");
        begun.push(peer);
    }
    let mut asking = lab.connect().await;
    assert!(asking.answers(ORDER).await);
    begun[0].closed().await;
}

#[tokio::test]
async fn whoever_has_asked_keeps_its_place_until_it_is_answered() {
    let lab = Lab::start(NEVER).await;
    let mut asked = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut peer = lab.connect().await;
        let head = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
        peer.0.write_all(head).await.expect("open");
        asked.push(peer);
    }
    lab.entered(CONNECTIONS).await;
    let mut waiting = lab.connect().await;
    waiting.0.write_all(ORDER).await.expect("in the backlog");
    lab.go.notify_one();
    assert!(
        waiting.is_answered().await,
        "in the place of the one that was"
    );
    lab.go.notify_waiters();
    let mut answered = 0;
    for peer in &mut asked {
        answered += usize::from(peer.is_answered().await);
    }
    assert_eq!(answered, CONNECTIONS);
}

#[tokio::test]
async fn silence_has_its_time_and_a_request_that_has_begun_its_own() {
    let times = Times {
        silent: LONG,
        request: LONG * 5,
    };
    let (mut theirs, mut ours) = pair(times).await;
    let left = |ours: &Connection| ours.deadline.deadline() - Instant::now();
    assert!(left(&ours) <= LONG);
    for _ in 0..2 {
        theirs.write_all(b"GET").await.expect("open");
        ours.read_exact(&mut [0; 3]).await.expect("in time");
        assert!(left(&ours) > LONG * 4);
        ours.write_all(b"answer").await.expect("open");
        assert!(left(&ours) <= LONG);
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_gone_before_and_after_an_answer() {
    let short = Duration::from_millis(1);
    let (_theirs, mut ours) = pair(Times {
        silent: short,
        ..NEVER
    })
    .await;
    assert!(times_out(&mut ours).await);
    let (_theirs, mut ours) = pair(NEVER).await;
    ours.times.silent = short;
    ours.write_all(b"answer").await.expect("open");
    assert!(times_out(&mut ours).await);
}

#[tokio::test]
async fn a_request_that_drips_is_gone_after_its_time() {
    let (mut theirs, mut ours) = pair(NEVER).await;
    ours.times.request = Duration::from_millis(1);
    theirs.write_all(b"GET / HT").await.expect("open");
    ours.read_exact(&mut [0; 8]).await.expect("there");
    assert!(times_out(&mut ours).await);
}

/// Both ends of a connection.
async fn pair(times: Times) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let theirs = TcpStream::connect(address).await.expect("it listens");
    let (ours, _) = Bounded::new(listener, times).accept().await;
    (theirs, ours)
}

async fn times_out(ours: &mut Connection) -> bool {
    let ended = ours.read_u8().await.expect_err("nothing more was sent");
    ended.kind() == io::ErrorKind::TimedOut
}

/// A server behind the limits: `/order` answers at once, `/slow` when it is told.
struct Lab {
    address: SocketAddr,
    /// One permit for each that is at `/slow`.
    inside: Arc<Semaphore>,
    go: Arc<Notify>,
}

impl Lab {
    async fn start(times: Times) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (inside, go) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let (enters, goes) = (inside.clone(), go.clone());
        let slow = move || {
            let (enters, goes) = (enters.clone(), goes.clone());
            async move {
                let told = goes.notified();
                enters.add_permits(1);
                told.await;
                "done"
            }
        };
        let app = Router::new()
            .route("/order", post(|| async { "taken" }))
            .route("/slow", get(slow));
        tokio::spawn(axum::serve(Bounded::new(listener, times), app).into_future());
        Self {
            address,
            inside,
            go,
        }
    }

    async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.expect("it listens"))
    }

    async fn entered(&self, count: usize) {
        let count = u32::try_from(count).expect("few");
        let all = self.inside.acquire_many(count).await.expect("open");
        all.forget();
    }
}

struct Peer(TcpStream);

impl Peer {
    async fn answers(&mut self, request: &[u8]) -> bool {
        self.0.write_all(request).await.is_ok() && self.is_answered().await
    }

    async fn is_answered(&mut self) -> bool {
        let mut start = [0; 12];
        self.0.read_exact(&mut start).await.is_ok() && &start == b"HTTP/1.1 200"
    }

    /// Returns once it is closed; where it is not, the test never ends.
    async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.0.read_to_end(&mut rest).await;
    }
}
