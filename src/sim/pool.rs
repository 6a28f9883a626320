//! A simulated pool on real sockets, of V1 or V2: listens, reads, writes, and can freeze, die and come back.
//!
//! What it says is decided in a [`PoolCore`] (poolcore.rs, v2/poolcore.rs). Invariant: the core is touched under one lock that no await crosses, and
//! whatever it wants written is handed out before that lock is let go, so a connection sees one order.

use super::changes::Changes;
use super::poolcore::{ConnectionId, PoolConfig, PoolOutput, PoolStats, SimPool};
use super::v2::{Authority, noise::Noise};
use super::wire::Cutter;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;

/// Segments that may wait for a connection; one that reads slower is closed.
const SEGMENTS_WAITING: usize = 1024;
/// After a failed accept (too many descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What decides for a pool; the driver calls it under its lock and drains it after each call.
pub trait PoolCore: Debug + Send + 'static {
    /// A snapshot of what it counted.
    type Stats: Send;
    /// What of a connection the driver keeps between two reads.
    type Cutter: Default + Send;

    /// A connection was accepted.
    fn connected(&mut self, id: ConnectionId);
    /// A connection ended.
    fn disconnected(&mut self, id: ConnectionId);
    /// Plaintext of a connection; `false`: it must end.
    fn handle_bytes(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cutter: &mut Self::Cutter,
        bytes: &[u8],
    ) -> bool;
    /// Time passed.
    fn handle_timeout(&mut self, now: Instant);
    /// When to call [`PoolCore::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;
    /// What to do next.
    fn poll_output(&mut self) -> Option<PoolOutput>;
    /// A new block, to everyone.
    fn new_block(&mut self, now: Instant);
    /// A new job on the same block, to everyone.
    fn new_job(&mut self, now: Instant);
    /// Reads and sends nothing while frozen.
    fn set_frozen(&mut self, frozen: bool);
    /// What it counted.
    fn stats(&self) -> Self::Stats;
}

impl PoolCore for SimPool {
    type Stats = PoolStats;
    type Cutter = Cutter;

    fn connected(&mut self, id: ConnectionId) {
        self.connected(id);
    }

    fn disconnected(&mut self, id: ConnectionId) {
        self.disconnected(id);
    }

    fn handle_bytes(
        &mut self,
        now: Instant,
        id: ConnectionId,
        cutter: &mut Cutter,
        bytes: &[u8],
    ) -> bool {
        cutter.push(bytes, |line| self.handle_line(now, id, line))
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn poll_output(&mut self) -> Option<PoolOutput> {
        self.poll_output()
    }

    fn new_block(&mut self, now: Instant) {
        self.new_block(now);
    }

    fn new_job(&mut self, now: Instant) {
        self.new_job(now);
    }

    fn set_frozen(&mut self, frozen: bool) {
        self.set_frozen(frozen);
    }

    fn stats(&self) -> PoolStats {
        self.stats()
    }
}

/// What a pool's connections are wrapped in.
#[derive(Debug)]
pub(super) enum Secrecy {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(Arc<ServerConfig>),
    /// Noise, with certificates of this authority.
    Noise(Authority),
}

/// Starts simulated pools.
#[derive(Debug)]
pub struct Pool;

/// A running pool; clones are the same pool.
#[derive(Debug)]
pub struct PoolHandle<C: PoolCore = SimPool> {
    shared: Arc<Shared<C>>,
}

impl<C: PoolCore> Clone for PoolHandle<C> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

#[derive(Debug)]
struct Shared<C> {
    inner: Mutex<Inner<C>>,
    changed: Changes,
    timer: Notify,
    address: SocketAddr,
    secrecy: Secrecy,
    end: CancellationToken,
}

#[derive(Debug)]
struct Inner<C> {
    core: C,
    writers: BTreeMap<ConnectionId, Writer>,
    next_id: ConnectionId,
    listening: Option<(CancellationToken, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Writer {
    segments_tx: mpsc::Sender<Vec<u8>>,
    cut: CancellationToken,
}

/// A connection's number, what to write to it, and its end.
type Opened = (ConnectionId, mpsc::Receiver<Vec<u8>>, CancellationToken);

impl Pool {
    /// Binds `listen` (port 0: any) and serves it on the present tokio runtime; with `tls`, inside TLS.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(
        listen: SocketAddr,
        config: PoolConfig,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<PoolHandle> {
        let core = SimPool::new(config, Instant::now());
        Self::serve(listen, core, tls.map_or(Secrecy::Plain, Secrecy::Tls))
    }

    /// The same for any core.
    pub(super) fn serve<C: PoolCore>(
        listen: SocketAddr,
        core: C,
        secrecy: Secrecy,
    ) -> io::Result<PoolHandle<C>> {
        let listener = bind(listen)?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            inner: Mutex::new(Inner {
                core,
                writers: BTreeMap::new(),
                next_id: 1,
                listening: None,
            }),
            changed: Changes::default(),
            timer: Notify::new(),
            secrecy,
            end: CancellationToken::new(),
        });
        let handle = PoolHandle { shared };
        handle.listen(listener);
        tokio::spawn(keep_time(handle.shared.clone()));
        Ok(handle)
    }
}

impl<C: PoolCore> PoolHandle<C> {
    /// Where it listens (or listened, while killed).
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> C::Stats {
        self.shared.lock().core.stats()
    }

