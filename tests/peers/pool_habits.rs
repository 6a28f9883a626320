//! What pool_sv2 does to a client, message by message: what the link is built on.
//!
//! Not rules (the specification has those) but habits, which the next version may change: a test that fails here says
//! what to look at again. Invariant: spoken by SRI's own messages, so that nothing of ours can hide a difference.

use crate::peers::Pool;
use crate::provider::{HARD, Provider};
use crate::wire::{Reader, Writer, connect};
use sluice::sim::wire::hex;
use stratum_core::binary_sv2::Seq064KOwned;
use stratum_core::codec_sv2::MessageFrame;
use stratum_core::common_messages_sv2::{Protocol, SetupConnectionOwned, SetupConnectionSuccess};
use stratum_core::extensions_sv2::RequestExtensionsOwned;
use stratum_core::mining_sv2::{
    CloseChannelOwned, OpenExtendedMiningChannelOwned, OpenExtendedMiningChannelSuccessOwned,
    SubmitSharesExtendedOwned, UpdateChannelOwned,
};
use stratum_core::parsers_sv2::{
    AnyMessage, AnyMessageOwned, CommonMessagesOwned, ExtensionsNegotiationOwned, ExtensionsOwned,
    MiningOwned,
};

const EASIEST: [u8; 32] = [0xff; 32];
/// 256 hashes a share.
const LAB: [u8; 32] = {
    let mut target = EASIEST;
    target[31] = 0;
    target
};

#[test]
fn the_first_job_is_for_the_channel_and_every_later_one_for_its_group() {
    let (provider, mut client) = set_up();
    let opened = client.open(0.0, LAB, 8);
    assert_eq!((opened.channel_id, opened.group_channel_id), (2, 1));
    assert_eq!(
        (opened.extranonce_prefix.len(), opened.extranonce_size),
        (4, 16)
    );
    let (first, activated) = (client.job(), client.prev_hash());
    assert_eq!(first, (2, 1, None));
    assert_eq!(activated, (2, 1));
    provider.new_template();
    let same_block = client.job();
    assert_eq!((same_block.0, same_block.1), (1, 2));
    assert!(same_block.2.is_some(), "work at once");
    provider.new_block();
    assert_eq!(client.job(), (1, 3, None));
    assert_eq!(client.prev_hash(), (1, 3));
}

#[test]
fn each_channel_counts_its_first_job_anew() {
    let (provider, mut client) = set_up();
    client.open(0.0, LAB, 8);
    client.job();
    client.prev_hash();
    provider.new_block();
    assert_eq!(client.job(), (1, 2, None));
    assert_eq!(client.prev_hash(), (1, 2));
    client.open(0.0, LAB, 8);
    assert_eq!(client.job(), (3, 1, None), "a second job 1");
    assert_eq!(client.prev_hash(), (3, 1));
}

#[test]
fn the_target_is_the_easiest_that_was_asked_for_and_without_hashrate_no_harder() {
    let (_provider, mut client) = set_up();
    assert_eq!(client.open(0.0, LAB, 8).target.to_array(), LAB);
    assert_eq!(client.open(0.0, EASIEST, 8).target.to_array(), EASIEST);
    let much = client.open(1e15, EASIEST, 8).target.to_array();
    // 10^15 H/s at 60,000 shares a minute: 10^12 hashes a share, so 2^256 by about 2^39.9.
    assert_eq!(much[27..], [1, 0, 0, 0, 0]);
}

#[test]
fn update_channel_is_always_answered_with_a_target_even_when_it_is_refused() {
    let (_provider, mut client) = set_up();
    let channel = client.open(0.0, LAB, 8).channel_id;
    client.job();
    client.prev_hash();
    client.update(channel, 0.0, LAB);
    assert_eq!(client.target(), (channel, LAB));
    client.update(channel, f32::NAN, LAB);
    client.hears("UpdateChannelError", "invalid-nominal-hashrate");
    assert_eq!(client.target(), (channel, LAB));
    client.update(77, 0.0, LAB);
    client.hears("UpdateChannelError", "invalid-channel-id");
}

#[test]
fn only_an_extranonce_above_16_bytes_is_refused() {
    let (_provider, mut client) = set_up();
    assert_eq!(client.open(0.0, LAB, 16).extranonce_size, 16);
    client.job();
    client.prev_hash();
    // One too many, and more than anybody can have: a question that costs nothing, to see whether somebody answers.
    for size in [17, u16::MAX] {
        client.ask_open(0.0, LAB, size);
        client.hears("OpenMiningChannelError", "min-extranonce-size-too-large");
    }
}

#[test]
fn a_share_is_refused_by_state_and_one_for_a_closed_channel_too() {
    let (provider, mut client) = set_up();
    let channel = client.open(0.0, LAB, 8).channel_id;
    client.job();
    client.prev_hash();
    client.submit(channel, 9, 16);
    client.hears("SubmitSharesError", "invalid-job-id");
    client.submit(channel, 1, 8);
    client.hears("SubmitSharesError", "bad-extranonce-size");
    provider.new_block();
    client.job();
    client.prev_hash();
    client.submit(channel, 1, 16);
    client.hears("SubmitSharesError", "stale-share");
    let reason_code = "bye".try_into().expect("three letters");
    client.ask(MiningOwned::CloseChannel(CloseChannelOwned {
        channel_id: channel,
        reason_code,
    }));
    client.submit(channel, 2, 16);
    client.hears("SubmitSharesError", "invalid-channel-id");
}

