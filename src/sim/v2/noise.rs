//! Noise on a real socket (SV2 spec 4), with the crate `noise_sv2` and not the proxy's own: so that the simulation can
//! contradict it. Handshake of either side, then frames sealed and opened.
//!
//! Not a stream and not a cutter of frames. Invariant: what [`Noise::open`] hands out was authenticated, in order.

use super::{
    authority::Authority,
    frame::{FRAME_CAP, HEADER, claimed_len},
};
use noise_sv2::{
    AEAD_MAC_LEN, ELLSWIFT_ENCODING_SIZE, INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE, Initiator,
    NoiseEngine, Responder,
};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest ciphertext of one block, and what of it is text (4.6).
const BLOCK: usize = 65_535;
const TEXT: usize = BLOCK - AEAD_MAC_LEN;
/// How long a simulated pool's certificate is good for.
const CERTIFICATE: Duration = Duration::from_secs(3600);
/// A handshake that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no Noise connection (any more).
#[derive(Debug, Error)]
pub enum NoiseError {
    /// The socket ended or stalled.
    #[error("the connection ended within the handshake")]
    Io,
    /// Not what the peer should have said, or signed by somebody else.
    #[error("the peer's handshake does not hold")]
    Handshake,
    /// A block that is not authentic, or an announced frame past the cap.
    #[error("a frame does not open")]
    Frame,
}

/// Both directions of an established connection.
#[derive(Debug)]
pub struct Noise {
    engine: NoiseEngine,
    kept: Vec<u8>,
    /// Header opened, its payload not yet here: length as announced.
    header: Option<([u8; HEADER], usize)>,
}

impl Noise {
    /// As the miner; with `authority`, the pool must prove that key.
    ///
    /// # Errors
    /// [`NoiseError`].
    pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
        stream: &mut S,
        authority: Option<[u8; 32]>,
    ) -> Result<Self, NoiseError> {
        let initiator = match authority {
            Some(key) => Initiator::from_raw_k(key),
            None => Initiator::without_pk(),
        };
        let mut initiator = initiator.map_err(|_| NoiseError::Handshake)?;
        let first = initiator.step_0().map_err(|_| NoiseError::Handshake)?;
        let second = patiently(async {
            stream.write_all(&first).await?;
            let mut second = [0; INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE];
            stream.read_exact(&mut second).await?;
            Ok(second)
        });
        let engine = initiator.step_2(second.await?);
        engine.map(Self::new).map_err(|_| NoiseError::Handshake)
    }

    /// As the pool.
    ///
    /// # Errors
    /// [`NoiseError`].
    pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
        stream: &mut S,
        authority: &Authority,
    ) -> Result<Self, NoiseError> {
        let first = patiently(async {
            let mut first = [0; ELLSWIFT_ENCODING_SIZE];
            stream.read_exact(&mut first).await?;
            Ok(first)
        });
        let first = first.await?;
        let validity = CERTIFICATE.as_secs() as u32;
        let mut responder = Responder::new(authority.keypair(), validity);
        let answered = responder.step_1(first);
        let (second, engine) = answered.map_err(|_| NoiseError::Handshake)?;
        patiently(async { stream.write_all(&second).await }).await?;
        Ok(Self::new(engine))
    }

    fn new(engine: NoiseEngine) -> Self {
        Self {
            engine,
            kept: Vec::new(),
            header: None,
        }
    }

    /// Seals one frame; its header may lie about its length.
    pub fn seal(&mut self, frame: &[u8]) -> Vec<u8> {
        let (header, payload) = frame.split_at(HEADER.min(frame.len()));
        let mut sealed = Vec::with_capacity(frame.len() + 2 * AEAD_MAC_LEN);
        for part in std::iter::once(header).chain(payload.chunks(TEXT)) {
            let mut block = part.to_vec();
            let grown = self.engine.encrypt(&mut block);
            grown.expect("a vector grows, and the nonce does not end within a simulation");
            sealed.extend(block);
        }
        sealed
    }

    /// Opens what was read; the result is whole frames of plaintext.
    ///
    /// # Errors
    /// When a block is not authentic or a frame too long; the connection is useless then.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Vec<u8>, NoiseError> {
        self.kept.extend_from_slice(bytes);
        let (mut text, mut at) = (Vec::new(), 0);
        loop {
            let (header, len) = match self.header {
                Some(known) => known,
                None => {
                    let Some(block) = self.kept.get(at..at + HEADER + AEAD_MAC_LEN) else {
                        break;
                    };
                    let mut block = block.to_vec();
                    at += block.len();
                    self.decrypt(&mut block)?;
                    let header: [u8; HEADER] = block.try_into().map_err(|_| NoiseError::Frame)?;
                    *self.header.insert((header, claimed_len(&header)))
                }
            };
            if len > FRAME_CAP {
                return Err(NoiseError::Frame);
            }
            let sealed_len = len + len.div_ceil(TEXT) * AEAD_MAC_LEN;
            let Some(sealed) = self.kept.get(at..at + sealed_len) else {
                break;
            };
            let sealed = sealed.to_vec();
            at += sealed_len;
            text.extend(header);
            for block in sealed.chunks(BLOCK) {
                let mut block = block.to_vec();
                self.decrypt(&mut block)?;
                text.extend(block);
            }
            self.header = None;
        }
        self.kept.drain(..at);
        Ok(text)
    }

    fn decrypt(&mut self, block: &mut Vec<u8>) -> Result<(), NoiseError> {
        let opened = self.engine.decrypt(block);
        opened.map_err(|_| NoiseError::Frame)
    }
}

async fn patiently<T>(step: impl Future<Output = std::io::Result<T>>) -> Result<T, NoiseError> {
    match tokio::time::timeout(PATIENCE, step).await {
        Ok(Ok(done)) => Ok(done),
        _ => Err(NoiseError::Io),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::v2::{authority, frame::Frame};

    async fn pair(expected: Option<[u8; 32]>) -> (Result<Noise, NoiseError>, Noise) {
        let authority = Authority::from_seed(1);
        let (mut near, mut far) = tokio::io::duplex(1024);
        let (near, far) = tokio::join!(
            Noise::initiate(&mut near, expected),
            Noise::respond(&mut far, &authority)
        );
        (near, far.unwrap())
    }

    #[tokio::test]
    async fn frames_of_one_and_of_three_blocks_come_through_torn_anywhere() {
        let key = authority::decode(&Authority::from_seed(1).public());
        let (near, mut far) = pair(key).await;
        let mut near = near.unwrap();
        for len in [1, TEXT, TEXT + 1, 3 * TEXT - 5] {
            let frame = Frame {
                extension: 0x8000,
                kind: 9,
                payload: vec![7; len],
            };
            let sealed = near.seal(&frame.bytes());
            let mut opened = Vec::new();
            for part in sealed.chunks(40_001) {
                opened.extend(far.open(part).unwrap());
            }
            assert_eq!(opened, frame.bytes());
        }
    }

    #[tokio::test]
    async fn a_pool_with_another_key_is_refused_and_no_expectation_takes_any() {
        let other = authority::decode(&Authority::from_seed(2).public());
        assert!(matches!(pair(other).await.0, Err(NoiseError::Handshake)));
        assert!(pair(None).await.0.is_ok());
    }

    #[tokio::test]
    async fn a_changed_bit_ends_it() {
        let (near, mut far) = pair(None).await;
        let mut sealed = near.unwrap().seal(&[0, 0, 1, 1, 0, 0, 9]);
        sealed[25] ^= 1;
        assert!(matches!(far.open(&sealed), Err(NoiseError::Frame)));
    }
}
