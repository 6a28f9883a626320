//! What does Noise cost a Stratum V2 connection? Handshakes, a frame of 100 bytes sealed and opened, and a new job for
//! 10,000 connections; each beside ring's bare cipher or `noise_sv2` in the same run. Without `--bench`, or with
//! `--smoke`: in well under a second, for CI.
//!
//! A frame is two messages to the cipher, its header and its payload (SV2 spec 4.6). So there are two yardsticks: ring
//! sealing those two (what no implementation of the protocol beats), and ring sealing as many bytes at once (what the
//! protocol's cut costs beside).
//!
//! Compare ratios of one run, not nanoseconds of two machines.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sluice::stratum::v2::noise::{
    Authority, FRAME_HEADER, Identity, Initiator, Transport, Validity, respond,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NOW: u32 = 1_795_000_000;
const VALIDITY: Validity = Validity {
    from_s: NOW - 3600,
    until_s: NOW + 86_400,
};
/// Of a frame as it is before it is sealed, header and all.
const SHARE: usize = 100;
/// A NewExtendedMiningJob with twelve branches and a coinbase of a usual pool.
const JOB: usize = 500;
const CONNECTIONS: usize = 10_000;

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let smoke = !full || std::env::args().any(|arg| arg == "--smoke");
    handshakes(if smoke { 2 } else { 300 });
    frames(if smoke { 5 } else { 1000 });
    job(if smoke { 100 } else { CONNECTIONS });
}

fn handshakes(rounds: u32) {
    let authority = Authority::new([1; 32]);
    let identity = Identity::new(&authority, VALIDITY, &[2; 96]);
    let (_, hello) = Initiator::new(authority.public(), &[4; 64]);
    let (reply, _) = respond(&identity, &hello, &[5; 64]);
    let public = authority.public();

    println!("{:<44}{:>10}{:>12}", "handshake", "us", "a second");
    let show = |name: &str, ns: f64| println!("{name:<44}{:>10.1}{:>12.0}", ns / 1e3, 1e9 / ns);
    let ours = least(rounds, 10, || respond(&identity, &hello, &[5; 64]));
    show("respond", ours);
    let anew = least(rounds, 10, || {
        let identity = Identity::new(&authority, VALIDITY, &[2; 96]);
        respond(&identity, &hello, &[5; 64])
    });
    show("respond, static key and certificate anew", anew);
    let initiate = least(rounds, 10, || {
        let (initiator, _) = Initiator::new(public, &[4; 64]);
        initiator.finish(&reply, u64::from(NOW)).is_ok()
    });
    show("initiate", initiate);
    let theirs = least(rounds, 10, || sri::respond(hello));
    show("noise_sv2: respond", theirs);
    println!("{:<44}{:>10.2} x faster", "", theirs / ours);
    let theirs = least_of(rounds, 1, || {
        let (mut pool, key) = sri::responder();
        let start = Instant::now();
        let mut miner = sri::initiator(key);
        let hello = miner.step_0().expect("a hello");
        let hello_took = start.elapsed();
        let (reply, _) = pool.step_1(hello).expect("answered");
        let start = Instant::now();
        black_box(miner.step_2(reply).expect("believed"));
        hello_took + start.elapsed()
    });
    show("noise_sv2: initiate", theirs);
    println!("{:<44}{:>10.2} x faster", "", theirs / initiate);
}

fn frames(rounds: u32) {
    const BATCH: usize = 100;
    let frame = frame(SHARE);
    let (mut miner, mut pool) = connection();
    let (mut theirs, _) = sri::connection();
    let mut bare = Bare::new();
    let mut out = Vec::with_capacity(256);

    println!(
        "\n{:<44}{:>10}{:>12}",
        "a frame of 100 bytes", "ns", "x two seals"
    );
    let bound = least(rounds, BATCH, || {
        bare.seal(&frame[..FRAME_HEADER], &mut out);
        bare.seal(&frame[FRAME_HEADER..], &mut out)
    });
    let show = |name: &str, ns: f64| println!("{name:<44}{ns:>10.0}{:>12.2}", ns / bound);
    show("ring: seal its two blocks (bound)", bound);
    let once = least(rounds, BATCH, || bare.seal(&frame, &mut out));
    show("ring: seal 100 bytes at once", once);
    let sealed = least(rounds, BATCH, || {
        out.clear();
        miner.seal(&frame, &mut out).expect("nonces are left")
    });
    show("seal", sealed);
    let (mut miner, mut came) = (connection().0, Vec::new());
    let open_round = || {
        came.clear();
        for _ in 0..BATCH {
            miner.seal(&frame, &mut came).expect("nonces are left");
        }
        let start = Instant::now();
        for sealed in came.chunks(SHARE + 32) {
            out.clear();
            pool.open(black_box(sealed), &mut out).expect("ours");
        }
        start.elapsed()
    };
    let opened = least_of(rounds, BATCH, open_round);
    show("open", opened);
    let sri = least(rounds, BATCH, || sri::seal(&mut theirs, &frame, &mut out));
    show("noise_sv2: seal", sri);
    let both = (sealed + opened) / 2.0;
    println!(
        "{:<44}{:>10.2} x ring's two blocks (limit 2), {:.2} x ring at once, noise_sv2 {:.2} x ours",
        "seal and open",
        both / bound,
        both / once,
        sri / sealed
    );
}

