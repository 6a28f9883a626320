//! The simulated pool on real sockets: listens, reads, writes, and can freeze, die and come back.
//!
//! What it says is decided in poolcore.rs. Invariant: the core is touched under one lock that no await crosses, and
//! whatever it wants written is handed out before that lock is let go, so a connection sees one order.

use super::changes::Changes;
use super::poolcore::{ConnectionId, PoolConfig, PoolOutput, PoolStats, SimPool};
use super::wire::Cutter;
use std::{
    collections::BTreeMap,
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

/// Starts simulated pools.
#[derive(Debug)]
pub struct Pool;

/// A running pool; clones are the same pool.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Changes,
    timer: Notify,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    end: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    core: SimPool,
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
        let listener = bind(listen)?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            inner: Mutex::new(Inner {
                core: SimPool::new(config, Instant::now()),
                writers: BTreeMap::new(),
                next_id: 1,
                listening: None,
            }),
            changed: Changes::default(),
            timer: Notify::new(),
            tls,
            end: CancellationToken::new(),
        });
        let handle = PoolHandle { shared };
        handle.listen(listener);
        tokio::spawn(keep_time(handle.shared.clone()));
        Ok(handle)
    }
}

impl PoolHandle {
    /// Where it listens (or listened, while killed).
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> PoolStats {
        self.shared.lock().core.stats()
    }

    /// Waits until the counters satisfy `wanted`.
    ///
    /// # Errors
    /// With the counters as they are when the time is over.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&PoolStats) -> bool,
    ) -> Result<PoolStats, Box<PoolStats>> {
        let changed = &self.shared.changed;
        changed.wait_for(within, || self.stats(), wanted).await
    }

    /// Does something with the core: new blocks, difficulties, refusals (see [`SimPool`]).
    pub fn with<T>(&self, act: impl FnOnce(&mut SimPool, Instant) -> T) -> T {
        self.shared.with(act)
    }

    /// A new block, clean, to everyone.
    pub fn new_block(&self) {
        self.with(SimPool::new_block);
    }

    /// A new job on the same block, to everyone.
    pub fn new_job(&self) {
        self.with(SimPool::new_job);
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under this lock panics half-way")
    }

    fn with<T>(&self, act: impl FnOnce(&mut SimPool, Instant) -> T) -> T {
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

impl Inner {
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

async fn keep_time(shared: Arc<Shared>) {
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

async fn accept(shared: Arc<Shared>, listener: TcpListener, cut: CancellationToken) {
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

async fn serve(shared: Arc<Shared>, stream: TcpStream, opened: Opened) {
    let _ = stream.set_nodelay(true); // a socket already dead shows itself at the first read
    let (id, segments_rx, cut) = opened;
    match shared.tls.clone() {
        None => {
            let stream = converse(&shared, id, stream, segments_rx, &cut).await;
            reset_if(cut.is_cancelled(), &stream);
        }
        Some(config) => {
            let accepted = tokio::select! {
                accepted = TlsAcceptor::from(config).accept(stream) => accepted.ok(),
                () = cut.cancelled() => None,
            };
            if let Some(stream) = accepted {
                let stream = converse(&shared, id, stream, segments_rx, &cut).await;
                reset_if(cut.is_cancelled(), stream.get_ref().0);
            }
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
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    id: ConnectionId,
    mut stream: S,
    mut segments_rx: mpsc::Receiver<Vec<u8>>,
    cut: &CancellationToken,
) -> S {
    let mut cutter = Cutter::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let segment = tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(n @ 1..) => {
                    let line = |line: &[u8]| {
                        shared.with(|core, now| core.handle_line(now, id, line));
                    };
                    if !cutter.push(&buffer[..n], line) {
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
