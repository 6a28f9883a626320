//! Against ourselves and against `noise_sv2`, on both sides: handshakes, frames, and everything that must not pass.

use super::*;
use proptest::prelude::*;
use secp256k1::rand::{CryptoRng, Error as RandError, RngCore};

const NOW: u32 = 1_795_000_000;
const DAY: Validity = Validity {
    from_s: NOW - 3600,
    until_s: NOW + 86_400,
};

#[test]
fn our_initiator_and_our_responder_understand_each_other() {
    let (mut miner, mut pool) = ours(1);
    pass(&mut miner, &mut pool, &frame(300, 1));
    pass(&mut pool, &mut miner, &frame(0, 2));
}

// sv2: 4.5 the handshake and the ciphers are those of the reference, as initiator
// sv2: 4.6 messages are encrypted after the handshake
// sv2: 4.6 a payload is sealed in blocks of at most 65,519 bytes
#[test]
fn ten_thousand_frames_pass_from_us_to_sri_and_back_as_initiator() {
    let mut rng = Rng(1);
    let (authority, mut theirs) = sri_responder(&mut rng);
    let (initiator, hello) = Initiator::new(authority.public(), &rng.chance());
    let (reply, mut engine) = theirs
        .step_1_with_now_rng(hello, NOW, &mut rng)
        .expect("answered");
    let mut transport = initiator.finish(&reply, u64::from(NOW)).expect("believed");
    exchange(&mut transport, &mut engine, &mut rng);
}

// sv2: 4.5 the handshake and the ciphers are those of the reference, as responder
#[test]
fn ten_thousand_frames_pass_from_us_to_sri_and_back_as_responder() {
    let mut rng = Rng(2);
    let authority = Authority::new(rng.chance());
    let identity = Identity::new(&authority, DAY, &rng.chance());
    let key = authority.public().to_bytes();
    let mut theirs = noise_sv2::Initiator::from_raw_k_with_rng(key, &mut rng).expect("a good key");
    let hello = theirs.step_0().expect("a hello");
    let (reply, mut transport) = respond(&identity, &hello, &rng.chance());
    let mut engine = theirs.step_2_with_now(reply, NOW).expect("believed");
    exchange(&mut transport, &mut engine, &mut rng);
}

#[test]
fn one_identity_serves_many_handshakes_and_no_two_have_the_same_keys() {
    let authority = Authority::new([1; 32]);
    let identity = Identity::new(&authority, DAY, &[2; 96]);
    let mut seen = std::collections::HashSet::new();
    for round in 0..20 {
        let mut rng = Rng(round);
        let (initiator, hello) = Initiator::new(authority.public(), &rng.chance());
        let (reply, mut pool) = respond(&identity, &hello, &rng.chance());
        let mut miner = initiator.finish(&reply, u64::from(NOW)).expect("believed");
        pass(&mut miner, &mut pool, &frame(9, 9));
        let mut sealed = Vec::new();
        pool.seal(&frame(9, 9), &mut sealed).expect("sealed");
        assert!(seen.insert(sealed));
    }
}

// sv2: 4.5 a failure to decrypt ends the session
#[test]
fn a_reply_with_any_byte_changed_is_refused() {
    let mut rng = Rng(3);
    let authority = Authority::new(rng.chance());
    let identity = Identity::new(&authority, DAY, &rng.chance());
    for at in 0..REPLY {
        let chance = rng.chance();
        let (initiator, hello) = Initiator::new(authority.public(), &chance);
        let (mut reply, _) = respond(&identity, &hello, &rng.chance());
        reply[at] ^= 1 << (at % 8);
        let error = initiator.finish(&reply, u64::from(NOW)).err();
        assert_eq!(error, Some(HandshakeError::Tag), "byte {at}");
    }
}

#[test]
fn a_hello_with_any_byte_changed_is_noticed_at_the_reply() {
    let mut rng = Rng(4);
    let authority = Authority::new(rng.chance());
    let identity = Identity::new(&authority, DAY, &rng.chance());
    for at in 0..HELLO {
        let (initiator, mut hello) = Initiator::new(authority.public(), &rng.chance());
        hello[at] ^= 1 << (at % 8);
        let (reply, _) = respond(&identity, &hello, &rng.chance());
        let error = initiator.finish(&reply, u64::from(NOW)).err();
        assert_eq!(error, Some(HandshakeError::Tag), "byte {at}");
    }
}

