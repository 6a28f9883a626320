//! A V2 miner on a blocking socket, honest or not: sends what it is told, reads message by message.
//!
//! It does not hash: at a lab difficulty of 2^-32 all but one in 65,536 nonces is a share. Noise is SRI's (`noise_sv2`),
//! messages are the simulation's. Invariant: nothing waits for ever; a peer that is silent for `PATIENCE` fails the test.

use noise_sv2::{AEAD_MAC_LEN, INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE, Initiator, NoiseEngine};
use sluice::sim::v2::frame::{Frame, HEADER, claimed_len};
use sluice::sim::v2::message::{Message, Open, Opened, Setup, Submit};
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest target there is.
pub(crate) const ANY: [u8; 32] = [0xff; 32];

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    noise: NoiseEngine,
    pub(crate) channels: BTreeMap<u32, Channel>,
    /// Version and group of jobs that no prev-hash has made active yet.
    future: HashMap<(u32, u32), u32>,
    /// What was said of shares and not asked for yet, by channel and sequence number.
    verdicts: BTreeMap<(u32, u32), Verdict>,
    serial: u32,
    requests: u32,
}

/// One of its channels.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) id: u32,
    pub(crate) group: u32,
    /// `None`: a standard one.
    pub(crate) rolls: Option<usize>,
    pub(crate) job: Option<Job>,
    pub(crate) target: [u8; 32],
    /// The server closed it, and why.
    pub(crate) closed: Option<String>,
    /// Jobs that it was told of, active or not.
    pub(crate) jobs: usize,
}

/// What a share needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) id: u32,
    pub(crate) version: u32,
    pub(crate) ntime: u32,
}

/// What became of a share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Accepted,
    Refused(String),
}

impl Verdict {
    pub(crate) fn refused(code: &str) -> Self {
        Self::Refused(code.to_owned())
    }
}

/// A miner's greeting that everybody accepts.
pub(crate) fn setup() -> Setup {
    Setup {
        min_version: 2,
        max_version: 2,
        host: "127.0.0.1".into(),
        vendor: "honest".into(),
        ..Setup::default()
    }
}