#[test]
fn extensions_are_answered_at_any_time_and_what_is_unknown_is_passed_over() {
    let (_provider, mut client) = set_up();
    client.extensions(&[2, 17_476]);
    client.hears("RequestExtensionsSuccess", "[2]");
    client.extensions(&[17_476]);
    client.hears("RequestExtensionsError", "[17476]");
    for (kind, extension) in [(0x7b, 0), (0x00, 0x3333)] {
        let success = SetupConnectionSuccess {
            used_version: 0,
            flags: 0,
        };
        let frame = MessageFrame::from_message(success, kind, extension, false);
        let frame = frame.expect("six bytes fit");
        client.writer.send_frame(frame).expect("the pool reads");
    }
    client.extensions(&[2]);
    client.hears("RequestExtensionsSuccess", "[2]");
}

/// A miner that says and hears one message at a time.
struct Client {
    reader: Reader,
    writer: Writer,
    requests: u32,
    _pool: Pool,
}

fn set_up() -> (Provider, Client) {
    let provider = Provider::start(HARD);
    let pool = Pool::start(&provider, 1);
    let (reader, writer) = connect(pool.address).expect("the pool answers");
    let mut client = Client {
        reader,
        writer,
        requests: 0,
        _pool: pool,
    };
    let empty = || "".try_into().expect("no letters");
    let setup = SetupConnectionOwned {
        protocol: Protocol::MiningProtocol,
        min_version: 2,
        max_version: 2,
        flags: 0,
        endpoint_host: empty(),
        endpoint_port: 0,
        vendor: empty(),
        hardware_version: empty(),
        firmware: empty(),
        device_id: empty(),
    };
    client.say(CommonMessagesOwned::SetupConnection(setup));
    client.hears("SetupConnectionSuccess", "flags: 0");
    (provider, client)
}

impl Client {
    fn say(&mut self, message: impl Into<AnyMessageOwned>) {
        self.writer.send(message).expect("the pool reads");
    }

    fn ask(&mut self, message: MiningOwned) {
        self.say(AnyMessageOwned::Mining(message));
    }

    fn next(&mut self) -> AnyMessageOwned {
        let (header, mut payload) = self.reader.next().expect("the connection is open");
        let message = AnyMessage::try_from((header, payload.as_mut_slice()));
        message.expect("SRI reads SRI").into_owned()
    }

    fn mining(&mut self) -> MiningOwned {
        match self.next() {
            AnyMessageOwned::Mining(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// The next message is this one, and says this.
    fn hears(&mut self, name: &str, what: &str) {
        let message = format!("{:?}", self.next());
        assert!(message.contains(name), "{name} in {message}");
        // Text is shown as its bytes.
        let there = message.contains(what) || message.contains(&hex(what.as_bytes()));
        assert!(there, "{what} in {message}");
    }

    fn ask_open(&mut self, nominal_hash_rate: f32, max_target: [u8; 32], extranonce: u16) {
        self.requests += 1;
        self.ask(MiningOwned::OpenExtendedMiningChannel(
            OpenExtendedMiningChannelOwned {
                request_id: self.requests,
                user_identity: "lab".try_into().expect("three letters"),
                nominal_hash_rate,
                max_target: max_target.into(),
                min_extranonce_size: extranonce,
            },
        ));
    }

    fn open(
        &mut self,
        hashrate: f32,
        target: [u8; 32],
        extranonce: u16,
    ) -> OpenExtendedMiningChannelSuccessOwned {
        self.ask_open(hashrate, target, extranonce);
        loop {
            // Jobs of channels opened before come in between.
            if let MiningOwned::OpenExtendedMiningChannelSuccess(opened) = self.mining() {
                return opened;
            }
        }
    }

    /// A job: for whom, its id, its time if it is for now.
    fn job(&mut self) -> (u32, u32, Option<u32>) {
        match self.mining() {
            MiningOwned::NewExtendedMiningJob(job) => {
                (job.channel_id, job.job_id, job.min_ntime.into_inner())
            }
            other => panic!("{other}"),
        }
    }

    /// A new block: for whom, and the job it makes present.
    fn prev_hash(&mut self) -> (u32, u32) {
        match self.mining() {
            MiningOwned::SetNewPrevHash(activated) => (activated.channel_id, activated.job_id),
            other => panic!("{other}"),
        }
    }

    fn target(&mut self) -> (u32, [u8; 32]) {
        match self.mining() {
            MiningOwned::SetTarget(set) => (set.channel_id, set.maximum_target.to_array()),
            other => panic!("{other}"),
        }
    }

    fn update(&mut self, channel_id: u32, nominal_hash_rate: f32, target: [u8; 32]) {
        self.ask(MiningOwned::UpdateChannel(UpdateChannelOwned {
            channel_id,
            nominal_hash_rate,
            maximum_target: target.into(),
        }));
    }

    fn submit(&mut self, channel_id: u32, job_id: u32, extranonce: usize) {
        let share = SubmitSharesExtendedOwned {
            channel_id,
            sequence_number: 1,
            job_id,
            nonce: 0,
            ntime: 0,
            version: 0x2000_0000,
            extranonce: vec![0; extranonce].try_into().expect("up to 32 bytes"),
        };
        self.ask(MiningOwned::SubmitSharesExtended(share));
    }

    fn extensions(&mut self, wanted: &[u16]) {
        self.requests += 1;
        let request = RequestExtensionsOwned {
            request_id: self.requests as u16,
            requested_extensions: Seq064KOwned::new(wanted.to_vec()).expect("few"),
        };
        let request = ExtensionsNegotiationOwned::RequestExtensions(request);
        let request = ExtensionsOwned::ExtensionsNegotiation(request);
        self.say(AnyMessageOwned::Extensions(request));
    }
}
