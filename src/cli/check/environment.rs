//! What this machine must have for a configuration: free ports, descriptors, readable files, a clock.
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

/// Soft limits are raised to the hard one at start, so the hard one counts.
fn descriptors(config: &Config, findings: &mut Findings) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let need = config.limits.connections as u64 + OTHER_DESCRIPTORS;
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
