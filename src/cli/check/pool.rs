//! Asks one pool whether it is there: name, TCP, TLS, and (if wanted) a login, by a small blocking client.
//!
//! Of V1; V2 is in pool/v2.rs. It never mines and never submits. Invariant: it is over within the sum of its time limits whatever the pool does.

mod v2;

use super::environment;
use crate::config::{Finding, Findings, Pool, Severity};
use crate::stratum::v1::up::{self, Message, Outcome, request};
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// TCP and each step of TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// From the login to difficulty and first work; a pool that is slower is dead to a link as well (STRATUM.md section 2: 15 s).
const LOGIN: Duration = Duration::from_secs(15);
/// Most that is read from a pool here: twice the longest line it may send.
const MOST_BYTES: usize = 256 * 1024;

const CONFIGURE: u64 = 1;
const SUBSCRIBE: u64 = 2;
const AUTHORIZE: u64 = 3;

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Connects, and logs in if wanted.
pub(super) fn check(pool: &Pool, login: bool) -> Findings {
    let mut findings = Findings::default();
    let key = format!("pool.{}.url", pool.link.name);
    let result = match pool.authority {
        Some(authority) => v2::check(pool, authority, login),
        None => connect(pool, &mut findings).and_then(|(stream, socket)| match login {
            true => log_in(pool, stream, &socket),
            false => Ok(None),
        }),
    };
    match result {
        Ok(None) => {}
        Ok(Some(told)) => findings.push(Finding::said(Severity::Note, &key, told)),
        Err(why) => findings.push(Finding::said(Severity::Error, &key, why)),
    }
    findings
}

/// A stream to talk through, and its socket to set time limits on.
fn connect(pool: &Pool, findings: &mut Findings) -> Result<(Box<dyn Stream>, TcpStream), String> {
    let (host, port) = (pool.host.as_str(), pool.port);
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|why| format!("{host} is not found: {why}"))?;
    let mut last = format!("{host} has no address");
    // More addresses than this would only add time limits.
    for address in addresses.take(4) {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => return encrypt(pool, socket, findings),
            Err(why) => last = format!("cannot connect to {address}: {why}"),
        }
    }
    Err(last)
}

fn encrypt(
    pool: &Pool,
    mut socket: TcpStream,
    findings: &mut Findings,
) -> Result<(Box<dyn Stream>, TcpStream), String> {
    let words = |why: std::io::Error| why.to_string();
    socket.set_read_timeout(Some(CONNECT)).map_err(words)?;
    socket.set_write_timeout(Some(CONNECT)).map_err(words)?;
    let second = socket.try_clone().map_err(words)?;
    let Some(ca) = &pool.tls else {
        return Ok((Box::new(socket), second));
    };
    let config = client_config(pool, ca.as_deref(), findings)?;
    let name = ServerName::try_from(pool.host.clone()).map_err(|why| why.to_string())?;
    let mut session =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|why| why.to_string())?;
    let begun = Instant::now();
    while session.is_handshaking() {
        if begun.elapsed() > CONNECT {
            return Err("TLS: the handshake takes too long".to_owned());
        }
        session
            .complete_io(&mut socket)
            .map_err(|why| format!("TLS: {why}"))?;
    }
    Ok((Box::new(rustls::StreamOwned::new(session, socket)), second))
}

