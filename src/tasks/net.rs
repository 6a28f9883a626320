//! Sockets: plain or TLS behind one type, options, certificates. No protocol.

use super::noise::{self, NoiseStream};
use crate::stratum::v2::frame;
use crate::stratum::v2::noise::AuthorityPublic;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Connections that wait for accept: a whole farm powers up at once (the kernel caps it at `somaxconn`).
const BACKLOG: i32 = 65_535;
/// Data unacknowledged for this long ends a connection: something is sent every 30 s, so a vanished miner is noticed.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// A pool has this long to accept, and to finish its TLS handshake.
pub const CONNECT: Duration = Duration::from_secs(5);

/// A byte stream, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Inside TLS, from either side.
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    /// Inside Noise: the frames of Stratum V2.
    Noise(Box<NoiseStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Noise(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Noise(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Noise(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Noise(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Binds an address once per shard (`SO_REUSEPORT`). Port 0 becomes one real port for all.
///
/// # Errors
/// The address is taken (also by another process that shares ports), not allowed or not ours.
pub fn bind(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    // Port sharing would let a second proxy steal half of the connections in silence: ask without it first.
    let exclusive = socket(address, false)?;
    let address = exclusive.local_addr()?.as_socket().unwrap_or(address);
    drop(exclusive);
    (0..shards.max(1))
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit these: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Options of a connection to a pool.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)))
}

/// Connects to a pool, through TLS if there is a connector and through Noise if there is an authority, within [`CONNECT`]
/// for each step (Noise: [`noise::HANDSHAKE`]).
///
/// # Errors
/// In words for a person.
pub async fn connect(
    host: &str,
    port: u16,
    tls: Option<&TlsConnector>,
    authority: Option<AuthorityPublic>,
) -> Result<Stream, String> {
    let timed_out = |what: &str| format!("{what} took more than {} s", CONNECT.as_secs());
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| timed_out("connecting"))?
        .map_err(|error| format!("cannot connect: {error}"))?;
    tune(&stream).map_err(|error| error.to_string())?;
    if let Some(authority) = authority {
        // Its own deadline is longer: a pool of SRI's answers only once it has a template.
        let mut stream = noise::initiate(stream, authority)
            .await
            .map_err(|error| format!("the Noise handshake: {error}"))?;
        stream.set_max(frame::MAX_UP);
        return Ok(Stream::Noise(Box::new(stream)));
    }
    let Some(connector) = tls else {
        return Ok(Stream::Plain(stream));
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name for TLS"))?;
    let stream = tokio::time::timeout(CONNECT, connector.connect(name, stream))
        .await
        .map_err(|_| timed_out("the TLS handshake"))?
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// TLS towards pools: the system's authorities, or one CA file instead.
///
/// # Errors
/// In words for a person: the file cannot be read or holds no certificate.
pub fn connector(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// TLS towards miners, from a certificate chain and its key (PEM).
///
/// # Errors
/// In words for a person, naming the file.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("{}: no private key in it: {error}", key.display()))?;
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| format!("{}: {error}", certificate.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(format!("{}: no certificate in it", path.display())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