// sv2: 4.5.3 the server's certificate is verified against the authority's key
#[test]
fn another_authority_is_refused_by_us_and_ours_by_sri_if_it_wants_another() {
    let (ours, other) = (Authority::new([1; 32]), Authority::new([2; 32]));
    let identity = Identity::new(&other, DAY, &[3; 96]);
    let (initiator, hello) = Initiator::new(ours.public(), &[4; 64]);
    let (reply, _) = respond(&identity, &hello, &[5; 64]);
    let wrong = HandshakeError::Certificate(CertificateError::Signature);
    assert_eq!(initiator.finish(&reply, u64::from(NOW)).err(), Some(wrong));

    let key = ours.public().to_bytes();
    let mut theirs =
        noise_sv2::Initiator::from_raw_k_with_rng(key, &mut Rng(6)).expect("a good key");
    let hello = theirs.step_0().expect("a hello");
    let (reply, _) = respond(&identity, &hello, &[5; 64]);
    assert!(theirs.step_2_with_now(reply, NOW).is_err());
}

// sv2: 4.5.3 a certificate counts from valid_from to not_valid_after
#[test]
fn a_certificate_is_believed_to_the_last_second_of_its_leeway_and_no_longer() {
    let leeway = u32::try_from(LEEWAY_S).expect("small");
    let cases = [
        (DAY.from_s - leeway, None),
        (
            DAY.from_s - leeway - 1,
            Some(CertificateError::Early(LEEWAY_S + 1)),
        ),
        (DAY.until_s + leeway, None),
        (
            DAY.until_s + leeway + 1,
            Some(CertificateError::Expired(LEEWAY_S + 1)),
        ),
    ];
    let authority = Authority::new([1; 32]);
    let identity = Identity::new(&authority, DAY, &[3; 96]);
    for (now, wrong) in cases {
        let (initiator, hello) = Initiator::new(authority.public(), &[4; 64]);
        let (reply, _) = respond(&identity, &hello, &[5; 64]);
        let error = initiator.finish(&reply, u64::from(now)).err();
        assert_eq!(error, wrong.map(HandshakeError::Certificate), "at {now}");

        let key = authority.public().to_bytes();
        let mut theirs =
            noise_sv2::Initiator::from_raw_k_with_rng(key, &mut Rng(6)).expect("a good key");
        let hello = theirs.step_0().expect("a hello");
        let (reply, _) = respond(&identity, &hello, &[5; 64]);
        let believed = theirs.step_2_with_now(reply, now).is_ok();
        assert_eq!(believed, wrong.is_none(), "noise_sv2 at {now}");
    }
}

#[test]
fn a_frame_is_opened_however_it_is_cut() {
    let frames = [frame(0, 1), frame(1, 2), frame(500, 3), frame(BLOCK + 1, 4)].concat();
    for cut in [1, 2, 21, 22, 23, 4096, BLOCK, BLOCK + 16, 1 << 20] {
        let (mut miner, mut pool) = ours(7);
        pool.set_max(1 << 17);
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        assert_eq!(miner.seal(&frames, &mut sealed), Ok(frames.len()));
        for part in sealed.chunks(cut) {
            pool.open(part, &mut opened).expect("whole");
        }
        assert!(opened == frames, "cut by {cut}");
        assert!(pool.is_between_frames());
        assert_eq!(pool.held_bytes(), 0, "idle holds nothing");
    }
}

#[test]
fn the_beginning_of_a_frame_is_left_to_the_caller() {
    let (mut miner, _) = ours(8);
    let frames = [frame(5, 1), frame(5, 2)].concat();
    let mut sealed = Vec::new();
    for cut in 11..22 {
        assert_eq!(miner.seal(&frames[..cut], &mut sealed), Ok(11));
    }
    assert_eq!(miner.seal(&frames[..10], &mut sealed), Ok(0));
    assert_eq!(whole_frames(&frames, 22), 22);
    assert_eq!(whole_frames(&frames, 21), 11);
    assert_eq!(whole_frames(&frames, 1), 11, "one frame, however long");
}

