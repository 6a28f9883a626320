//! Messages to bytes. Not the other way (decode.rs).
//!
//! Invariant: encoding cannot fail; a string past its length field is cut.

use super::{
    frame::{CHANNEL_BIT, Frame},
    message::{ExtendedJob, Message, Open, Opened, Setup, Submit, WORKER_TRACKING},
};

impl Message {
    /// The whole frame, as it stands on the plaintext wire.
    pub fn bytes(&self) -> Vec<u8> {
        self.frame().bytes()
    }

    /// As a frame (numbers: SV2 spec section 8).
    pub fn frame(&self) -> Frame {
        const C: u16 = CHANNEL_BIT;
        let mut out = Out::default();
        let (extension, kind) = match self {
            Self::SetupConnection(setup) => (0, out.setup(setup)),
            Self::SetupSuccess { version, flags } => (0, out.u16(*version).u32(*flags).is(0x01)),
            Self::SetupError { flags, code } => (0, out.u32(*flags).text(code).is(0x02)),
            Self::EndpointChanged { channel } => (C, out.u32(*channel).is(0x03)),
            Self::Reconnect { host, port } => (0, out.text(host).u16(*port).is(0x04)),
            Self::OpenStandard(open) => (0, out.open(open).is(0x10)),
            Self::OpenExtended(open) => (0, out.open(open).u16(open.min_extranonce).is(0x13)),
            Self::OpenedStandard(opened) => (0, out.opened(opened, false).is(0x11)),
            Self::OpenedExtended(opened) => (0, out.opened(opened, true).is(0x14)),
            Self::OpenError { request, code } => (0, out.u32(*request).text(code).is(0x12)),
            Self::NewJob {
                channel,
                job,
                min_ntime,
                version,
                root,
            } => {
                out.u32(*channel).u32(*job).option(*min_ntime).u32(*version);
                (C, out.raw(root).is(0x15))
            }
            Self::UpdateChannel {
                channel,
                hashrate,
                max_target,
            } => {
                out.u32(*channel).raw(&hashrate.to_le_bytes());
                (C, out.raw(max_target).is(0x16))
            }
            Self::UpdateError { channel, code } => (C, out.u32(*channel).text(code).is(0x17)),
            Self::CloseChannel { channel, reason } => (C, out.u32(*channel).text(reason).is(0x18)),
            Self::SetPrefix { channel, prefix } => (C, out.u32(*channel).short(prefix).is(0x19)),
            Self::SubmitStandard(submit) => (C, out.submit(submit).is(0x1a)),
            Self::SubmitExtended(submit) => (C, out.submit(submit).extranonce(submit).is(0x1b)),
            Self::SubmitSuccess {
                channel,
                last,
                count,
                sum,
            } => {
                out.u32(*channel).u32(*last).u32(*count);
                (C, out.raw(&sum.to_le_bytes()).is(0x1c))
            }
            Self::SubmitError {
                channel,
                sequence,
                code,
            } => (C, out.u32(*channel).u32(*sequence).text(code).is(0x1d)),
            Self::NewExtendedJob(job) => (C, out.extended_job(job).is(0x1f)),
            Self::SetPrevHash {
                channel,
                job,
                prev_hash,
                min_ntime,
                nbits,
            } => {
                out.u32(*channel).u32(*job).raw(prev_hash);
                (C, out.u32(*min_ntime).u32(*nbits).is(0x20))
            }
            Self::SetTarget { channel, target } => (C, out.u32(*channel).raw(target).is(0x21)),
            Self::SetGroup { group, channels } => {
                out.u32(*group).u16(channels.len() as u16);
                for channel in channels {
                    out.u32(*channel);
                }
                (0, out.is(0x25))
            }
            Self::RequestExtensions { request, wanted } => {
                (1, out.u16(*request).list(wanted).is(0))
            }
            Self::ExtensionsGranted { request, granted } => {
                (1, out.u16(*request).list(granted).is(1))
            }
            Self::ExtensionsRefused {
                request,
                unsupported,
                required,
            } => (1, out.u16(*request).list(unsupported).list(required).is(2)),
        };
        Frame {
            extension,
            kind,
            payload: out.0,
        }
    }
}

/// A payload in the making (data types: SV2 spec 3.1).
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn is(&mut self, kind: u8) -> u8 {
        kind
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// `STR0_255`, `B0_255` and `B0_32`.
    fn short(&mut self, bytes: &[u8]) -> &mut Self {
        let bytes = &bytes[..bytes.len().min(255)];
        self.raw(&[bytes.len() as u8]).raw(bytes)
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.short(text.as_bytes())
    }

    /// `B0_64K`.
    fn long(&mut self, bytes: &[u8]) -> &mut Self {
        let bytes = &bytes[..bytes.len().min(65_535)];
        self.u16(bytes.len() as u16).raw(bytes)
    }

    fn option(&mut self, value: Option<u32>) -> &mut Self {
        match value {
            Some(value) => self.raw(&[1]).u32(value),
            None => self.raw(&[0]),
        }
    }

    fn list(&mut self, values: &[u16]) -> &mut Self {
        self.u16(values.len() as u16);
        for value in values {
            self.u16(*value);
        }
        self
    }

    fn setup(&mut self, setup: &Setup) -> u8 {
        self.raw(&[setup.protocol]).u16(setup.min_version);
        self.u16(setup.max_version).u32(setup.flags);
        self.text(&setup.host).u16(setup.port).text(&setup.vendor);
        self.text(&setup.hardware).text(&setup.firmware);
        self.text(&setup.device).is(0x00)
    }

    fn open(&mut self, open: &Open) -> &mut Self {
        self.u32(open.request).text(&open.user);
        self.raw(&open.hashrate.to_le_bytes()).raw(&open.max_target)
    }

    fn opened(&mut self, opened: &Opened, extended: bool) -> &mut Self {
        self.u32(opened.request).u32(opened.channel);
        self.raw(&opened.target);
        if extended {
            self.u16(opened.extranonce_size);
        }
        self.short(&opened.prefix).u32(opened.group)
    }

    fn submit(&mut self, submit: &Submit) -> &mut Self {
        self.u32(submit.channel).u32(submit.sequence);
        self.u32(submit.job).u32(submit.nonce);
        self.u32(submit.ntime).u32(submit.version)
    }

    /// And the worker behind it: extension, field 1, length, value. Little-endian, as SRI speaks.
    fn extranonce(&mut self, submit: &Submit) -> &mut Self {
        self.short(&submit.extranonce);
        if let Some(worker) = &submit.worker {
            self.u16(WORKER_TRACKING).raw(&[1]).long(worker.as_bytes());
        }
        self
    }

    fn extended_job(&mut self, job: &ExtendedJob) -> &mut Self {
        self.u32(job.channel).u32(job.job).option(job.min_ntime);
        self.u32(job.version).raw(&[u8::from(job.rolling)]);
        self.raw(&[job.path.len() as u8]);
        for hash in &job.path {
            self.raw(hash);
        }
        self.long(&job.coinbase_prefix).long(&job.coinbase_suffix)
    }
}
