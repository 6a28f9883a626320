//! A machine for the drivers' tests: a TCP server that answers by a script and remembers what it got.
//!
//! Not the simulator: it knows no protocol. Invariant: one read is one request, since the drivers take turns and write each
//! request in one piece.

use super::{Account, Config, Device, LONGEST_REPLY, Secret};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Who the machines of these tests are.
pub(super) const MAC: &str = "d4:33:b2:5d:e0:56";
/// What a driver waits for in tests of waiting.
pub(super) const IMPATIENCE: Duration = Duration::from_millis(200);

/// What a machine does with a request.
pub(super) enum Act {
    Say(Vec<u8>),
    /// And closes.
    SayLast(Vec<u8>),
    /// A byte at a time.
    Drip(Vec<u8>),
    /// Says nothing to this one.
    Ignore,
    Close,
}

/// Says a text.
pub(super) fn say(text: &str) -> Act {
    Act::Say(text.as_bytes().to_vec())
}

type Script = dyn Fn(&str) -> Act + Send + Sync;

/// A machine that is up.
pub(super) struct Machine {
    port: u16,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
    clients: Arc<AtomicUsize>,
}

impl Machine {
    /// Comes up on a port of its own.
    pub(super) async fn start(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let machine = Self {
            port: listener.local_addr().unwrap().port(),
            got: Arc::default(),
            clients: Arc::default(),
        };
        let (got, clients) = (machine.got.clone(), machine.clients.clone());
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                clients.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, script.clone(), got.clone()));
            }
        });
        machine
    }

    /// What it was asked so far, as text.
    pub(super) fn got(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        got.iter()
            .map(|request| String::from_utf8_lossy(request).into_owned())
            .collect()
    }

    /// Connections so far.
    pub(super) fn clients(&self) -> usize {
        self.clients.load(Ordering::SeqCst)
    }

    /// A config with which `family` finds it.
    pub(super) fn config(&self, family: &str) -> Config {
        Config {
            ports: [(family.to_owned(), self.port)].into(),
            accounts: [(family.to_owned(), account())].into(),
            profiles: false,
            simulation: true,
            allowed: vec![(Ipv4Addr::LOCALHOST.into(), 32)],
        }
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, got: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut request = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        let request = request[..length].to_vec();
        let text = String::from_utf8_lossy(&request).into_owned();
        got.lock().unwrap().push(request);
        let (bytes, last) = match script(&text) {
            Act::Say(bytes) => (bytes, false),
            Act::SayLast(bytes) => (bytes, true),
            Act::Drip(bytes) => {
                for byte in bytes {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                continue;
            }
            Act::Ignore => continue,
            Act::Close => return,
        };
        if stream.write_all(&bytes).await.is_err() || last {
            return;
        }
    }
}

/// Who writes.
pub(super) fn account() -> Account {
    Account {
        name: "super".to_owned(),
        password: Secret("hunter2".to_owned()),
    }
}

/// Where every test machine lives.
pub(super) fn address() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

/// The machine that a driver means.
pub(super) fn device() -> Device {
    named(MAC)
}

/// A machine of another name at the same address.
pub(super) fn named(identity: &str) -> Device {
    Device {
        address: address(),
        identity: identity.to_owned(),
    }
}

/// `text` with blanks after its first byte, so that it is `length` bytes long.
pub(super) fn padded(text: &str, length: usize) -> Vec<u8> {
    assert!(length <= LONGEST_REPLY + 1);
    let (first, rest) = text.split_at(1);
    let blanks = " ".repeat(length - text.len());
    [first, &blanks, rest].concat().into_bytes()
}
