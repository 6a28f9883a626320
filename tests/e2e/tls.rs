//! TLS on both sides: a listener with its own certificate, a pool with its own authority, and what is not TLS at all.

use crate::lab::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use serde_json::json;
use sluice::sim::pool::{Pool, PoolHandle};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// An authority and a certificate of 127.0.0.1 that it has signed.
struct Pki {
    folder: TempDir,
    authority: rcgen::Certificate,
    leaf: rcgen::Certificate,
    key: KeyPair,
}

impl Pki {
    fn new() -> Self {
        let authority_key = KeyPair::generate().expect("entropy");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).expect("signed");
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().expect("entropy");
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let leaf = names.signed_by(&key, &issuer).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Self {
            folder,
            authority,
            leaf,
            key,
        };
        pki.write("ca.pem", &pki.authority.pem());
        pki.write("chain.pem", &pki.leaf.pem());
        pki.write("key.pem", &pki.key.serialize_pem());
        pki
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a folder of ours");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn listen(&self) -> String {
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\ndifficulty = {{ fixed = {EASY} }}\n\
             tls = {{ certificate = \"{}\", key = \"{}\" }}\n",
            self.path("chain.pem").display(),
            self.path("key.pem").display()
        )
    }

    fn pool(&self) -> PoolHandle {
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let chain = vec![self.leaf.der().clone()];
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider's own")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a key of ours");
        let _inside = RUNTIME.enter();
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        Pool::start(any, easy_pool(), Some(Arc::new(config))).expect("a free port")
    }

    fn dial(&self, to: SocketAddr) -> Peer<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.authority.der().clone())
            .expect("an authority");
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider's own")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let session = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(to).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a live socket");
        Peer::new(StreamOwned::new(session, stream))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn ssl(name: &str, address: SocketAddr, ca: &std::path::Path) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\nurl = \"stratum+ssl://{address}\"\nuser = \"acct\"\nca = \"{}\"\n",
        ca.display()
    )
}

#[test]
fn shares_flow_through_tls_on_both_sides_and_garbage_costs_only_its_connection() {
    let pki = Pki::new();
    let sim = pki.pool();
    let section = ssl("tls", sim.address(), &pki.path("ca.pem"));
    let proxy = Proxy::start(&format!("{}{section}{LAB}", pki.listen()));
    let mut miner = Mining::login(pki.dial(proxy.listeners[0]), "w", &json!(["tls"]));
    miner.share();

    let mut garbage = Peer::connect(proxy.listeners[0]);
    garbage.send_bytes(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n");
    let mut scanner = Peer::connect(proxy.listeners[0]);
    scanner.send_bytes(&[0x16, 0x03, 0x01, 0xff, 0xff, 0, 0, 0]);
    drop(scanner);
    while let Ok(n @ 1..) = std::io::Read::read(&mut garbage.stream, &mut [0; 256]) {
        assert!(n < 256, "an alert at most");
    }

    miner.share();
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.accepted == 2));
    assert_eq!(
        seen.expect("both shares reach the pool").connections_total,
        1
    );
    let pool = proxy.pool("tls");
    assert!(
        pool.up && !pool.plaintext && pool.url.starts_with("stratum+ssl://"),
        "{pool:?}"
    );
}

#[test]
fn a_pool_of_a_foreign_authority_is_refused_in_plain_words() {
    let (pki, foreign) = (Pki::new(), Pki::new());
    let sim = pki.pool();
    let backup = sim_pool(easy_pool());
    let sections = [
        ssl("foreign", sim.address(), &foreign.path("ca.pem")),
        pool("trusted", backup.address(), "tier = 1"),
    ];
    let proxy = Proxy::start(&lab(&sections.concat()));
    let line = told(&["pool is down", "foreign"]);
    let reason = line["fields"]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("TLS") && reason.contains("certificate"),
        "{reason}"
    );
    let pool = proxy.pool("foreign");
    assert!(!pool.up, "{pool:?}");
    assert!(pool.note.is_some_and(|note| note.contains("certificate")));
    proxy.mining("w").share(); // the backup serves meanwhile
}

#[test]
fn a_tls_handshake_that_stops_half_way_holds_up_no_drain() {
    let pki = Pki::new();
    let sim = pki.pool();
    let section = ssl("stall", sim.address(), &pki.path("ca.pem"));
    let proxy = Proxy::start(&format!("{}{section}{LAB}", pki.listen()));
    let mut half = Peer::connect(proxy.listeners[0]);
    // A client hello of 512 bytes, of which six come.
    half.send_bytes(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
    let mut miner = Mining::login(pki.dial(proxy.listeners[0]), "w", &json!(["tls"]));
    miner.share();
    drop(miner);
    assert!(proxy.drain(), "it ends in order");
    drop(half);
}
