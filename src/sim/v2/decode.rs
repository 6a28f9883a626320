//! Bytes to messages. Not the other way (encode.rs).
//!
//! Invariant: any payload is survived; what does not fit to the last byte is malformed.

use super::{
    frame::{CHANNEL_BIT, Frame},
    message::{ExtendedJob, Message, Open, Opened, Setup, Submit, U256, WORKER_TRACKING},
};

/// What a frame may be besides a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Odd {
    /// An extension or message that is not known here: to be ignored (SV2 spec 3.4).
    Unknown,
    /// A known one that makes no sense, or whose channel bit is wrong (section 8).
    Malformed,
}

impl Message {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`Odd`].
    pub fn parse(frame: &Frame) -> Result<Self, Odd> {
        let mut input = In(&frame.payload);
        let of_channel = frame.extension & CHANNEL_BIT != 0;
        let message = match (frame.extension & !CHANNEL_BIT, frame.kind) {
            (0, 0x03 | 0x15..=0x1d | 0x1f..=0x21) if of_channel => input.of_channel(frame.kind),
            (0, 0x00..=0x04 | 0x10..=0x1d | 0x1f..=0x21 | 0x25) if of_channel => None,
            (0, 0x03 | 0x15..=0x1d | 0x1f..=0x21) => None,
            (0, 0x00..=0x04 | 0x10..=0x14 | 0x25) => input.of_connection(frame.kind),
            (1, 0..=2) if !of_channel => input.of_extensions(frame.kind),
            _ => return Err(Odd::Unknown),
        };
        message.filter(|_| input.0.is_empty()).ok_or(Odd::Malformed)
    }
}

/// What is left of a payload.
struct In<'a>(&'a [u8]);