    /// Waits until the counters satisfy `wanted`.
    ///
    /// # Errors
    /// With the counters as they are when the time is over.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&C::Stats) -> bool,
    ) -> Result<C::Stats, Box<C::Stats>> {
        let changed = &self.shared.changed;
        changed.wait_for(within, || self.stats(), wanted).await
    }

    /// Does something with the core: new blocks, difficulties, refusals (see [`SimPool`], [`SimPoolV2`](super::v2::SimPoolV2)).
    pub fn with<T>(&self, act: impl FnOnce(&mut C, Instant) -> T) -> T {
        self.shared.with(act)
    }

    /// A new block, clean, to everyone.
    pub fn new_block(&self) {
        self.with(C::new_block);
    }

    /// A new job on the same block, to everyone.
    pub fn new_job(&self) {
        self.with(C::new_job);
    }

    /// Goes silent, connections open; or wakes up again.
    pub fn freeze(&self, frozen: bool) {
        self.with(|core, _| core.set_frozen(frozen));
    }

    /// Stops listening and resets every connection; returns when all are gone.
    pub async fn kill(&self) {
        let listening = self.shared.lock().listening.take();
        if let Some((cut, task)) = listening {
            cut.cancel();
            let _ = task.await; // a panic in it has been told by its thread
        }
        for writer in self.shared.lock().writers.values() {
            writer.cut.cancel();
        }
        let mut changed = self.shared.changed.subscribe();
        while !self.shared.lock().writers.is_empty() && changed.changed().await.is_ok() {}
    }

    /// Listens again on the same address.
    ///
    /// # Errors
    /// When somebody else took it meanwhile.
    pub fn resume(&self) -> io::Result<()> {
        self.freeze(false);
        if self.shared.lock().listening.is_none() {
            self.listen(bind(self.shared.address)?);
        }
        Ok(())
    }

    /// Ends for good.
    pub async fn stop(&self) {
        self.kill().await;
        self.shared.end.cancel();
    }

    fn listen(&self, listener: TcpListener) {
        let cut = CancellationToken::new();
        let task = tokio::spawn(accept(self.shared.clone(), listener, cut.clone()));
        self.shared.lock().listening = Some((cut, task));
    }
}

impl<C: PoolCore> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner
            .lock()
            .expect("nothing under this lock panics half-way")
    }

    fn with<T>(&self, act: impl FnOnce(&mut C, Instant) -> T) -> T {
        let mut inner = self.lock();
        let result = act(&mut inner.core, Instant::now());
        while let Some(output) = inner.core.poll_output() {
            inner.apply(output);
        }
        drop(inner);
        self.timer.notify_one();
        self.changed.tell();
        result
    }

    fn open(&self) -> Opened {
        let (segments_tx, segments_rx) = mpsc::channel(SEGMENTS_WAITING);
        let cut = self.end.child_token();
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        let writer = Writer {
            segments_tx,
            cut: cut.clone(),
        };
        inner.writers.insert(id, writer);
        drop(inner);
        self.with(|core, _| core.connected(id));
        (id, segments_rx, cut)
    }

    fn close(&self, id: ConnectionId) {
        self.lock().writers.remove(&id);
        self.with(|core, _| core.disconnected(id));
    }
}

