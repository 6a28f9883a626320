//! The same channel of `channels_sv2`, the reference implementation, with the same job: its bare verdict, and the way from
//! the share's frame to the frame of the answer through the reference's own codec. Nothing is timed here.

use crate::channel;
use crate::lab::{self, EASY, Kind, LANE};
use sluice::work::{Work, share};
use std::hint::black_box;
use stratum_core::binary_sv2::Sv2OptionOwned;
use stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_core::channels_sv2::client::share_accounting::ShareValidationError;
use stratum_core::channels_sv2::client::share_accounting::ShareValidationResult;
use stratum_core::channels_sv2::client::standard::StandardChannel;
use stratum_core::channels_sv2::extranonce_manager::ExtranoncePrefix;
use stratum_core::framing_sv2::framing::{EncodableFrame as _, MessageFrame, SerializedFrame};
use stratum_core::mining_sv2::{
    CHANNEL_BIT_SUBMIT_SHARES_SUCCESS, MESSAGE_TYPE_SUBMIT_SHARES_SUCCESS, NewMiningJobOwned,
    SetNewPrevHashOwned, SubmitSharesSuccessOwned,
};
use stratum_core::parsers_sv2::{AnyMessageOwned, MiningOwned, parse_message_frame_with_tlvs};

type Verdict = Result<ShareValidationResult, ShareValidationError>;

/// The channel.
pub(crate) struct Rival {
    kind: Kind,
    work: Work,
    channel: Channel,
    sequence: u32,
}

enum Channel {
    Extended(Box<ExtendedChannel>),
    Standard(Box<StandardChannel>),
}

impl Rival {
    pub(crate) fn new(kind: Kind) -> Self {
        // Its job has the id 1, as the work.
        let work = lab::work(1);
        let channel = match kind {
            Kind::Extended => Channel::Extended(Box::new(channel::of(&work, LANE, &EASY))),
            Kind::Standard => Channel::Standard(Box::new(standard(&work))),
        };
        Self {
            kind,
            work,
            channel,
            sequence: 0,
        }
    }

    /// So many shares that were not sent yet, a frame each.
    pub(crate) fn written(&mut self, shares: u32) -> Vec<Vec<u8>> {
        let frame = |_| {
            self.sequence += 1;
            let mut bytes = Vec::new();
            lab::write(self.kind, 1, &self.work, self.sequence, &mut bytes);
            bytes
        };
        (0..shares).map(frame).collect()
    }

    /// As parsed.
    pub(crate) fn parsed(&mut self, shares: u32) -> Vec<MiningOwned> {
        let mut frames = self.written(shares);
        frames.iter_mut().map(|frame| parse(frame)).collect()
    }

    /// Verdicts alone.
    pub(crate) fn judge(&mut self, shares: Vec<MiningOwned>) {
        for share in shares {
            assert!(black_box(self.verdict(share)).is_ok());
        }
    }

    /// From frames to the frame of one answer to them all.
    pub(crate) fn answer(&mut self, frames: &mut [Vec<u8>]) {
        let count = frames.len() as u32;
        for frame in frames {
            let share = parse(frame);
            assert!(self.verdict(share).is_ok());
        }
        let success = SubmitSharesSuccessOwned {
            channel_id: 1,
            last_sequence_number: self.sequence,
            new_submits_accepted_count: count,
            new_shares_sum: u64::from(count),
        };
        let kind = MESSAGE_TYPE_SUBMIT_SHARES_SUCCESS;
        let channel_bit = CHANNEL_BIT_SUBMIT_SHARES_SUCCESS;
        let frame = MessageFrame::from_message(success, kind, 0, channel_bit);
        let frame = frame.expect("it is short");
        let mut bytes = vec![0; frame.encoded_length()];
        frame.encode_into(&mut bytes).expect("there is room");
        black_box(bytes);
    }

    fn verdict(&mut self, share: MiningOwned) -> Verdict {
        match (&mut self.channel, share) {
            (Channel::Extended(channel), MiningOwned::SubmitSharesExtended(share)) => {
                channel.validate_share(share)
            }
            (Channel::Standard(channel), MiningOwned::SubmitSharesStandard(share)) => {
                channel.validate_share(share)
            }
            _ => panic!("a share of the channel's kind was written"),
        }
    }
}

/// As SRI's roles read a message.
fn parse(bytes: &mut [u8]) -> MiningOwned {
    let mut frame = SerializedFrame::from_bytes(bytes).expect("it is one frame");
    let header = frame.header();
    let parsed = parse_message_frame_with_tlvs(header, frame.payload(), &[]);
    let (message, _) = parsed.expect("it is a share");
    match message.into_owned() {
        AnyMessageOwned::Mining(message) => message,
        _ => panic!("it is a message of mining"),
    }
}

fn standard(work: &Work) -> StandardChannel {
    let prefix = [&LANE.bytes(work.layout)[..], &[0; 4]].concat();
    let mut root = [[0; 32]];
    share::roots(work, &[(LANE, [0; 8])], &mut root);
    let mut channel = StandardChannel::new(
        1,
        "miner".into(),
        ExtranoncePrefix::from_wire(prefix).expect("it is short"),
        bitcoin::Target::from_le_bytes(EASY),
        1.0,
        None,
    )
    .expect("it is in order");
    let job = NewMiningJobOwned {
        channel_id: 1,
        job_id: 1,
        min_ntime: Sv2OptionOwned::new(None),
        version: work.version,
        merkle_root: root[0].into(),
    };
    channel.on_new_mining_job(job).expect("the job is in order");
    let activated = channel.on_set_new_prev_hash(SetNewPrevHashOwned {
        channel_id: 1,
        job_id: 1,
        prev_hash: work.prev_hash.into(),
        nbits: work.nbits,
        min_ntime: work.ntime,
    });
    activated.expect("the job is there");
    channel
}
