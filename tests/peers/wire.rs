//! A Stratum V2 connection, from either end, by SRI's own codec: blocking, whole messages.
//!
//! Not ours and not for our side: what stands here is a peer's opinion of the wire. Invariant: what is read was sent by
//! who holds the other end of the handshake.

use crate::lab::PATIENCE;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use stratum_core::codec_sv2::{
    self, Decrypted, EncodableFrame, Handshake, MessageFrame, NoiseDecoder, NoiseEncoder,
    Transport, TransportDecryptState, TransportEncryptState,
};
use stratum_core::framing_sv2::header::Header;
use stratum_core::noise_sv2::{
    ELLSWIFT_ENCODING_SIZE, INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE, Initiator, Responder,
};
use stratum_core::parsers_sv2::AnyMessageOwned;

/// The key of everybody's authority, as the programs want it in their configuration.
pub const AUTHORITY: &str = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
/// Its secret half.
pub const AUTHORITY_SECRET: &str = "mkDLTBBRxdBv998612qipDYoTK3YUrqLe8uWw7gu3iXbSrn2n";
/// Longer than any test.
const VALID: Duration = Duration::from_secs(3600);

/// What comes in.
pub struct Reader {
    stream: TcpStream,
    decoder: NoiseDecoder,
    state: Option<TransportDecryptState>,
}

/// What goes out.
pub struct Writer {
    stream: TcpStream,
    encoder: NoiseEncoder,
    state: TransportEncryptState,
}

/// Answers the handshake of who has just connected.
///
/// # Errors
/// When the other side ends it.
pub fn accept(mut stream: TcpStream) -> io::Result<(Reader, Writer)> {
    let mut first = [0; ELLSWIFT_ENCODING_SIZE];
    stream.read_exact(&mut first)?;
    let responder = Responder::from_authority_kp(&public(), &secret(), VALID);
    let handshake = Handshake::responder(responder.expect("one key pair"));
    let (answer, transport) = handshake.step_1(first).map_err(|e| broken(&e))?;
    stream.write_all(answer.payload())?;
    over(stream, transport)
}

/// Connects and shakes hands with a server of this authority.
///
/// # Errors
/// When the other side ends it.
pub fn connect(to: SocketAddr) -> io::Result<(Reader, Writer)> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let initiator = Initiator::from_raw_k(public()).expect("a key");
    let (first, handshake) = Handshake::initiator(initiator)
        .step_0()
        .map_err(|e| broken(&e))?;
    stream.write_all(first.payload())?;
    let mut answer = [0; INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE];
    stream.read_exact(&mut answer)?;
    over(stream, handshake.step_2(answer).map_err(|e| broken(&e))?)
}

fn over(stream: TcpStream, transport: Transport) -> io::Result<(Reader, Writer)> {
    let (encrypt, decrypt) = transport.split();
    let reader = Reader {
        stream: stream.try_clone()?,
        decoder: NoiseDecoder::new(),
        state: Some(decrypt),
    };
    let writer = Writer {
        stream,
        encoder: NoiseEncoder::new(),
        state: encrypt,
    };
    Ok((reader, writer))
}

impl Reader {
    /// The next message: its header and its bytes.
    ///
    /// # Errors
    /// At the end of the connection.
    pub fn next(&mut self) -> io::Result<(Header, Vec<u8>)> {
        loop {
            let state = self.state.take().expect("put back below");
            let next = self.decoder.next_transport_frame(state);
            match next.map_err(|e| broken(&e))? {
                Decrypted::Frame(mut frame, state) => {
                    self.state = Some(state);
                    return Ok((frame.header(), frame.payload().to_vec()));
                }
                Decrypted::Incomplete(_, state) => self.state = Some(state),
            }
            self.stream.read_exact(self.decoder.writable())?;
        }
    }
}

impl Writer {
    /// Sends one message.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn send(&mut self, message: impl Into<AnyMessageOwned>) -> io::Result<()> {
        let frame = MessageFrame::try_from(message.into()).expect("a message fits its frame");
        self.send_frame(frame)
    }

    /// Sends a frame, whatever it is.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn send_frame(&mut self, frame: impl EncodableFrame) -> io::Result<()> {
        let bytes = self.encoder.encode_transport(frame, &mut self.state);
        let bytes = bytes.map_err(|e| broken(&e))?;
        self.stream.write_all(bytes.as_ref())
    }
}

fn broken(error: &codec_sv2::Error) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

fn public() -> [u8; 32] {
    // Behind the two bytes of the key's version.
    part(AUTHORITY, 2)
}

fn secret() -> [u8; 32] {
    part(AUTHORITY_SECRET, 0)
}

fn part(key: &str, from: usize) -> [u8; 32] {
    let bytes = bitcoin::base58::decode_check(key).expect("base58");
    bytes[from..].try_into().expect("32 bytes")
}