impl In<'_> {
    fn of_connection(&mut self, kind: u8) -> Option<Message> {
        Some(match kind {
            0x00 => Message::SetupConnection(self.setup()?),
            0x01 => Message::SetupSuccess {
                version: self.u16()?,
                flags: self.u32()?,
            },
            0x02 => Message::SetupError {
                flags: self.u32()?,
                code: self.text()?,
            },
            0x04 => Message::Reconnect {
                host: self.text()?,
                port: self.u16()?,
            },
            0x10 => Message::OpenStandard(self.open(false)?),
            0x11 => Message::OpenedStandard(self.opened(false)?),
            0x12 => Message::OpenError {
                request: self.u32()?,
                code: self.text()?,
            },
            0x13 => Message::OpenExtended(self.open(true)?),
            0x14 => Message::OpenedExtended(self.opened(true)?),
            0x25 => Message::SetGroup {
                group: self.u32()?,
                channels: {
                    let len = self.u16()?;
                    (0..len).map(|_| self.u32()).collect::<Option<_>>()?
                },
            },
            _ => return None,
        })
    }

    fn of_channel(&mut self, kind: u8) -> Option<Message> {
        if matches!(kind, 0x1a | 0x1b) {
            return self.submit(kind == 0x1b);
        }
        let channel = self.u32()?;
        Some(match kind {
            0x03 => Message::EndpointChanged { channel },
            0x15 => Message::NewJob {
                channel,
                job: self.u32()?,
                min_ntime: self.option()?,
                version: self.u32()?,
                root: self.u256()?,
            },
            0x16 => Message::UpdateChannel {
                channel,
                hashrate: self.f32()?,
                max_target: self.u256()?,
            },
            0x17 => Message::UpdateError {
                channel,
                code: self.text()?,
            },
            0x18 => Message::CloseChannel {
                channel,
                reason: self.text()?,
            },
            0x19 => Message::SetPrefix {
                channel,
                prefix: self.short(32)?,
            },
            0x1c => Message::SubmitSuccess {
                channel,
                last: self.u32()?,
                count: self.u32()?,
                sum: u64::from_le_bytes(self.array()?),
            },
            0x1d => Message::SubmitError {
                channel,
                sequence: self.u32()?,
                code: self.text()?,
            },
            0x1f => Message::NewExtendedJob(self.extended_job(channel)?),
            0x20 => Message::SetPrevHash {
                channel,
                job: self.u32()?,
                prev_hash: self.u256()?,
                min_ntime: self.u32()?,
                nbits: self.u32()?,
            },
            0x21 => Message::SetTarget {
                channel,
                target: self.u256()?,
            },
            _ => return None,
        })
    }

    fn of_extensions(&mut self, kind: u8) -> Option<Message> {
        let request = self.u16()?;
        Some(match kind {
            0 => Message::RequestExtensions {
                request,
                wanted: self.list()?,
            },
            1 => Message::ExtensionsGranted {
                request,
                granted: self.list()?,
            },
            _ => Message::ExtensionsRefused {
                request,
                unsupported: self.list()?,
                required: self.list()?,
            },
        })
    }

    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    fn f32(&mut self) -> Option<f32> {
        Some(f32::from_le_bytes(self.array()?))
    }

    fn u256(&mut self) -> Option<U256> {
        self.array()
    }

    fn short(&mut self, most: usize) -> Option<Vec<u8>> {
        let len = usize::from(self.u8()?);
        (len <= most).then_some(())?;
        Some(self.take(len)?.to_vec())
    }

    fn text(&mut self) -> Option<String> {
        let bytes = self.short(255)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn long(&mut self) -> Option<Vec<u8>> {
        let len = usize::from(self.u16()?);
        Some(self.take(len)?.to_vec())
    }

    fn option(&mut self) -> Option<Option<u32>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(self.u32()?)),
            _ => None,
        }
    }

    fn list(&mut self) -> Option<Vec<u16>> {
        let len = self.u16()?;
        (0..len).map(|_| self.u16()).collect()
    }

    fn setup(&mut self) -> Option<Setup> {
        Some(Setup {
            protocol: self.u8()?,
            min_version: self.u16()?,
            max_version: self.u16()?,
            flags: self.u32()?,
            host: self.text()?,
            port: self.u16()?,
            vendor: self.text()?,
            hardware: self.text()?,
            firmware: self.text()?,
            device: self.text()?,
        })
    }

    fn open(&mut self, extended: bool) -> Option<Open> {
        Some(Open {
            request: self.u32()?,
            user: self.text()?,
            hashrate: self.f32()?,
            max_target: self.u256()?,
            min_extranonce: if extended { self.u16()? } else { 0 },
        })
    }

    fn opened(&mut self, extended: bool) -> Option<Opened> {
        Some(Opened {
            request: self.u32()?,
            channel: self.u32()?,
            target: self.u256()?,
            extranonce_size: if extended { self.u16()? } else { 0 },
            prefix: self.short(32)?,
            group: self.u32()?,
        })
    }

    fn extended_job(&mut self, channel: u32) -> Option<ExtendedJob> {
        Some(ExtendedJob {
            channel,
            job: self.u32()?,
            min_ntime: self.option()?,
            version: self.u32()?,
            rolling: self.u8()? & 1 == 1,
            path: {
                let len = self.u8()?;
                (0..len).map(|_| self.u256()).collect::<Option<_>>()?
            },
            coinbase_prefix: self.long()?,
            coinbase_suffix: self.long()?,
        })
    }

    fn submit(&mut self, extended: bool) -> Option<Message> {
        let mut submit = Submit {
            channel: self.u32()?,
            sequence: self.u32()?,
            job: self.u32()?,
            nonce: self.u32()?,
            ntime: self.u32()?,
            version: self.u32()?,
            extranonce: Vec::new(),
            worker: None,
        };
        if !extended {
            return Some(Message::SubmitStandard(submit));
        }
        submit.extranonce = self.short(32)?;
        if !self.0.is_empty() {
            submit.worker = Some(self.worker()?);
        }
        Some(Message::SubmitExtended(submit))
    }

    /// The field of extension 0x0002. The spec's example is big-endian, SRI speaks little-endian: both are read.
    fn worker(&mut self) -> Option<String> {
        let (extension, field) = (self.array::<2>()?, self.u8()?);
        let len = self.array::<2>()?;
        let len = if extension == WORKER_TRACKING.to_le_bytes() {
            u16::from_le_bytes(len)
        } else {
            (extension == WORKER_TRACKING.to_be_bytes()).then(|| u16::from_be_bytes(len))?
        };
        (field == 1 && len <= 32).then_some(())?;
        let name = self.take(usize::from(len))?;
        Some(String::from_utf8_lossy(name).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit() -> Submit {
        Submit {
            channel: 7,
            sequence: 1,
            job: 2,
            nonce: 3,
            ntime: 4,
            version: 5,
            extranonce: vec![1; 8],
            worker: Some("w1".into()),
        }
    }

    fn samples() -> Vec<Message> {
        let opened = Opened {
            request: 1,
            channel: 2,
            target: [3; 32],
            extranonce_size: 0,
            prefix: vec![4; 12],
            group: 5,
        };
        let open = Open {
            request: 1,
            user: "u".into(),
            hashrate: 1.5,
            max_target: [0xff; 32],
            min_extranonce: 0,
        };
        let job = ExtendedJob {
            channel: 1,
            job: 2,
            min_ntime: Some(3),
            version: 4,
            rolling: true,
            path: vec![[5; 32]; 12],
            coinbase_prefix: vec![6; 60],
            coinbase_suffix: vec![7; 300],
        };
        let standard = Submit {
            extranonce: vec![],
            worker: None,
            ..submit()
        };
        let code = || "stale-share".to_owned();
        vec![
            Message::SetupConnection(Setup {
                vendor: "v".into(),
                flags: 5,
                ..Setup::default()
            }),
            Message::SetupSuccess {
                version: 2,
                flags: 3,
            },
            Message::SetupError {
                flags: 1,
                code: code(),
            },
            Message::EndpointChanged { channel: 1 },
            Message::Reconnect {
                host: "h".into(),
                port: 1,
            },
            Message::OpenStandard(open.clone()),
            Message::OpenExtended(Open {
                min_extranonce: 4,
                ..open
            }),
            Message::OpenedStandard(opened.clone()),
            Message::OpenedExtended(Opened {
                extranonce_size: 8,
                ..opened
            }),
            Message::OpenError {
                request: 1,
                code: code(),
            },
            Message::UpdateChannel {
                channel: 1,
                hashrate: 2.0,
                max_target: [3; 32],
            },
            Message::UpdateError {
                channel: 1,
                code: code(),
            },
            Message::CloseChannel {
                channel: 1,
                reason: code(),
            },
            Message::SetPrefix {
                channel: 1,
                prefix: vec![2; 32],
            },
            Message::SubmitStandard(standard),
            Message::SubmitExtended(submit()),
            Message::SubmitSuccess {
                channel: 1,
                last: 2,
                count: 3,
                sum: 4,
            },
            Message::SubmitError {
                channel: 1,
                sequence: 2,
                code: code(),
            },
            Message::NewJob {
                channel: 1,
                job: 2,
                min_ntime: None,
                version: 3,
                root: [4; 32],
            },
            Message::NewExtendedJob(job),
            Message::SetPrevHash {
                channel: 1,
                job: 2,
                prev_hash: [3; 32],
                min_ntime: 4,
                nbits: 5,
            },
            Message::SetTarget {
                channel: 1,
                target: [2; 32],
            },
            Message::SetGroup {
                group: 1,
                channels: vec![2, 3],
            },
            Message::RequestExtensions {
                request: 1,
                wanted: vec![2],
            },
            Message::ExtensionsGranted {
                request: 1,
                granted: vec![2],
            },
            Message::ExtensionsRefused {
                request: 1,
                unsupported: vec![2],
                required: vec![3],
            },
        ]
    }

    #[test]
    fn every_message_comes_back_as_it_was_and_a_byte_less_or_more_is_malformed() {
        for message in samples() {
            let frame = message.frame();
            assert_eq!(Message::parse(&frame), Ok(message.clone()));
            let mut short = frame.clone();
            short.payload.pop();
            assert_eq!(Message::parse(&short), Err(Odd::Malformed), "{message:?}");
            let mut long = frame.clone();
            long.payload.push(0);
            assert_eq!(Message::parse(&long), Err(Odd::Malformed), "{message:?}");
            let mut other = frame;
            other.extension ^= CHANNEL_BIT;
            assert!(Message::parse(&other).is_err(), "{message:?}");
        }
    }

    #[test]
    fn the_worker_is_read_in_either_byte_order() {
        let mut frame = Message::SubmitExtended(submit()).frame();
        let at = frame.payload.len() - 7;
        frame.payload[at..at + 2].copy_from_slice(&[0, 2]);
        frame.payload[at + 3..at + 5].copy_from_slice(&[0, 2]);
        assert_eq!(
            Message::parse(&frame),
            Ok(Message::SubmitExtended(submit()))
        );
    }

    #[test]
    fn what_is_not_known_is_told_apart_from_what_is_wrong() {
        for (extension, kind) in [(0, 0x22), (0, 0x77), (0x4001, 0), (0xc001, 0)] {
            let frame = Frame {
                extension,
                kind,
                payload: vec![],
            };
            assert_eq!(Message::parse(&frame), Err(Odd::Unknown));
        }
    }
}
