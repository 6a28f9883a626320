//! What the pool of `v2_link` says: each step is one message, made of the program and told to the reference first.
//!
//! Invariant: what opens a channel, makes a job or ends a share is said nowhere else, so the reference misses nothing.

use crate::v2_link::{Socket, World};
use crate::v2_pool::Own;
use sluice::machine::Machine;
use sluice::proxy::link::{Input, SettleResult, Settlement};
use sluice::stratum::v2::frame::{Frame, HEADER, Header};
use sluice::stratum::v2::message::{
    ChannelEndpointChanged, CloseChannel, NewExtendedMiningJob, Numbers,
    OpenExtendedMiningChannelSuccess, OpenMiningChannelError, Reconnect, RequestExtensionsError,
    RequestExtensionsSuccess, SetExtranoncePrefix, SetGroupChannel, SetNewPrevHash, SetTarget,
    SetupConnectionError, SetupConnectionSuccess, SubmitSharesError, SubmitSharesSuccess,
    UpdateChannelError,
};

/// Ours, our group's, and what is neither.
const CHANNELS: [u32; 4] = [7, 7, 3, 99];
const PREV_HASHES: [[u8; 32]; 2] = [[0; 32], [0x11; 32]];

impl World<'_> {
    pub(crate) fn set_up(&mut self) {
        let version = self.program.pick(&[2, 2, 2, 3]);
        let flags = u32::from(self.program.byte());
        if self.program.byte() == 0 {
            let refused = SetupConnectionError {
                flags,
                error_code: b"unsupported-feature-flags",
            };
            return self.told(|out| refused.write(out));
        }
        self.told_set_up(version, flags);
    }

    pub(crate) fn told_set_up(&mut self, used_version: u16, flags: u32) {
        self.pool.welcomed |= self.pool.setup;
        let told = SetupConnectionSuccess {
            used_version,
            flags,
        };
        self.told(|out| told.write(out));
    }

    pub(crate) fn extensions(&mut self) {
        let Some(request_id) = self.pool.extensions.take() else {
            return;
        };
        let list = [[2, 0], [3, 0]];
        let granted = Numbers(&list[usize::from(self.program.byte() & 1)..]);
        if self.program.byte() < 200 {
            let told = RequestExtensionsSuccess {
                request_id,
                supported_extensions: granted,
            };
            self.told(|out| told.write(out));
        } else {
            let told = RequestExtensionsError {
                request_id,
                unsupported_extensions: granted,
                required_extensions: granted,
            };
            self.told(|out| told.write(out));
        }
    }

    /// Answers one request for a channel, or a request that was never made.
    pub(crate) fn answer_opens(&mut self) {
        match self.program.byte() {
            0..=99 => self.grant(),
            100..=219 => self.deny(),
            _ => {
                let told = OpenMiningChannelError {
                    request_id: u32::from(self.program.byte()),
                    error_code: b"?",
                };
                self.pool.opens.remove(&told.request_id);
                self.told(|out| told.write(out));
            }
        }
    }

    fn deny(&mut self) {
        if let Some((request_id, _)) = self.pool.opens.pop_first() {
            let told = OpenMiningChannelError {
                request_id,
                error_code: b"min-extranonce-size-too-large",
            };
            self.told(|out| told.write(out));
        }
    }

    pub(crate) fn grant(&mut self) {
        let Some((request_id, _)) = self.pool.opens.pop_first() else {
            return;
        };
        if self.pool.workers.remove(&request_id) {
            return self.grant_own(request_id);
        }
        let first = self.pool.channel.is_none();
        let size = self.program.pick(&[8, 8, 16, 4, 32, 0, 33]);
        let target = self.target();
        let prefix = [0xaa, 0xbb, 0xcc];
        if first {
            self.pool.channel = Some((7, size));
            self.pool.prefix = prefix.to_vec();
        }
        let told = OpenExtendedMiningChannelSuccess {
            request_id,
            channel_id: if first { 7 } else { 50 },
            target,
            extranonce_size: size,
            extranonce_prefix: &prefix,
            group_channel_id: 3,
        };
        self.told(|out| told.write(out));
    }

    /// A channel for a worker, mostly as it must be.
    fn grant_own(&mut self, request_id: u32) {
        let size = self.program.pick(&[8, 8, 8, 16, 4, 0, 33]);
        let (high, used) = (1000 + request_id, 1000);
        let channel_id = self.program.pick(&[high, high, high, used, 7]);
        let mut prefix = vec![0xb0];
        prefix.extend(request_id.to_be_bytes());
        let own = Own::new(channel_id, size, prefix.clone());
        self.pool.owns.push(own);
        let told = OpenExtendedMiningChannelSuccess {
            request_id,
            channel_id,
            target: self.target(),
            extranonce_size: size,
            extranonce_prefix: &prefix,
            group_channel_id: 3,
        };
        self.told(|out| told.write(out));
    }

    /// Now and then what is neither ours nor our group's is a worker's.
    fn addressed(&self, channel: u32) -> u32 {
        match self.pool.owns.last() {
            Some(own) if channel == 99 => own.id,
            _ => channel,
        }
    }

    fn target(&mut self) -> [u8; 32] {
        let mut target = [0xff; 32];
        let zeros = usize::from(self.program.byte() % 8) * 5;
        target[32 - zeros.min(32)..].fill(0);
        target
    }

    pub(crate) fn job(&mut self) {
        let id = u32::from(self.program.byte() % 32);
        let ntimes = [None, None, Some(0x684e_e180), Some(u32::MAX), Some(0)];
        let ntime = self.program.pick(&ntimes);
        let kind = self.program.byte();
        self.job_of(id, ntime, kind);
    }

    pub(crate) fn job_of(&mut self, job_id: u32, min_ntime: Option<u32>, kind: u8) {
        let long = vec![1; 33 * 1024];
        let path = [[0x22; 32]; 33];
        let suffix: &[u8] = match kind % 16 {
            0..=11 => &[1],
            12 | 13 => &[2, 3],
            14 => &[],
            _ => &long,
        };
        let branches = match kind >> 4 {
            15 => 33,
            few => usize::from(few % 3),
        };
        let told = NewExtendedMiningJob {
            channel_id: self.addressed(CHANNELS[usize::from(kind) % 4]),
            job_id,
            min_ntime,
            version: 0x2000_0000,
            version_rolling_allowed: kind & 4 == 0,
            merkle_path: &path[..branches],
            coinbase_tx_prefix: &[1, 0, 0, 0, 1],
            coinbase_tx_suffix: suffix,
        };
        if self.socket == Socket::Open {
            self.pool.sends(&told);
        }
        self.told(|out| told.write(out));
    }

    pub(crate) fn new_prev_hash(&mut self) {
        let channel = self.program.pick(&CHANNELS);
        let job = u32::from(self.program.byte() % 32);
        let kind = self.program.byte();
        self.told_prev_hash(channel, job, kind);
    }

    pub(crate) fn told_prev_hash(&mut self, channel_id: u32, job_id: u32, kind: u8) {
        let channel_id = self.addressed(channel_id);
        let told = SetNewPrevHash {
            channel_id,
            job_id,
            prev_hash: PREV_HASHES[usize::from(kind & 1)],
            min_ntime: [0x684e_e180, 0x684e_e1ff, u32::MAX, 0][usize::from(kind >> 1) % 4],
            nbits: [0x1703_4219, 0x1703_4219, 0x207f_ffff, 0][usize::from(kind >> 3) % 4],
        };
        if self.pool.channel.is_some() && [7, 3].contains(&channel_id) {
            let newest = self.pool.newest.as_ref();
            self.pool.valid_from = newest.map_or(0, |newest| newest.work.id.0 + 1);
            self.pool.tip = Some((told.prev_hash, told.min_ntime));
            self.pool.is_new = true;
        }
        self.told(|out| told.write(out));
    }

    /// Target, prefix, group.
    pub(crate) fn terms(&mut self) {
        let channel_id = self.program.pick(&CHANNELS);
        match self.program.byte() % 4 {
            0 | 1 => {
                let maximum_target = self.target();
                let told = SetTarget {
                    channel_id,
                    maximum_target,
                };
                self.told(|out| told.write(out));
            }
            2 => {
                let prefix = [self.program.byte(); 5];
                let prefix = &prefix[..usize::from(prefix[0] % 6)];
                if channel_id == 7 && self.pool.channel.is_some() {
                    self.pool.prefix = prefix.to_vec();
                }
                let told = SetExtranoncePrefix {
                    channel_id,
                    extranonce_prefix: prefix,
                };
                self.told(|out| told.write(out));
            }
            _ => {
                let members = [7u32.to_le_bytes(), 8u32.to_le_bytes()];
                let told = SetGroupChannel {
                    group_channel_id: self.program.pick(&[3, 7]),
                    channel_ids: Numbers(&members[usize::from(self.program.byte() & 1)..]),
                };
                self.told(|out| told.write(out));
            }
        }
    }

    /// What ends or changes a connection.
    pub(crate) fn rest(&mut self) {
        let channel_id = self.program.pick(&CHANNELS);
        match self.program.byte() {
            0..=15 => {
                let told = CloseChannel {
                    channel_id,
                    reason_code: b"",
                };
                self.told(|out| told.write(out));
            }
            16..=63 => {
                let hosts: [&[u8]; 4] =
                    [b"", b"pool.example", b"evil.example.com", b"a.example.org"];
                let told = Reconnect {
                    new_host: self.program.pick(&hosts),
                    new_port: u16::from(self.program.byte()),
                };
                self.told(|out| told.write(out));
            }
            64..=127 => {
                let told = ChannelEndpointChanged { channel_id };
                self.told(|out| told.write(out));
            }
            128..=159 => {
                let told = UpdateChannelError {
                    channel_id,
                    error_code: b"\n",
                };
                self.told(|out| told.write(out));
            }
            160 if self.socket == Socket::Open => self.input(Input::Overlong),
            161..=176 => {
                let told = CloseChannel {
                    channel_id: self.addressed(99),
                    reason_code: b"full",
                };
                self.told(|out| told.write(out));
            }
            _ => {
                self.machine.handle_timeout(self.now);
                self.drain();
            }
        }
    }

    /// Any kind of message with any bytes.
    pub(crate) fn raw(&mut self) {
        let kind = self.program.byte();
        let extension = self.program.pick(&[0, 0x8000, 1, 0x4001]);
        let payload = self.program.line();
        // What opens a channel is played by its own steps, so that the reference knows of it.
        if !matches!(kind, 0x01 | 0x14 | 0x19 | 0x1c | 0x1d | 0x1f | 0x20) {
            let [low, high] = u16::to_le_bytes(extension);
            let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
            self.told(|out| {
                out.extend([low, high, kind, a, b, c]);
                out.extend(payload);
            });
        }
    }

    pub(crate) fn accept(&mut self) {
        let place = usize::from(self.program.byte());
        let Some(last) = self.some_share(place) else {
            return;
        };
        let channel_id = self.pool.shares[&last].0;
        let before = self.pool.shares.len();
        let ended = |number: u32, of: u32| of == channel_id && number <= last;
        self.pool
            .shares
            .retain(|number, (of, _)| !ended(*number, *of));
        let open = before - self.pool.shares.len();
        let told = SubmitSharesSuccess {
            channel_id,
            last_sequence_number: last,
            new_submits_accepted_count: u32::from(self.program.byte()),
            new_shares_sum: 0,
        };
        self.told(|out| told.write(out));
        assert_eq!(self.last.len(), open, "shares without their end");
        let good = |end: &Settlement| end.result == SettleResult::Accepted;
        assert!(self.last.iter().all(good));
        // A second answer changes nothing.
        self.told(|out| told.write(out));
        assert!(self.last.is_empty());
    }

    pub(crate) fn refuse(&mut self) {
        let place = usize::from(self.program.byte());
        let Some(sequence_number) = self.some_share(place) else {
            return;
        };
        let (channel_id, nonce) = self.pool.shares[&sequence_number];
        self.pool.shares.remove(&sequence_number);
        let codes: [&[u8]; 4] = [b"stale-share", b"duplicate-share", b"", b"\xff\0"];
        let told = SubmitSharesError {
            channel_id,
            sequence_number,
            error_code: self.program.pick(&codes),
        };
        self.told(|out| told.write(out));
        let [end] = &self.last[..] else {
            panic!("{} ends of one share", self.last.len());
        };
        assert!(matches!(end.result, SettleResult::Rejected(_)));
        let given = &self.pool.given[&nonce];
        assert_eq!(end.worker, given.share.worker);
    }

    fn some_share(&self, place: usize) -> Option<u32> {
        let count = self.pool.shares.len().max(1);
        let share = self.pool.shares.keys().nth(place % count);
        share.copied().filter(|_| self.socket == Socket::Open)
    }

    /// The pool says something.
    fn told(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.last.clear();
        if self.socket != Socket::Open {
            return;
        }
        let mut bytes = Vec::new();
        write(&mut bytes);
        let (header, payload) = bytes.split_first_chunk::<HEADER>().expect("a header");
        let frame = Frame {
            header: Header::parse(header),
            payload,
        };
        self.input(Input::Frame(frame));
    }
}
