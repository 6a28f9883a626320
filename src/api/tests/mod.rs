//! The control channel over loopback sockets, with a scripted controller at the far end. What is taken is tested in
//! `sending.rs`, what is not in `refusing.rs`, what is shown in `reading.rs`; here are the helpers. Invariant: a call
//! that a test did not script reaches nobody.

mod reading;
mod refusing;
mod sending;
mod standing;

use super::auth::Scopes;
use super::control::{Accepted, Call, Control};
use super::*;
use crate::curtail::Wall;
use crate::curtail::signal::Refusal;
use crate::curtail::view::View;
use serde_json::Value;
use standing::{credentials, order, plan, reservation, standing};
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CORPUS: &str = include_str!("../../../tests/data/orders.txt");
const CAP: &str = r#"{"source":"ems","audience":"north","epoch":1,"seq":12,"issued_at":"2026-11-22T07:00:00Z","expires_at":"2026-11-22T08:00:00Z","class":1,"kind":"cap","watts":4200000,"scope":"mining"}"#;
const BEAT: &str =
    r#"{"source":"ems","audience":"north","epoch":1,"seq":12,"issued_at":"2026-11-22T07:00:00Z"}"#;
const DESK: &str = "Authorization: Bearer desk-secret\r\n";
const ROOT: &str = "Authorization: Bearer root-secret\r\n";
const EYES: &str = "Authorization: Bearer eyes-secret\r\n";
const PLC: &str = "Authorization: Bearer plc-secret\r\n";

type Verdict = Result<Accepted, Refusal>;

/// What the controller was asked.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Signal {
        raw: Vec<u8>,
        who: String,
        source: String,
        dry_run: bool,
        estop: bool,
    },
    Release(String, bool),
    Renew(String, Wall),
    Heartbeat(String),
}

/// A served API and the far end of its port.
struct Lab {
    address: SocketAddr,
    control: Control,
    site: Site,
    seen: Arc<Mutex<Vec<Seen>>>,
    _view: tokio::sync::watch::Sender<Arc<View>>,
    _calls: Option<tokio::sync::mpsc::Receiver<Call>>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
    json: Value,
}

impl Answer {
    /// Empty if it is not there.
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }
}

impl Lab {
    async fn start(script: impl Fn(&Seen) -> Verdict + Send + 'static) -> Self {
        Self::start_with(Some(script), [127, 0, 0, 1]).await
    }

    /// A controller that takes calls and drops the way back.
    async fn start_silent() -> Self {
        let mut lab = Self::start_with(None::<fn(&Seen) -> Verdict>, [127, 0, 0, 1]).await;
        let mut calls = lab._calls.take().expect("nobody reads them yet");
        tokio::spawn(async move { while calls.recv().await.is_some() {} });
        lab
    }

    async fn start_with(
        script: Option<impl Fn(&Seen) -> Verdict + Send + 'static>,
        bound: [u8; 4],
    ) -> Self {
        let (control, mut calls, view) = Control::new("north");
        view.send_replace(Arc::new(standing()));
        let site = Site::new(control.clone(), credentials());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut unread = None;
        match script {
            None => unread = Some(calls),
            Some(script) => {
                let seen = seen.clone();
                tokio::spawn(async move {
                    while let Some(call) = calls.recv().await {
                        let (call, reply) = look(call);
                        let _ = reply.send(script(&call));
                        seen.lock().expect("no panic holds it").push(call);
                    }
                });
            }
        }
        Self {
            address: Self::serve(Some(site.clone()), bound).await,
            control,
            site,
            seen,
            _view: view,
            _calls: unread,
        }
    }

    async fn serve(site: Option<Site>, bound: [u8; 4]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let api = Api {
            board: Arc::new(crate::telemetry::board::tests::board(Instant::now())),
            worker_metrics: false,
            bound: bound.into(),
            site,
        };
        tokio::spawn(axum::serve(listener, router(api)).into_future());
        address
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        fetch(self.address, "POST", path, headers, body).await
    }

    async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        fetch(self.address, method, path, headers, body).await
    }

    fn calls(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic holds it").clone()
    }

    fn counted(&self) -> Vec<(&str, &'static str, u64)> {
        let all = self.site.counts.read();
        all.filter(|(_, _, n)| *n > 0).collect()
    }

    fn principal(&self) -> auth::Principal {
        auth::Principal {
            name: "test".into(),
            source: None,
            scopes: Scopes::default(),
        }
    }
}

async fn fetch(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = match headers.contains("chunked") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
        json: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

fn look(call: Call) -> (Seen, control::Reply) {
    match call {
        Call::Signal {
            envelope,
            raw,
            who,
            dry_run,
            reply,
        } => {
            let seen = Seen::Signal {
                raw,
                who: who.name,
                source: envelope.source.clone(),
                dry_run,
                estop: envelope.is_estop(),
            };
            (seen, reply)
        }
        Call::Release {
            id, dry_run, reply, ..
        } => (Seen::Release(id, dry_run), reply),
        Call::Renew {
            id,
            expires_at,
            reply,
            ..
        } => (Seen::Renew(id, expires_at), reply),
        Call::Heartbeat {
            heartbeat, reply, ..
        } => (Seen::Heartbeat(heartbeat.source), reply),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is a script")]
fn takes(_: &Seen) -> Verdict {
    Ok(Accepted::Order {
        status: Box::new(order("o-1")),
        plan: Some(plan()),
        repeated: false,
    })
}