fn client_config(
    pool: &Pool,
    ca: Option<&Path>,
    findings: &mut Findings,
) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
        Some(ca) => {
            let key = format!("pool.{}.ca", pool.link.name);
            let chain = environment::certificates(&key, ca, findings).unwrap_or_default();
            roots.add_parsable_certificates(chain);
        }
    }
    if roots.is_empty() {
        return Err("TLS: there is no certificate authority to trust".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What a pool tells before its first work.
#[derive(Default)]
struct Told {
    extranonce: Option<up::Extranonce>,
    difficulty: Option<f64>,
    mask: Option<u32>,
    authorized: bool,
    work: bool,
}

impl Told {
    fn is_whole(&self) -> bool {
        self.extranonce.is_some() && self.authorized && self.work
    }

    fn words(&self) -> String {
        let mut words = match &self.extranonce {
            Some(e) => format!("extranonce {} + {} bytes", e.extranonce1.len(), e.size),
            None => "no extranonce".to_owned(),
        };
        match self.difficulty {
            Some(difficulty) => words += &format!(", difficulty {difficulty}"),
            None => words += ", no difficulty given",
        }
        match self.mask {
            Some(mask) => words += &format!(", version mask {mask:08x}"),
            None => words += ", no version rolling",
        }
        words
    }
}

fn log_in(
    pool: &Pool,
    mut stream: Box<dyn Stream>,
    socket: &TcpStream,
) -> Result<Option<String>, String> {
    let mut out = Vec::new();
    if pool.link.version_mask != 0 {
        request::configure(&mut out, CONFIGURE, pool.link.version_mask);
    }
    request::subscribe(
        &mut out,
        SUBSCRIBE,
        concat!("sluice/", env!("CARGO_PKG_VERSION")),
    );
    let user = pool.link.user.replace("{worker}", "check");
    request::authorize(&mut out, AUTHORIZE, &user, &pool.link.password);
    let wrote = stream.write_all(&out).and_then(|()| stream.flush());
    wrote.map_err(|why| format!("login: {why}"))?;
    let mut told = Told::default();
    listen(&mut *stream, socket, &mut told)?;
    match told.extranonce.as_ref() {
        Some(extranonce) if extranonce.size < 4 => Err(format!(
            "its extranonce2 of {} bytes is too short to share among miners (4 are needed)",
            extranonce.size
        )),
        _ => Ok(Some(format!("logged in: {}", told.words()))),
    }
}

/// Reads lines until all is told; errors are the pool's or the clock's.
fn listen(stream: &mut dyn Stream, socket: &TcpStream, told: &mut Told) -> Result<(), String> {
    let end = Instant::now() + LOGIN;
    let (mut bytes, mut done) = (Vec::new(), 0);
    let mut chunk = [0; 4096];
    while !told.is_whole() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || bytes.len() > MOST_BYTES {
            return Err(format!(
                "login: not complete after {} s: {}",
                LOGIN.as_secs(),
                told.words()
            ));
        }
        let _ = socket.set_read_timeout(Some(left.max(Duration::from_millis(1))));
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Err("login: the pool closed the connection".to_owned()),
            Ok(read) => read,
            Err(why) if is_timeout(&why) => continue,
            Err(why) => return Err(format!("login: {why}")),
        };
        bytes.extend_from_slice(&chunk[..read]);
        while let Some(length) = bytes[done..].iter().position(|b| *b == b'\n') {
            hear(bytes[done..done + length].trim_ascii(), told)?;
            done += length + 1;
        }
    }
    Ok(())
}

fn is_timeout(why: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(why.kind(), Interrupted | TimedOut | WouldBlock)
}

