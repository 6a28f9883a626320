//! What this machine must have for a configuration: free ports, descriptors, readable files, a ledger's folder, a clock.
//!
//! Pools are not asked here. Invariant: nothing is left changed.

use crate::config::{Config, Finding, Findings, Severity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the proxy opens besides its miners: pools, API, files, the runtime's own.
const OTHER_DESCRIPTORS: u64 = 256;
/// 2024-01-01: a clock before is one that was never set, and every ntime would be judged wrong.
const LEAST_UNIX_S: u64 = 1_704_067_200;

/// Everything but the pools.
pub(super) fn check(config: &Config) -> Findings {
    let mut findings = Findings::default();
    for listener in &config.listeners {
        let key = format!("listen.{}", listener.name);
        port(&format!("{key}.address"), listener.address, &mut findings);
        if let Some((certificate, private)) = &listener.tls {
            key_pair(&key, certificate, private, &mut findings);
        }
    }
    if let Some(api) = &config.api {
        port("api.listen", api.address, &mut findings);
    }
    for pool in &config.pools {
        if let Some(Some(ca)) = &pool.tls {
            let key = format!("pool.{}.ca", pool.link.name);
            certificates(&key, ca, &mut findings);
        }
    }
    if let Some(site) = &config.site {
        ledger(&site.ledger, &mut findings);
    }
    descriptors(config, &mut findings);
    clock(&mut findings);
    findings
}

fn error(key: &str, message: String, findings: &mut Findings) {
    findings.push(Finding::said(Severity::Error, key, message));
}

fn port(key: &str, address: SocketAddr, findings: &mut Findings) {
    if let Err(why) = TcpListener::bind(address) {
        error(key, format!("cannot listen on {address}: {why}"), findings);
    }
}

/// The ledger is made with its folder; whether the disk takes it is seen at start.
fn ledger(path: &Path, findings: &mut Findings) {
    let key = "curtail.ledger";
    let shown = path.display();
    if path.is_dir() {
        error(key, format!("{shown} is a folder"), findings);
        return;
    }
    if path.exists() && !path.is_file() {
        error(key, format!("{shown} is no ordinary file"), findings);
        return;
    }
    let above = path.ancestors().skip(1).find(|folder| folder.exists());
    match above.map(std::fs::metadata) {
        Some(Ok(folder)) if !folder.is_dir() => {
            let message = format!("{shown} cannot be made: a file is in the place of its folder");
            error(key, message, findings);
        }
        Some(Ok(folder)) if folder.permissions().readonly() => {
            let message = format!("{shown} cannot be made: its folder is read-only");
            error(key, message, findings);
        }
        Some(Err(why)) => error(key, format!("{shown} cannot be made: {why}"), findings),
        // No folder at all is the one of this process, for a bare name.
        Some(Ok(_)) | None => {}
    }
}

/// Soft limits are raised to the hard one at start, so the hard one counts.
fn descriptors(config: &Config, findings: &mut Findings) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let site = config.site.as_ref().map_or(0, |site| {
        let urls = site.gpu.as_ref().map_or(0, |gpu| gpu.urls.len());
        site.actuators.in_flight + urls
    });
    let need = config.limits.connections as u64 + site as u64 + OTHER_DESCRIPTORS;
    if let Some(most) = limit.maximum.filter(|most| *most < need) {
        let message = format!("need about {need} file descriptors, this process may have {most}");
        let finding = Finding::said(Severity::Error, "limits.connections", message);
        findings.push(finding.hint("raise `ulimit -Hn` or LimitNOFILE, or lower the key"));
    } else if let Some(now) = limit.current.filter(|now| *now < need) {
        let message = format!("need about {need} file descriptors; the soft limit is {now}");
        let finding = Finding::said(Severity::Warning, "limits.connections", message);
        findings.push(finding.hint("raise `ulimit -n` or LimitNOFILE"));
    }
}

fn clock(findings: &mut Findings) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    if since.map_or(0, |since| since.as_secs()) < LEAST_UNIX_S {
        error(
            "clock",
            "is before 2024: set it, shares are judged by it".to_owned(),
            findings,
        );
    }
}