#[test]
fn a_payload_is_taken_at_the_cap_and_refused_one_byte_above_before_it_comes() {
    let (mut miner, mut pool) = ours(9);
    pass(&mut miner, &mut pool, &frame(MAX_BEFORE_SETUP, 1));
    let mut sealed = Vec::new();
    let long = frame(MAX_BEFORE_SETUP + 1, 2);
    miner.seal(&long, &mut sealed).expect("sealed");
    let refused = OpenError::TooLong {
        len: MAX_BEFORE_SETUP + 1,
        max: MAX_BEFORE_SETUP,
    };
    let mut opened = Vec::new();
    let header = &sealed[..SEALED_HEADER];
    assert_eq!(pool.open(header, &mut opened), Err(refused));
    assert_eq!((opened.capacity(), pool.held_bytes()), (0, 0));
    assert_eq!(pool.open(&[0], &mut opened), Err(refused), "for good");
}

#[test]
fn what_is_held_of_a_frame_is_no_more_than_a_block() {
    let (mut miner, mut pool) = ours(10);
    pool.set_max(1 << 18);
    let mut sealed = Vec::new();
    miner.seal(&frame(200_000, 1), &mut sealed).expect("sealed");
    let mut most = 0;
    for part in sealed.chunks(1000) {
        pool.open(part, &mut Vec::new()).expect("whole");
        most = most.max(pool.held_bytes());
    }
    assert_eq!(most, BLOCK + 16);
}

// sv2: 4.4.1 a nonce counts up with every message
#[test]
fn a_frame_repeated_left_out_or_turned_back_is_refused() {
    let (mut miner, mut pool) = ours(11);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    miner.seal(&frame(5, 1), &mut first).expect("sealed");
    miner.seal(&frame(5, 2), &mut second).expect("sealed");
    let mut opened = Vec::new();
    pool.open(&first, &mut opened).expect("whole");
    assert_eq!(pool.open(&first, &mut opened), Err(OpenError::Tag));
    assert_eq!(pool.open(&second, &mut opened), Err(OpenError::Tag));
    assert_eq!(opened, frame(5, 1), "nothing wrong came out");

    let (_, mut pool) = ours(11);
    assert_eq!(pool.open(&second, &mut opened), Err(OpenError::Tag));
    let (mut miner, _) = ours(11);
    assert_eq!(miner.open(&first, &mut opened), Err(OpenError::Tag));
}

// sv2: 4.4.1 a nonce is used once for a key
#[test]
fn the_last_nonce_is_never_used() {
    let (mut miner, mut pool) = ours(12);
    miner.skip_to(u64::MAX - 2);
    pool.skip_to(u64::MAX - 2);
    let mut sealed = Vec::new();
    let two = [frame(5, 1), frame(5, 2)].concat();
    assert_eq!(miner.seal(&two, &mut sealed), Err(SealError));
    assert!(sealed.is_empty());
    assert_eq!(miner.seal(&frame(5, 1), &mut sealed), Ok(11));
    assert_eq!(miner.seal(&frame(0, 2), &mut sealed), Err(SealError));
    let mut opened = Vec::new();
    pool.open(&sealed, &mut opened).expect("the last two");
    let error = pool.open(&[0; SEALED_HEADER], &mut opened);
    assert_eq!(error, Err(OpenError::Exhausted));
}

#[test]
fn no_secret_stands_in_debug_output() {
    let (miner, _) = ours(13);
    let text = format!("{miner:?}");
    assert!(text.contains("Cipher { nonce: 0 }"), "{text}");
    let (initiator, _) = Initiator::new(Authority::new([1; 32]).public(), &[4; 64]);
    assert!(format!("{initiator:?}").starts_with("Initiator(9"));
}