fn hear(line: &[u8], told: &mut Told) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    match up::parse(line).map_err(|why| format!("login: the pool sent something else: {why}"))? {
        Message::SetDifficulty(difficulty) => told.difficulty = difficulty.map(|d| d.value()),
        Message::SetExtranonce(Some(extranonce)) => told.extranonce = Some(extranonce),
        Message::SetVersionMask(mask) => told.mask = mask,
        Message::Notify(_) => told.work = true,
        Message::Response { id, outcome } => match (id, outcome) {
            (Some(CONFIGURE), Outcome::Ok(raw)) => told.mask = up::configure_result(raw),
            (Some(SUBSCRIBE), Outcome::Ok(raw)) => told.extranonce = up::subscribe_result(raw),
            (Some(AUTHORIZE), Outcome::Ok(_)) => told.authorized = true,
            (Some(AUTHORIZE), Outcome::Refused(refusal)) => {
                return Err(format!("login refused: {:?}", refusal.text));
            }
            (Some(SUBSCRIBE), Outcome::Refused(refusal)) => {
                return Err(format!("subscribe refused: {:?}", refusal.text));
            }
            _ => {}
        },
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::net::{SocketAddr, TcpListener};

    fn pool(url: &str, more: &str) -> Pool {
        let text = format!("[[pool]]\nurl = \"{url}\"\nuser = \"a.{{worker}}\"\n{more}\n");
        let config = Config::from_toml("x", &text, &|_| None).expect("valid");
        config.pools.into_iter().next().expect("one")
    }

    fn lines(findings: &Findings) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    /// Serves one connection in a thread.
    fn serve(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || serve(listener.accept().expect("a connection").0));
        address
    }

    /// Says everything that a pool says, whatever it was asked.
    fn talk(mut socket: impl Read + Write, authorized: &str) {
        let mut some = [0; 64];
        let _ = socket.read(&mut some);
        let zeros = "00".repeat(32);
        let lines = format!(
            "{{\"id\":1,\"result\":{{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\"}},\"error\":null}}\n\
             {{\"id\":2,\"result\":[[],\"aabbccdd\",8],\"error\":null}}\n\
             {{\"id\":3,{authorized}}}\n\
             {{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1024]}}\n\
             {{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"1\",\"{zeros}\",\"00\",\"00\",[],\"20000000\",\"1d00ffff\",\"65000000\",true]}}\n"
        );
        let _ = socket.write_all(lines.as_bytes());
        // Until the client goes.
        while socket.read(&mut some).is_ok_and(|read| read > 0) {}
    }

    #[test]
    fn a_pool_that_answers_is_silent_and_one_that_does_not_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let pool = pool(&address.to_string(), "");
        assert_eq!(lines(&check(&pool, false)), [""; 0]);
        drop(listener);
        let found = lines(&check(&pool, false));
        let start = format!("pool.127.0.0.1.url: cannot connect to {address}: ");
        assert!(
            found.len() == 1 && found[0].starts_with(&start),
            "{found:?}"
        );
    }

    #[test]
    fn a_pool_with_an_authority_of_its_own_is_trusted_only_by_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).expect("written");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"));
        let server = Arc::new(server.expect("they belong together"));
        let answer = |server: Arc<rustls::ServerConfig>| {
            serve(move |mut socket| {
                let mut session = rustls::ServerConnection::new(server).expect("valid");
                while session.is_handshaking() && session.complete_io(&mut socket).is_ok() {}
            })
        };
        let url = |address: SocketAddr| format!("stratum+ssl://localhost:{}", address.port());
        let with = format!("ca = {:?}", ca.display().to_string());
        let trusted = pool(&url(answer(server.clone())), &with);
        assert_eq!(lines(&check(&trusted, false)), [""; 0]);
        let unknown = pool(&url(answer(server)), "");
        let found = lines(&check(&unknown, false));
        assert!(
            found.len() == 1 && found[0].starts_with("pool.localhost.url: TLS: "),
            "{found:?}"
        );
    }

    #[test]
    fn a_login_tells_what_the_pool_gives() {
        let address = serve(|socket| talk(socket, "\"result\":true,\"error\":null"));
        let found = lines(&check(&pool(&address.to_string(), ""), true));
        let told = "note: pool.127.0.0.1.url: logged in: extranonce 4 + 8 bytes, difficulty 1024, version mask 1fffe000";
        assert_eq!(found, [told]);
    }

    #[test]
    fn a_refused_login_is_found_in_the_pools_words() {
        let address = serve(|socket| talk(socket, "\"result\":null,\"error\":[24,\"who?\",null]"));
        let found = lines(&check(&pool(&address.to_string(), ""), true));
        assert_eq!(found, ["pool.127.0.0.1.url: login refused: \"who?\""]);
    }
}
