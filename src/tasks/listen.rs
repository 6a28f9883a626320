//! Accepting miners: permit before spawn, a bounded rate, and a listener that never dies.

mod protocol;

use super::noise::{self, Issuer};
use super::session::{self, Start};
use super::shard::Shard;
use crate::config::Limits;
use crate::proxy::lease::{ListenerId, SessionId};
use crate::proxy::session::{Bucket, Close, Config, Session, v2};
use crate::telemetry::counters::RefusedConnection;
use protocol::Protocol;
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// The first byte must have come by then (STRATUM.md section 4).
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// Between two looks at first bytes that do not say enough.
const CRUMBS: Duration = Duration::from_millis(20);
/// A TLS handshake has as long as the first byte.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Noise handshakes at once whose hello has come, each a tenth of a millisecond of CPU; others wait for their turn.
const HANDSHAKES: usize = 256;
/// Back-off when accept fails (descriptors are used up): from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What all listeners of the process share.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    permits: Arc<Semaphore>,
    /// Noise handshakes at once.
    handshakes: Semaphore,
    rate: Mutex<Rate>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

#[derive(Debug)]
struct Rate {
    tokens: f64,
    at: Instant,
}

/// A place in the house; given back when dropped.
#[derive(Debug)]
struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut addresses = self
            .admission
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

impl Admission {
    /// Nobody is in yet.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let permits = Arc::new(Semaphore::new(limits.connections));
        let rate = Mutex::new(Rate {
            tokens: limits.accepts.burst,
            at: now,
        });
        Self {
            limits,
            permits,
            handshakes: Semaphore::new(HANDSHAKES),
            rate,
            addresses: Mutex::default(),
        }
    }

    /// Takes one accept from the bucket; how long to wait before the next.
    fn pace(&self, now: Instant) -> Duration {
        let Bucket { per_second, burst } = self.limits.accepts;
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(rate.at).as_secs_f64() * per_second;
        rate.tokens = (rate.tokens + gained).min(burst) - 1.0;
        rate.at = now;
        if rate.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-rate.tokens / per_second.max(0.001))
        }
    }

    fn admit_address(&self, address: IpAddr) -> Result<Option<IpAddr>, ()> {
        let Some(most) = self.limits.per_address else {
            return Ok(None);
        };
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        if *count >= most {
            return Err(());
        }
        *count += 1;
        Ok(Some(address))
    }
}

/// One listener on one shard.
pub struct Listen {
    /// Which listener.
    pub id: ListenerId,
    /// For its sessions.
    pub config: Arc<Config>,
    /// TLS, if it speaks it.
    pub tls: Option<TlsAcceptor>,
    /// Stratum V2, if it speaks that.
    pub noise: Option<Arc<Issuer>>,
    /// The shard.
    pub shard: Arc<Shard>,
    /// Shared by all.
    pub admission: Arc<Admission>,
    /// Its sessions, to be waited for.
    pub sessions: TaskTracker,
    /// Stop listening; sessions drain.
    pub cancel: CancellationToken,
}