proptest! {
    #[test]
    fn a_sealed_byte_changed_anywhere_is_refused(
        len in 0..300_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in 1..400_usize,
    ) {
        let (mut miner, mut pool) = ours(14);
        let mut sealed = Vec::new();
        miner.seal(&frame(len, 1), &mut sealed).expect("sealed");
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        let mut opened = Vec::new();
        let result = sealed.chunks(cut).try_for_each(|part| pool.open(part, &mut opened));
        prop_assert_eq!(result, Err(OpenError::Tag));
        prop_assert!(opened.is_empty());
    }
}

/// Both ends of a connection of ours.
fn ours(seed: u64) -> (Transport, Transport) {
    let mut rng = Rng(seed);
    let authority = Authority::new(rng.chance());
    let identity = Identity::new(&authority, DAY, &rng.chance());
    let (initiator, hello) = Initiator::new(authority.public(), &rng.chance());
    let (reply, pool) = respond(&identity, &hello, &rng.chance());
    let miner = initiator.finish(&reply, u64::from(NOW));
    (miner.expect("believed"), pool)
}

fn pass(from: &mut Transport, to: &mut Transport, frame: &[u8]) {
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    assert_eq!(from.seal(frame, &mut sealed), Ok(frame.len()));
    to.open(&sealed, &mut opened).expect("ours");
    assert!(opened == frame);
}

fn sri_responder(rng: &mut Rng) -> (Authority, Box<noise_sv2::Responder>) {
    let authority = Authority::new(rng.chance());
    let public = authority.public().to_bytes();
    let secret = authority.0.secret_bytes();
    let day = std::time::Duration::from_secs(86_400);
    let responder = noise_sv2::Responder::from_authority_kp_with_rng(&public, &secret, day, rng);
    (authority, responder.expect("a pair"))
}

/// 10,000 frames each way, most of them short, the lengths where blocks begin and end among them.
fn exchange(ours: &mut Transport, theirs: &mut noise_sv2::NoiseEngine, rng: &mut Rng) {
    let edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 191 * 1024];
    ours.set_max(192 * 1024);
    for round in 0..10_000 {
        let random = rng.next_u64() as usize;
        let len = edges.get(round).copied().unwrap_or(random % 300);
        let frame = frame(len, random as u8);

        let mut sealed = Vec::new();
        assert_eq!(ours.seal(&frame, &mut sealed), Ok(frame.len()));
        assert!(sri_open(theirs, &sealed) == frame, "{len} to noise_sv2");

        let sealed = sri_seal(theirs, &frame);
        let mut opened = Vec::new();
        for part in sealed.chunks(1 + random % 2000) {
            ours.open(part, &mut opened).expect("theirs");
        }
        assert!(opened == frame, "{len} from noise_sv2");
    }
}

fn sri_seal(engine: &mut noise_sv2::NoiseEngine, frame: &[u8]) -> Vec<u8> {
    let (header, payload) = frame.split_at(FRAME_HEADER);
    let mut sealed = Vec::new();
    for text in std::iter::once(header).chain(payload.chunks(BLOCK)) {
        let mut block = text.to_vec();
        engine.encrypt(&mut block).expect("sealed");
        sealed.append(&mut block);
    }
    sealed
}

fn sri_open(engine: &mut noise_sv2::NoiseEngine, sealed: &[u8]) -> Vec<u8> {
    let (header, payload) = sealed.split_at(SEALED_HEADER);
    let mut frame = Vec::new();
    for block in std::iter::once(header).chain(payload.chunks(BLOCK + 16)) {
        let mut block = block.to_vec();
        engine.decrypt(&mut block).expect("opened");
        frame.append(&mut block);
    }
    frame
}

/// A frame with `len` bytes of payload.
fn frame(len: usize, fill: u8) -> Vec<u8> {
    let length = &u32::try_from(len).expect("24 bits").to_le_bytes()[..3];
    [&[0, 0x80, 0x1f], length, &vec![fill; len]].concat()
}

/// Chance that is the same in every run (splitmix64).
struct Rng(u64);

impl Rng {
    fn chance<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

impl CryptoRng for Rng {}

impl RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandError> {
        self.fill_bytes(bytes);
        Ok(())
    }
}