/// A chain and its key, readable, and belonging together.
fn key_pair(key: &str, certificate: &Path, private: &Path, findings: &mut Findings) {
    let chain = certificates(&format!("{key}.tls.certificate"), certificate, findings);
    let private_key = PrivateKeyDer::from_pem_file(private);
    let path = format!("{key}.tls.key");
    let private_key = match private_key {
        Ok(private_key) => private_key,
        Err(why) => {
            let message = format!("no private key from {}: {why}", private.display());
            return error(&path, message, findings);
        }
    };
    let Some(chain) = chain else { return };
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let pair = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private_key)
        });
    if let Err(why) = pair {
        let message = format!("certificate and key cannot be used together: {why}");
        error(&path, message, findings);
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(
    key: &str,
    path: &Path,
    findings: &mut Findings,
) -> Option<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let why = match read {
        Ok(chain) if !Vec::is_empty(&chain) => return Some(chain),
        Ok(_) => "there is none in it".to_owned(),
        Err(why) => why.to_string(),
    };
    let message = format!("no certificate from {}: {why}", path.display());
    error(key, message, findings);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> Config {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n{listen}\n[limits]\nconnections = 1\n[api]\nenabled = false\n\
             [[pool]]\nurl = \"127.0.0.1:1\"\nuser = \"a\"\n"
        );
        Config::from_toml("x", &text, &|_| None).expect("valid")
    }

    fn lines(config: &Config) -> Vec<String> {
        check(config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_machine_that_has_all_it_takes_is_silent() {
        assert_eq!(lines(&config("")), [""; 0]);
    }

    #[test]
    fn a_port_that_is_taken_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = taken.local_addr().expect("bound");
        let mut config = config("");
        config.listeners[0].address = address;
        let lines = lines(&config);
        assert_eq!(lines.len(), 1);
        let start = format!("listen.main.address: cannot listen on {address}: ");
        assert!(lines[0].starts_with(&start), "{lines:?}");
    }

    #[test]
    fn a_ledger_that_cannot_be_made_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "").expect("written");
        for (path, end) in [
            ("ledger.db", None),
            ("not/yet/ledger.db", None),
            ("", Some("is a folder")),
            ("/dev/null", Some("is no ordinary file")),
            (
                "file/ledger.db",
                Some("a file is in the place of its folder"),
            ),
        ] {
            let mut findings = Findings::default();
            ledger(&folder.path().join(path), &mut findings);
            let said = findings.iter().next().map(ToString::to_string);
            match end {
                None => assert_eq!(said, None),
                Some(end) => assert!(said.expect("found").ends_with(end), "{path}"),
            }
        }
    }

    #[test]
    fn more_miners_than_descriptors_are_found() {
        let mut config = config("");
        config.limits.connections = usize::MAX / 2;
        let limited = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        assert_eq!(lines(&config).len(), usize::from(limited.is_some()));
    }

    #[test]
    fn certificate_and_key_must_be_there_and_belong_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let two = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let certificate = write("a.crt", &one.cert.pem());
        let key = write("a.key", &one.signing_key.serialize_pem());
        let other = write("b.key", &two.signing_key.serialize_pem());
        let mut config = config("");
        let mut with = |certificate: &Path, key: &Path| {
            config.listeners[0].tls = Some((certificate.to_owned(), key.to_owned()));
            lines(&config)
        };
        assert_eq!(with(&certificate, &key), [""; 0]);
        let mismatch = with(&certificate, &other);
        assert!(mismatch[0].starts_with("listen.main.tls.key: certificate and key cannot be used"));
        let swapped = with(&key, &certificate);
        assert!(swapped[0].starts_with("listen.main.tls.certificate: no certificate from"));
        assert!(swapped[1].starts_with("listen.main.tls.key: no private key from"));
        let missing = with(&folder.path().join("none"), &key);
        assert_eq!(missing.len(), 1, "{missing:?}");
    }
}