/// Accepts until cancelled.
pub async fn run(listen: Arc<Listen>, listener: TcpListener) {
    let mut wait = BACKOFF.0;
    loop {
        let permit = tokio::select! {
            permit = permit(&listen) => permit,
            () = listen.cancel.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = listen.cancel.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                wait = BACKOFF.0;
                welcome(&listen, permit, stream, peer);
                let pause = listen.admission.pace(Instant::now());
                if !pause.is_zero() {
                    listen
                        .shard
                        .hub
                        .board
                        .refused_connection(RefusedConnection::Rate, Instant::now());
                    tokio::time::sleep(pause).await;
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept miners; trying again (are there enough file descriptors?)");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

async fn permit(listen: &Listen) -> OwnedSemaphorePermit {
    let permits = &listen.admission.permits;
    if let Ok(permit) = permits.clone().try_acquire_owned() {
        return permit;
    }
    listen
        .shard
        .hub
        .board
        .refused_connection(RefusedConnection::Cap, Instant::now());
    warn!(
        connections = listen.admission.limits.connections,
        "all connections are taken; new miners wait (limits.connections)"
    );
    permits
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed")
}

fn welcome(
    listen: &Arc<Listen>,
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let now = Instant::now();
    let Ok(address) = listen.admission.admit_address(peer.ip()) else {
        return listen
            .shard
            .hub
            .board
            .refused_connection(RefusedConnection::PerAddress, now);
    };
    let permit = Permit {
        admission: listen.admission.clone(),
        address,
        _permit: permit,
    };
    let hub = &listen.shard.hub;
    let id = SessionId(hub.next_session.fetch_add(1, Ordering::Relaxed));
    hub.board.connected(id, listen.id, peer, now);
    if let Some(power) = &hub.power {
        power.joined(id, peer.ip());
    }
    let guest = Guest {
        listen: listen.clone(),
        id,
        peer,
        _permit: permit,
    };
    listen.sessions.spawn(guest.welcome(stream));
}

/// A connection whose protocol is not known yet, and all that it needs whichever it is.
struct Guest {
    listen: Arc<Listen>,
    id: SessionId,
    peer: SocketAddr,
    _permit: Permit,
}

impl Guest {
    /// What it speaks decides what it meets. All but plain V1 is boxed, so that a plain miner does not pay for its size.
    async fn welcome(self, stream: TcpStream) {
        match Box::pin(self.first_word(&stream)).await {
            Some(Protocol::V1) => session::run(self.v1(stream, Vec::new())).await,
            Some(Protocol::Tls) => Box::pin(self.serve_tls(stream)).await,
            Some(Protocol::V2) => Box::pin(self.serve_v2(stream, Vec::new())).await,
            Some(Protocol::Foreign) => self.turn_away(Close::Malformed),
            None => {}
        }
    }

    /// By the first bytes, which stay in the socket; `None`: it is over already.
    async fn first_word(&self, stream: &TcpStream) -> Option<Protocol> {
        let mut bytes = [0; protocol::ENOUGH];
        let look = async {
            loop {
                match stream.peek(&mut bytes).await {
                    Ok(0) | Err(_) => return Err(Close::Peer),
                    Ok(len) => match Protocol::of(&bytes[..len]) {
                        Some(protocol) => return Ok(protocol),
                        // The same bytes would be there at once again; whoever sends in crumbs can wait.
                        None => tokio::time::sleep(CRUMBS).await,
                    },
                }
            }
        };
        self.in_time(look).await
    }

    /// Inside TLS the bytes cannot stay; they are given back.
    async fn first_word_inside<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
    ) -> Option<(Protocol, Vec<u8>)> {
        let mut bytes = Vec::with_capacity(protocol::ENOUGH);
        let look = async {
            loop {
                let room = protocol::ENOUGH - bytes.len();
                match (&mut *stream).take(room as u64).read_buf(&mut bytes).await {
                    Ok(0) | Err(_) => return Err(Close::Peer),
                    Ok(_) => {
                        if let Some(protocol) = Protocol::of(&bytes) {
                            return Ok(protocol);
                        }
                    }
                }
            }
        };
        let protocol = self.in_time(look).await?;
        Some((protocol, bytes))
    }

    async fn in_time<T>(&self, look: impl Future<Output = Result<T, Close>>) -> Option<T> {
        let found = tokio::select! {
            found = tokio::time::timeout(FIRST_BYTE, look) => found.unwrap_or(Err(Close::FirstByte)),
            () = self.listen.cancel.cancelled() => Err(Close::Draining),
        };
        match found {
            Ok(found) => Some(found),
            Err(why) => {
                self.turn_away(why);
                None
            }
        }
    }

    /// Nothing is said to who is turned away.
    fn turn_away(&self, why: Close) {
        let hub = &self.listen.shard.hub;
        hub.board.closed(self.id, why, Instant::now());
        if let Some(power) = &hub.power {
            power.left(self.id);
        }
    }

    fn refuse(&self, why: RefusedConnection) {
        let board = &self.listen.shard.hub.board;
        board.refused_connection(why, Instant::now());
        self.turn_away(Close::Malformed);
    }

    async fn serve_tls(self, stream: TcpStream) {
        let Some(acceptor) = self.listen.tls.clone() else {
            debug!(peer = %self.peer, "TLS on a listener without a certificate");
            return self.refuse(RefusedConnection::Tls);
        };
        let handshake = tokio::select! {
            done = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => done,
            () = self.listen.cancel.cancelled() => return self.turn_away(Close::Draining),
        };
        let mut stream = match handshake {
            Ok(Ok(stream)) => stream,
            failed => {
                debug!(peer = %self.peer, failed = ?failed.err(), "no TLS handshake");
                return self.refuse(RefusedConnection::Tls);
            }
        };
        let Some((protocol, first)) = self.first_word_inside(&mut stream).await else {
            return;
        };
        match protocol {
            Protocol::V1 => session::run(self.v1(stream, first)).await,
            Protocol::V2 => self.serve_v2(stream, first).await,
            Protocol::Tls | Protocol::Foreign => self.turn_away(Close::Malformed),
        }
    }

    /// What the task of a V1 session is given.
    fn v1<S>(&self, stream: S, first: Vec<u8>) -> Start<S> {
        let Self { listen, id, .. } = self;
        let mask = listen.shard.hub.masks[usize::from(listen.id.0)].load(Ordering::Relaxed);
        Start {
            stream,
            first,
            session: Session::new(Instant::now(), *id, listen.config.clone(), mask),
            id: *id,
            listener: listen.id,
            shard: listen.shard.clone(),
            cancel: listen.cancel.clone(),
        }
    }

    async fn serve_v2<S>(self, mut stream: S, first: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Self { listen, id, .. } = &self;
        let Some(issuer) = &listen.noise else {
            debug!(peer = %self.peer, "a Stratum V2 miner, or a stranger: there is no authority key (v2.authority_key)");
            return self.refuse(RefusedConnection::Noise);
        };
        let handshake = async {
            // A turn is for who can use it at once: two hundred half hellos would keep everybody out for ten seconds.
            let hello = noise::hello(&mut stream, &first).await?;
            let _turn = listen.admission.handshakes.acquire().await;
            noise::respond(stream, &hello, issuer).await
        };
        let stream = tokio::select! {
            done = handshake => done,
            () = listen.cancel.cancelled() => return self.turn_away(Close::Draining),
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(failed) => {
                debug!(peer = %self.peer, %failed, "no Noise handshake");
                return self.refuse(RefusedConnection::Noise);
            }
        };
        let hub = &listen.shard.hub;
        let mask = hub.masks[usize::from(listen.id.0)].load(Ordering::Relaxed);
        let (ids, config) = (hub.next_session.clone(), listen.config.clone());
        let session = v2::Session::new(Instant::now(), *id, ids, config, mask);
        session::v2::run(session::v2::Start {
            stream,
            session,
            id: *id,
            listener: listen.id,
            peer: self.peer,
            shard: listen.shard.clone(),
            cancel: listen.cancel.clone(),
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_plain_miner_is_small() {
        fn size_of_task<F: Future>(_: fn(Guest, TcpStream) -> F) -> usize {
            size_of::<F>()
        }
        // Ten thousand idle miners hold ten thousand of these: what is awaited inside counts once, not twice.
        let bytes = size_of_task(Guest::welcome);
        // Sixteen of them are for who came before its protocol was known.
        assert!(bytes <= 1808, "{bytes}");
    }
}