impl<C> Inner<C> {
    fn apply(&mut self, output: PoolOutput) {
        match output {
            PoolOutput::Write(id, bytes) => {
                let slow = |w: &Writer| w.segments_tx.try_send(bytes).is_err();
                if let Some(writer) = self.writers.get(&id)
                    && slow(writer)
                {
                    writer.cut.cancel();
                }
            }
            PoolOutput::Close(id) => {
                if let Some(writer) = self.writers.get(&id) {
                    writer.cut.cancel();
                }
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn keep_time<C: PoolCore>(shared: Arc<Shared<C>>) {
    loop {
        let at = shared.lock().core.poll_timeout();
        let sleep = async {
            match at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => shared.with(|core, now| core.handle_timeout(now)),
            () = shared.timer.notified() => {}
            () = shared.end.cancelled() => return,
        }
    }
}

async fn accept<C: PoolCore>(
    shared: Arc<Shared<C>>,
    listener: TcpListener,
    cut: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cut.cancelled() => return,
        };
        match accepted {
            // Opened before its task runs, so that a kill that follows sees it.
            Ok((stream, _)) => {
                let opened = shared.open();
                drop(tokio::spawn(serve(shared.clone(), stream, opened)));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve<C: PoolCore>(shared: Arc<Shared<C>>, mut stream: TcpStream, opened: Opened) {
    let _ = stream.set_nodelay(true); // a socket already dead shows itself at the first read
    let (id, segments_rx, cut) = opened;
    match &shared.secrecy {
        Secrecy::Plain => {
            let stream = converse(&shared, id, stream, None, segments_rx, &cut).await;
            reset_if(cut.is_cancelled(), &stream);
        }
        Secrecy::Tls(config) => {
            let accepted = tokio::select! {
                accepted = TlsAcceptor::from(config.clone()).accept(stream) => accepted.ok(),
                () = cut.cancelled() => None,
            };
            if let Some(stream) = accepted {
                let stream = converse(&shared, id, stream, None, segments_rx, &cut).await;
                reset_if(cut.is_cancelled(), stream.get_ref().0);
            }
        }
        Secrecy::Noise(authority) => {
            let noise = tokio::select! {
                noise = Noise::respond(&mut stream, authority) => noise.ok(),
                () = cut.cancelled() => None,
            };
            if let Some(noise) = noise {
                stream = converse(&shared, id, stream, Some(noise), segments_rx, &cut).await;
            }
            reset_if(cut.is_cancelled(), &stream);
        }
    }
    shared.close(id);
}

/// A pool that dies does not say goodbye: RST, not FIN.
fn reset_if(cut: bool, stream: &TcpStream) {
    if cut {
        let _ = stream.set_zero_linger(); // without it the peer sees FIN, which is as dead
    }
}

/// Reads and writes until either side ends; hands the stream back so that the caller chooses how it closes.
async fn converse<C: PoolCore, S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared<C>,
    id: ConnectionId,
    mut stream: S,
    mut noise: Option<Noise>,
    mut segments_rx: mpsc::Receiver<Vec<u8>>,
    cut: &CancellationToken,
) -> S {
    let mut cutter = C::Cutter::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let segment = tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(n @ 1..) => {
                    let opened = match &mut noise {
                        Some(noise) => noise.open(&buffer[..n]),
                        None => Ok(buffer[..n].to_vec()),
                    };
                    let take = |bytes: Vec<u8>| {
                        shared.with(|core, now| core.handle_bytes(now, id, &mut cutter, &bytes))
                    };
                    if !opened.is_ok_and(take) {
                        return stream;
                    }
                    continue;
                }
                _ => return stream,
            },
            segment = segments_rx.recv() => segment,
            () = cut.cancelled() => return stream,
        };
        let Some(segment) = segment else {
            return stream;
        };
        let segment = match &mut noise {
            Some(noise) => noise.seal(&segment),
            None => segment,
        };
        let written = tokio::select! {
            written = write(&mut stream, &segment) => written.is_ok(),
            () = cut.cancelled() => false,
        };
        if !written {
            return stream;
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, segment: &[u8]) -> io::Result<()> {
    stream.write_all(segment).await?;
    stream.flush().await
}
