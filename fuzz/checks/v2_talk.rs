//! What the client of `v2_session` says: each step is one message, made of the program.
//!
//! Invariant: everything goes through `say`, which tells the reference first.

use crate::v2_session::{ROLLED, UNIX_S, World};
use sluice::proxy::session::v2::GROUP;
use sluice::stratum::v2::frame::Header;
use sluice::stratum::v2::message::{
    CloseChannel, Numbers, OpenExtendedMiningChannel, OpenStandardMiningChannel, RequestExtensions,
    SetCustomMiningJob, SetupConnection, SubmitSharesExtended, SubmitSharesStandard, UpdateChannel,
};

impl World<'_> {
    pub(crate) fn set_up(&mut self) {
        let protocol = self.program.pick(&[0, 0, 0, 0, 1]);
        let flags = self.program.pick(&[0, 0, 4, 1, 5, 2, u32::MAX]);
        let max_version = self.program.pick(&[2, 2, 2, 1]);
        self.say(|out| setup(protocol, max_version, flags).write(out));
    }

    /// The usual opening, so that little input gets far.
    pub(crate) fn greet(&mut self) {
        if !self.miner.set_up {
            self.say(|out| setup(0, 2, 0).write(out));
        }
        self.open(true);
        self.seat();
        self.open(false);
        self.seat();
        self.make_work();
    }

    pub(crate) fn open(&mut self, standard: bool) {
        self.requests += 1;
        let request_id = self.requests;
        let nominal_hash_rate = self.program.pick(&[0.0, 1e12, 1e30, 1.0]);
        let max_target = self.target();
        let size = self.program.pick(&[0, 4, 4, 5, 6, 8, 32, 33, 0xffff]);
        self.say(|out| {
            if standard {
                let open = OpenStandardMiningChannel {
                    request_id,
                    user_identity: b"farm.rig",
                    nominal_hash_rate,
                    max_target,
                };
                open.write(out);
            } else {
                let open = OpenExtendedMiningChannel {
                    request_id,
                    user_identity: b"<b>",
                    nominal_hash_rate,
                    max_target,
                    min_extranonce_size: size,
                };
                open.write(out);
            }
        });
    }

    /// All of it, none, and around powers of two.
    pub(crate) fn target(&mut self) -> [u8; 32] {
        let mut target = [0xff; 32];
        match self.program.byte() {
            0..=127 => {}
            128..=159 => target = [0; 32],
            place => {
                target = [0; 32];
                target[usize::from(place % 32)] = self.program.byte();
                target[usize::from(self.program.byte() % 32)] = 1;
            }
        }
        target
    }

    pub(crate) fn share_standard(&mut self) {
        let (channel_id, share) = self.found();
        self.say(|out| {
            SubmitSharesStandard {
                channel_id,
                ..share
            }
            .write(out);
        });
    }

    pub(crate) fn share_extended(&mut self) {
        let (channel_id, share) = self.found();
        let size = self.program.pick(&[4, 4, 4, 2, 6, 0, 32]);
        let tail = self.program.pick(&[
            &b""[..],
            b"\x02\x00\x01\x02\x00me",
            b"\x02\x00\x01\x21\x00",
            b"\x00\x02\x01",
        ]);
        let extranonce = [self.program.byte(); 32];
        self.say(|out| {
            SubmitSharesExtended {
                channel_id,
                sequence_number: share.sequence_number,
                job_id: share.job_id,
                nonce: share.nonce,
                ntime: share.ntime,
                version: share.version,
                extranonce: &extranonce[..size],
                tlv: tail,
            }
            .write(out);
        });
    }

    /// A share near every limit.
    pub(crate) fn found(&mut self) -> (u32, SubmitSharesStandard) {
        let (id, job) = self.miner.channel(self.program.byte()).unwrap_or((2, 1));
        let channel_id = self.program.pick(&[id, id, id, id, id, GROUP, 0, id + 1]);
        let share = SubmitSharesStandard {
            channel_id,
            sequence_number: u32::from(self.program.byte()),
            job_id: job.wrapping_sub(self.program.pick(&[0, 0, 0, 1, 2, 40])),
            nonce: u32::from(self.program.byte()),
            ntime: UNIX_S as u32 + self.program.pick(&[255, 255, 255, 0, 7000, 8000]),
            version: 0x2000_0000 ^ self.program.pick(&[0, 0, 0x2000, ROLLED, 1]),
        };
        (channel_id, share)
    }

    pub(crate) fn update(&mut self) {
        let (id, _) = self.miner.channel(self.program.byte()).unwrap_or((2, 1));
        let channel_id = self.program.pick(&[id, id, id, GROUP, 0]);
        let nominal_hash_rate = self.program.pick(&[0.0, 1e12, 1e30, 1.0]);
        let maximum_target = self.target();
        self.say(|out| {
            UpdateChannel {
                channel_id,
                nominal_hash_rate,
                maximum_target,
            }
            .write(out);
        });
    }

    pub(crate) fn close_channel(&mut self) {
        let (id, _) = self.miner.channel(self.program.byte()).unwrap_or((2, 1));
        let channel_id = self.program.pick(&[id, id, id, GROUP, 0, id + 1]);
        self.say(|out| {
            CloseChannel {
                channel_id,
                reason_code: b"",
            }
            .write(out);
        });
    }

    pub(crate) fn extensions(&mut self) {
        let asked = [[self.program.byte() % 4, 0], [2, 0]];
        let count = usize::from(self.program.byte() % 3);
        self.say(|out| {
            RequestExtensions {
                request_id: 1,
                requested_extensions: Numbers(&asked[..count]),
            }
            .write(out);
        });
    }

    /// Any bytes as the payload of any kind.
    pub(crate) fn raw(&mut self) {
        let extension = self.program.pick(&[0, 0, 0x8000, 1, 0x4000, 0xc000]);
        let kind = self.program.byte() % 0x28;
        let payload = self.program.line();
        let payload = &payload[..payload.len().min(1000)];
        let header = Header {
            extension: extension & 0x7fff,
            channel_message: extension & 0x8000 != 0,
            kind,
            length: payload.len() as u32,
        };
        self.say(|out| {
            header.write(out);
            out.extend_from_slice(payload);
        });
    }

    /// Of the first channels, or of none.
    pub(crate) fn custom_job(&mut self) {
        let channel_id = u32::from(self.program.byte() % 4);
        self.say(|out| {
            SetCustomMiningJob {
                channel_id,
                request_id: 5,
                job: b"x",
            }
            .write(out);
        });
    }
}

fn setup(protocol: u8, max_version: u16, flags: u32) -> SetupConnection<'static> {
    SetupConnection {
        protocol,
        min_version: 1,
        max_version,
        flags,
        endpoint_host: b"h",
        endpoint_port: 1,
        vendor: b"v",
        hardware_version: b"",
        firmware: b"\xff",
        device_id: b"",
    }
}