/// The same job to every connection, each with its own keys: framed, sealed, ready for the socket.
fn job(connections: usize) {
    let mut pools: Vec<Transport> = (0..connections).map(|_| connection().1).collect();
    let mut bare = Bare::new();
    let mut out = Vec::with_capacity(2 * JOB);
    let ours = least_of(5, 1, || {
        let start = Instant::now();
        let frame = frame(JOB);
        for pool in &mut pools {
            out.clear();
            pool.seal(&frame, &mut out).expect("nonces are left");
            black_box(&out);
        }
        start.elapsed()
    });
    let plain = frame(JOB);
    let bound = least(5, connections, || {
        bare.seal(&plain[..FRAME_HEADER], &mut out);
        bare.seal(&plain[FRAME_HEADER..], &mut out)
    });
    let (mut theirs, _) = sri::connection();
    let sri = least(5, connections, || sri::seal(&mut theirs, &plain, &mut out));
    let show = |name: &str, ns: f64| {
        let all = connections as f64;
        println!("{name:<44}{:>10.2}{:>12.2}", ns * all / 1e6, ns / bound);
    };
    println!(
        "\n{:<44}{:>10}{:>12}",
        format!("a job of {JOB} bytes, {connections} times"),
        "ms",
        "x bound"
    );
    show("ring, one key in cache (bound)", bound);
    show("seal, a connection each", ours / connections as f64);
    show("noise_sv2, one connection", sri);
}

/// ring's cipher and a counter.
struct Bare(LessSafeKey, u64);

impl Bare {
    fn new() -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("32 bytes");
        Self(LessSafeKey::new(key), 0)
    }

    fn seal(&mut self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.1.to_le_bytes());
        self.1 += 1;
        out.clear();
        out.extend_from_slice(text);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.seal_in_place_append_tag(nonce, Aad::empty(), out);
        sealed.expect("short");
        out.len()
    }
}

/// The same with SRI's crate.
mod sri {
    use noise_sv2::{Initiator, NoiseEngine, Responder};
    use sluice::stratum::v2::noise::FRAME_HEADER;

    const SECRET: [u8; 32] = [9; 32];

    pub(super) fn responder() -> (Box<Responder>, [u8; 32]) {
        let curve = secp256k1::Secp256k1::new();
        let secret = secp256k1::SecretKey::from_slice(&SECRET).expect("a key");
        let public = secret.x_only_public_key(&curve).0.serialize();
        let day = std::time::Duration::from_secs(86_400);
        let responder = Responder::from_authority_kp(&public, &SECRET, day);
        (responder.expect("a pair"), public)
    }

    pub(super) fn initiator(public: [u8; 32]) -> Box<Initiator> {
        Initiator::from_raw_k(public).expect("a key")
    }

    pub(super) fn respond(hello: [u8; 64]) -> bool {
        responder().0.step_1(hello).is_ok()
    }

    pub(super) fn connection() -> (NoiseEngine, NoiseEngine) {
        let (mut responder, public) = responder();
        let mut initiator = initiator(public);
        let hello = initiator.step_0().expect("a hello");
        let (reply, pool) = responder.step_1(hello).expect("answered");
        (initiator.step_2(reply).expect("believed"), pool)
    }

    pub(super) fn seal(engine: &mut NoiseEngine, frame: &[u8], out: &mut Vec<u8>) -> usize {
        let (header, payload) = frame.split_at(FRAME_HEADER);
        for text in [header, payload] {
            out.clear();
            out.extend_from_slice(text);
            engine.encrypt(out).expect("nonces are left");
        }
        out.len()
    }
}

fn connection() -> (Transport, Transport) {
    let authority = Authority::new([1; 32]);
    let identity = Identity::new(&authority, VALIDITY, &[2; 96]);
    let (initiator, hello) = Initiator::new(authority.public(), &[4; 64]);
    let (reply, pool) = respond(&identity, &hello, &[5; 64]);
    let miner = initiator.finish(&reply, u64::from(NOW));
    (miner.expect("believed"), pool)
}

/// A frame of `len` bytes with its header.
fn frame(len: usize) -> Vec<u8> {
    let payload = len - FRAME_HEADER;
    let mut frame = vec![0xa5; len];
    frame[..FRAME_HEADER].copy_from_slice(&[0, 0x80, 0x1f, payload as u8, (payload >> 8) as u8, 0]);
    frame
}

/// Nanoseconds of one call: the least mean of so many, over many rounds.
fn least<T>(rounds: u32, calls: usize, mut work: impl FnMut() -> T) -> f64 {
    let round = || {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(work());
        }
        start.elapsed()
    };
    least_of(rounds, calls, round)
}

/// The same of rounds that take their own time.
fn least_of(rounds: u32, calls: usize, mut round: impl FnMut() -> Duration) -> f64 {
    let best = (0..rounds).map(|_| round()).min();
    best.unwrap_or(Duration::ZERO).as_nanos() as f64 / calls as f64
}