impl Client {
    /// After the Noise handshake, nothing said.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).expect("the listener lives");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout above zero");
        stream.set_nodelay(true).expect("a TCP option");
        let mut initiator = Initiator::without_pk().expect("chance");
        let hello = initiator.step_0().expect("a key");
        stream.write_all(&hello).expect("the proxy reads");
        let mut reply = [0; INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE];
        stream.read_exact(&mut reply).expect("the proxy answers");
        let noise = initiator.step_2(reply).expect("a handshake that holds");
        Self {
            stream,
            noise,
            channels: BTreeMap::new(),
            future: HashMap::new(),
            verdicts: BTreeMap::new(),
            serial: 0,
            requests: 0,
        }
    }

    /// And set up.
    pub(crate) fn set_up(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.say(&Message::SetupConnection(setup()));
        let answer = client.message().expect("an answer");
        assert!(matches!(answer, Message::SetupSuccess { .. }), "{answer:?}");
        client
    }

    /// And with so many channels of either kind in turn, each with a job.
    pub(crate) fn login(address: SocketAddr, user: &str, channels: usize) -> Self {
        let mut client = Self::set_up(address);
        for number in 0..channels {
            client.open(&format!("{user}.{number}"), number % 2 == 0);
        }
        client.until_all_have_jobs();
        client
    }

    pub(crate) fn until_all_have_jobs(&mut self) {
        while self.live().any(|channel| channel.job.is_none()) {
            self.message().expect("a job comes");
        }
    }

    /// Opens a channel that the proxy must give; its id.
    pub(crate) fn open(&mut self, user: &str, extended: bool) -> u32 {
        self.try_open(user, extended).expect("a channel").channel
    }

    /// Asks for a channel; the refusal's code.
    pub(crate) fn try_open(&mut self, user: &str, extended: bool) -> Result<Opened, String> {
        let wish = self.wish(user);
        self.ask_open(wish, extended)
    }

    pub(crate) fn wish(&mut self, user: &str) -> Open {
        self.requests += 1;
        Open {
            request: self.requests,
            user: user.to_owned(),
            hashrate: 0.0,
            max_target: ANY,
            min_extranonce: 2,
        }
    }

    pub(crate) fn ask_open(&mut self, wish: Open, extended: bool) -> Result<Opened, String> {
        let request = wish.request;
        self.say(&match extended {
            true => Message::OpenExtended(wish),
            false => Message::OpenStandard(wish),
        });
        loop {
            match self.message().expect("an answer, not the end") {
                Message::OpenedStandard(opened) | Message::OpenedExtended(opened)
                    if opened.request == request =>
                {
                    return Ok(opened);
                }
                Message::OpenError { request: of, code } if of == request => return Err(code),
                _ => {}
            }
        }
    }

    pub(crate) fn say(&mut self, message: &Message) {
        self.send(&message.bytes());
    }

    /// One plaintext frame, which may lie about its length.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        let sealed = self.seal(frame);
        self.stream.write_all(&sealed).expect("the proxy reads");
    }

    /// Frames that are sealed.
    pub(crate) fn write(&mut self, sealed: &[u8]) {
        self.stream.write_all(sealed).expect("the proxy reads");
    }

    /// What a peer that has already closed need not take.
    pub(crate) fn shout(&mut self, frame: &[u8]) {
        let sealed = self.seal(frame);
        let _ = self.stream.write_all(&sealed); // a reset here is what the test waits for
    }

    pub(crate) fn seal(&mut self, frame: &[u8]) -> Vec<u8> {
        let (header, payload) = frame.split_at(HEADER.min(frame.len()));
        let mut sealed = Vec::new();
        for part in [header, payload]
            .into_iter()
            .filter(|part| !part.is_empty())
        {
            let mut block = part.to_vec();
            self.noise.encrypt(&mut block).expect("a vector grows");
            sealed.extend(block);
        }
        sealed
    }

    /// The next message; `None`: the connection is over.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let frame = self.frame()?;
        let message = Message::parse(&frame).expect("the proxy sends what the spec has");
        self.notice(&message);
        Some(message)
    }

    /// The next frame, not read.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let header = self.block(HEADER)?;
        let header: [u8; HEADER] = header.try_into().expect("as long as asked");
        let payload = match claimed_len(&header) {
            0 => Vec::new(),
            len => self.block(len)?,
        };
        Some(Frame {
            extension: u16::from_le_bytes([header[0], header[1]]),
            kind: header[2],
            payload,
        })
    }

    /// So many bytes of plaintext in one block: nothing that the proxy sends a miner in these tests is above 64 KiB.
    fn block(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut block = vec![0; len + AEAD_MAC_LEN];
        match self.stream.read_exact(&mut block) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => return None,
                _ => panic!("the proxy is silent: {error}"),
            },
        }
        self.noise.decrypt(&mut block).expect("authentic");
        Some(block)
    }

    /// Everything until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.message()).collect()
    }

    fn of(&mut self, id: u32) -> impl Iterator<Item = &mut Channel> {
        let all = self.channels.values_mut();
        all.filter(move |channel| channel.closed.is_none())
            .filter(move |channel| channel.id == id || channel.group == id)
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values().filter(|c| c.closed.is_none())
    }

    fn notice(&mut self, message: &Message) {
        match message {
            Message::OpenedStandard(opened) => self.opened(opened, None),
            Message::OpenedExtended(opened) => {
                self.opened(opened, Some(usize::from(opened.extranonce_size)));
            }
            Message::NewJob {
                channel,
                job,
                min_ntime,
                version,
                ..
            } => self.told(*channel, *job, *min_ntime, *version),
            Message::NewExtendedJob(job) => {
                self.told(job.channel, job.job, job.min_ntime, job.version);
            }
            Message::SetPrevHash {
                channel,
                job,
                min_ntime,
                ..
            } => {
                let version = self.future.get(&(*channel, *job)).copied();
                let version = version.expect("the prev-hash names a job that came before it");
                let (id, ntime) = (*job, *min_ntime);
                for channel in self.of(*channel) {
                    channel.job = Some(Job { id, version, ntime });
                }
            }
            Message::SetTarget { channel, target } => {
                self.of(*channel)
                    .for_each(|channel| channel.target = *target);
            }
            Message::CloseChannel { channel, reason } => {
                self.of(*channel)
                    .for_each(|channel| channel.closed = Some(reason.clone()));
            }
            Message::SubmitSuccess { channel, last, .. } => {
                self.judged((*channel, *last), Verdict::Accepted);
            }
            Message::SubmitError {
                channel,
                sequence,
                code,
            } => self.judged((*channel, *sequence), Verdict::Refused(code.clone())),
            _ => {}
        }
    }

    fn judged(&mut self, share: (u32, u32), verdict: Verdict) {
        let before = self.verdicts.insert(share, verdict);
        assert_eq!(before, None, "each share has one verdict");
    }

    fn opened(&mut self, opened: &Opened, rolls: Option<usize>) {
        let channel = Channel {
            id: opened.channel,
            group: opened.group,
            rolls,
            job: None,
            target: opened.target,
            closed: None,
            jobs: 0,
        };
        let before = self.channels.insert(opened.channel, channel);
        assert!(before.is_none(), "a channel id is given once");
    }

    fn told(&mut self, to: u32, id: u32, min_ntime: Option<u32>, version: u32) {
        self.of(to).for_each(|channel| channel.jobs += 1);
        match min_ntime {
            Some(ntime) => {
                let job = Job { id, version, ntime };
                self.of(to).for_each(|channel| channel.job = Some(job));
            }
            None => {
                self.future.insert((to, id), version);
            }
        }
    }

    /// A share that was never sent before.
    pub(crate) fn fresh(&mut self, id: u32) -> Submit {
        self.serial += 1;
        let channel = &self.channels[&id];
        let job = channel.job.expect("a job came");
        Submit {
            channel: id,
            sequence: self.serial,
            job: job.id,
            nonce: self.serial.wrapping_mul(0x9e37_79b1),
            ntime: job.ntime,
            version: job.version,
            extranonce: vec![0; channel.rolls.unwrap_or(0)],
            worker: None,
        }
    }

    /// As a message for its channel's kind.
    pub(crate) fn submit_as(&self, share: &Submit) -> Message {
        let channel = self.channels.get(&share.channel);
        match channel.is_some_and(|channel| channel.rolls.is_none()) {
            true => Message::SubmitStandard(share.clone()),
            false => Message::SubmitExtended(share.clone()),
        }
    }

    pub(crate) fn submit(&mut self, share: &Submit) -> Verdict {
        let message = self.submit_as(share);
        self.say(&message);
        self.verdict(share.channel, share.sequence)
    }

    pub(crate) fn verdict(&mut self, id: u32, of: u32) -> Verdict {
        loop {
            if let Some(verdict) = self.verdicts.remove(&(id, of)) {
                return verdict;
            }
            self.message().expect("a verdict, not the end");
        }
    }

    /// A fresh share, until one is accepted: one in 65,536 misses even the lab's target, and a block may come between.
    pub(crate) fn mine(&mut self, id: u32) -> Submit {
        for _ in 0..3 {
            let share = self.fresh(id);
            match self.submit(&share) {
                Verdict::Accepted => return share,
                Verdict::Refused(code)
                    if ["stale-share", "difficulty-too-low"].contains(&code.as_str()) => {}
                other => panic!("an honest share on channel {id}: {other:?}"),
            }
        }
        panic!("three honest shares in a row were refused on channel {id}");
    }
}
