//! What must hold for any bytes that come instead of a handshake or of sealed frames; used by the fuzz target
//! `v2_handshake` and by the replay of its corpus.
//!
//! Not tests of meaning (those stand beside the code). Each check makes whole handshakes and panics when something opens
//! that was not sealed.

use sluice::stratum::v2::noise::{
    Authority, AuthorityPublic, HELLO, Identity, Initiator, REPLY, Transport, Validity, respond,
};

const NOW: u64 = 1_795_000_000;

/// The first byte says what is attacked; the rest is what comes.
pub(crate) fn v2_handshake(data: &[u8]) {
    let [first, rest @ ..] = data else {
        return;
    };
    match first % 4 {
        0 => a_hello_of_anything(rest),
        1 => a_reply_of_anything(rest),
        2 => frames_of_anything(rest),
        _ => a_key_of_anything(rest),
    }
}

/// Any 64 bytes are a hello; who did not make them cannot say a thing after it.
fn a_hello_of_anything(data: &[u8]) {
    let mut hello = [0; HELLO];
    let (head, sealed) = data.split_at(data.len().min(HELLO));
    hello[..head.len()].copy_from_slice(head);
    let (_, mut pool) = respond(&identity(), &hello, &[5; 64]);
    let mut opened = Vec::new();
    let result = pool.open(sealed, &mut opened);
    assert!(opened.is_empty(), "opened what nobody sealed");
    assert_eq!(result.is_err(), sealed.len() >= 22);
}

/// The true reply with these bytes laid over it by exclusive or: believed as it is, refused if a bit is changed.
fn a_reply_of_anything(data: &[u8]) {
    let (initiator, hello) = Initiator::new(authority().public(), &[4; 64]);
    let (mut reply, _) = respond(&identity(), &hello, &[5; 64]);
    let before = reply;
    let (at, mask) = match data {
        [at, mask @ ..] => (usize::from(*at) % REPLY, mask),
        [] => (0, data),
    };
    for (byte, mask) in reply[at..].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    let believed = initiator.finish(&reply, NOW).is_ok();
    assert_eq!(believed, reply == before);
}

/// Frames sealed by the peer, cut anywhere, with bytes laid over: what comes out is what went in, up to the change.
fn frames_of_anything(data: &[u8]) {
    let [cut, at_high, at_low, rest @ ..] = data else {
        return;
    };
    let (payload, mask) = rest.split_at(rest.len() / 2);
    let (mut miner, mut pool) = connection();
    let frames = [frame(payload), frame(&[]), frame(payload)].concat();
    let mut sealed = Vec::new();
    miner.seal(&frames, &mut sealed).expect("new keys");
    let before = sealed.clone();
    let at = usize::from(u16::from_be_bytes([*at_high, *at_low])) % sealed.len();
    for (byte, mask) in sealed[at..].iter_mut().zip(mask) {
        *byte ^= mask;
    }
    let mut opened = Vec::new();
    let mut parts = sealed.chunks(1 + usize::from(*cut));
    let result = parts.try_for_each(|part| pool.open(part, &mut opened));
    assert!(frames.starts_with(&opened), "opened what was not sealed");
    assert_eq!(result.is_ok(), sealed == before);
    assert_eq!(opened == frames, sealed == before);
}

/// A text is a key in one way only.
fn a_key_of_anything(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = text.parse::<AuthorityPublic>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(authority) = Authority::from_file_text(&text) {
        let again = Authority::from_file_text(&authority.secret_text());
        assert_eq!(again, Ok(authority));
    }
}

fn connection() -> (Transport, Transport) {
    let (initiator, hello) = Initiator::new(authority().public(), &[4; 64]);
    let (reply, mut pool) = respond(&identity(), &hello, &[5; 64]);
    pool.set_max(4096);
    (initiator.finish(&reply, NOW).expect("true"), pool)
}

fn authority() -> Authority {
    Authority::new([1; 32])
}

fn identity() -> Identity {
    let validity = Validity {
        from_s: 1_794_000_000,
        until_s: 1_796_000_000,
    };
    Identity::new(&authority(), validity, &[3; 96])
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_le_bytes()[..3];
    [&[0, 0x80, 0x1f], length, payload].concat()
}
