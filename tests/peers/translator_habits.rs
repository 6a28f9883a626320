//! What translator_sv2 does to a server, message by message: what the session is built on, and what it must never say.
//!
//! Not rules but habits, as in `pool_habits`; what ends the program here would take a farm off the grid. Invariant: both
//! ends are spoken by others, so that nothing of ours can hide a difference.

use crate::lab::*;
use crate::peers::{Translation, Translator};
use crate::wire::{Reader, Writer, accept};
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use serde_json::json;
use std::net::{TcpListener, TcpStream};
use stratum_core::binary_sv2::{Seq0255Owned, Sv2OptionOwned};
use stratum_core::common_messages_sv2::{
    ReconnectOwned, SetupConnectionOwned, SetupConnectionSuccess,
};
use stratum_core::mining_sv2::{
    CloseChannelOwned, NewExtendedMiningJobOwned, OpenExtendedMiningChannelOwned,
    OpenExtendedMiningChannelSuccessOwned, OpenMiningChannelErrorOwned, SetNewPrevHashOwned,
    UpdateChannelOwned,
};
use stratum_core::parsers_sv2::{AnyMessage, AnyMessageOwned, CommonMessagesOwned, MiningOwned};

const ONE: Translation = Translation {
    aggregated: true,
    extranonce2: 4,
    names_workers: false,
};
const EACH: Translation = Translation {
    aggregated: false,
    extranonce2: 4,
    names_workers: false,
};
/// Of a lab share in its configuration: 257 hashes.
const HASHRATE: f32 = 256.0;

#[test]
fn it_wants_version_rolling_and_opens_nothing_before_a_miner_speaks() {
    let (mut server, setup) = Server::below(ONE);
    assert_eq!(
        (setup.min_version, setup.max_version, setup.flags),
        (2, 2, 0b100)
    );
    let _miner = server.miner();
    // The first that it says.
    let open = server.asked();
    assert_eq!(open.min_extranonce_size, 6, "two to tell its miners apart");
    assert_eq!(open.nominal_hash_rate, HASHRATE);
}

#[test]
fn with_a_channel_for_each_it_asks_for_its_miners_extranonce_and_numbers_them() {
    let (mut server, _) = Server::below(EACH);
    let _first = server.miner();
    let open = server.asked();
    assert_eq!(open.min_extranonce_size, 4);
    assert_eq!(open.user_identity.as_utf8_or_hex(), "lab.miner1");
    server.opens(&open, 5);
    let _second = server.miner();
    assert_eq!(server.asked().user_identity.as_utf8_or_hex(), "lab.miner2");
}

#[test]
fn on_one_channel_it_tells_the_sum_when_a_miner_comes_or_leaves() {
    let (mut server, _) = Server::below(ONE);
    let first = Mining::login(server.works(), "a", &json!(["test"]));
    assert_eq!(server.update().nominal_hash_rate, HASHRATE);
    let second = Mining::login(server.miner(), "b", &json!(["test"]));
    assert_eq!(server.update().nominal_hash_rate, 2.0 * HASHRATE);
    drop(second);
    assert_eq!(server.update().nominal_hash_rate, HASHRATE);
    drop(first);
    let nobody = server.update();
    assert_eq!(nobody.nominal_hash_rate, 0.0);
    assert_eq!(nobody.maximum_target.to_array(), [0xff; 32]);
}

#[test]
fn with_a_channel_for_each_it_closes_the_one_of_a_miner_that_left() {
    let (mut server, _) = Server::below(EACH);
    let miner = Mining::login(server.works(), "a", &json!(["test"]));
    drop(miner);
    let close = server.mining();
    assert!(
        matches!(&close, MiningOwned::CloseChannel(close) if close.channel_id == 5),
        "{close}"
    );
}

#[test]
fn a_closed_channel_of_many_ends_its_miner_alone() {
    let (mut server, _) = Server::below(EACH);
    let mut miner = Mining::login(server.works(), "a", &json!(["test"]));
    server.say(MiningOwned::CloseChannel(CloseChannelOwned {
        channel_id: 5,
        reason_code: "bye".try_into().expect("three letters"),
    }));
    miner.peer.rest();
    server.translator.program.alive();
    let _next = server.miner();
    server.asked();
}

#[test]
fn a_channel_refused_ends_the_program() {
    let (mut server, _) = Server::below(EACH);
    let _miner = server.miner();
    let open = server.asked();
    server.say(MiningOwned::OpenMiningChannelError(
        OpenMiningChannelErrorOwned {
            request_id: open.request_id,
            error_code: "unknown-user".try_into().expect("a code"),
        },
    ));
    server.translator.program.ends();
}

#[test]
fn a_block_for_a_job_it_does_not_know_ends_the_program() {
    let (mut server, _) = Server::below(ONE);
    let _miner = Mining::login(server.works(), "a", &json!(["test"]));
    server.say(MiningOwned::SetNewPrevHash(block(77)));
    server.translator.program.ends();
}

#[test]
fn a_word_to_reconnect_aborts_the_program() {
    let (mut server, _) = Server::below(ONE);
    let _miner = Mining::login(server.works(), "a", &json!(["test"]));
    let reconnect = ReconnectOwned {
        new_host: "".try_into().expect("no letters"),
        new_port: 0,
    };
    let reconnect = CommonMessagesOwned::Reconnect(reconnect);
    server.writer.send(reconnect).expect("it reads");
    server.translator.program.ends();
}

/// A pool above a translator.
struct Server {
    reader: Reader,
    writer: Writer,
    translator: Translator,
}

impl Server {
    fn below(translation: Translation) -> (Self, SetupConnectionOwned) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        // It listens to miners only when this has happened.
        let meeting = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("it connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("live");
            let (mut reader, mut writer) = accept(stream).expect("it shakes hands");
            let setup = match next(&mut reader) {
                AnyMessageOwned::Common(CommonMessagesOwned::SetupConnection(setup)) => setup,
                other => panic!("{other:?}"),
            };
            let success = SetupConnectionSuccess {
                used_version: 2,
                flags: 0,
            };
            writer.send(success).expect("it reads");
            (reader, writer, setup)
        });
        let translator = Translator::start(address, translation);
        let (reader, writer, setup) = meeting.join().expect("it begins as it should");
        let server = Self {
            reader,
            writer,
            translator,
        };
        (server, setup)
    }

    /// A miner of its own that has said its first word; the program answers when its channel is open.
    fn miner(&self) -> Peer<TcpStream> {
        let mut miner = Peer::connect(self.translator.address);
        let params = json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]);
        miner.send(&json!({"id": 0, "method": "mining.configure", "params": params}));
        miner
    }

    /// The same, with a channel and work.
    fn works(&mut self) -> Peer<TcpStream> {
        let miner = self.miner();
        let open = self.asked();
        self.opens(&open, 5);
        miner
    }

    fn say(&mut self, message: MiningOwned) {
        let message = AnyMessageOwned::Mining(message);
        self.writer.send(message).expect("it reads");
    }

    fn mining(&mut self) -> MiningOwned {
        match next(&mut self.reader) {
            AnyMessageOwned::Mining(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self) -> OpenExtendedMiningChannelOwned {
        match self.mining() {
            MiningOwned::OpenExtendedMiningChannel(open) => open,
            other => panic!("{other}"),
        }
    }

    fn update(&mut self) -> UpdateChannelOwned {
        match self.mining() {
            MiningOwned::UpdateChannel(update) => update,
            other => panic!("{other}"),
        }
    }

    /// Opens what was asked for, and gives it a job.
    fn opens(&mut self, open: &OpenExtendedMiningChannelOwned, channel_id: u32) {
        self.say(MiningOwned::OpenExtendedMiningChannelSuccess(
            OpenExtendedMiningChannelSuccessOwned {
                request_id: open.request_id,
                channel_id,
                target: open.max_target.clone(),
                extranonce_size: open.min_extranonce_size,
                extranonce_prefix: vec![7; 8].try_into().expect("8 bytes"),
                group_channel_id: 4,
            },
        ));
        let (prefix, suffix) = coinbase(8 + usize::from(open.min_extranonce_size));
        self.say(MiningOwned::NewExtendedMiningJob(
            NewExtendedMiningJobOwned {
                channel_id: 4,
                job_id: 1,
                min_ntime: Sv2OptionOwned::new(None),
                version: 0x2000_0000,
                version_rolling_allowed: true,
                merkle_path: Seq0255Owned::new(Vec::new()).expect("an empty block"),
                coinbase_tx_prefix: prefix.try_into().expect("short"),
                coinbase_tx_suffix: suffix.try_into().expect("short"),
            },
        ));
        self.say(MiningOwned::SetNewPrevHash(block(1)));
    }
}

fn next(reader: &mut Reader) -> AnyMessageOwned {
    let (header, mut payload) = reader.next().expect("the connection is open");
    let message = AnyMessage::try_from((header, payload.as_mut_slice()));
    message.expect("SRI reads SRI").into_owned()
}

fn block(job_id: u32) -> SetNewPrevHashOwned {
    SetNewPrevHashOwned {
        channel_id: 4,
        job_id,
        prev_hash: [3; 32].into(),
        min_ntime: 1_700_000_000,
        nbits: 0x1d00_ffff,
    }
}

/// A coinbase around so many bytes of extranonce.
fn coinbase(extranonce: usize) -> (Vec<u8>, Vec<u8>) {
    let transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from(vec![0; extranonce]),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(1),
            script_pubkey: ScriptBuf::new(),
        }],
    };
    let bytes = bitcoin::consensus::serialize(&transaction);
    // Behind version, count of inputs, the output they spend, and the script's length.
    let at = 4 + 1 + 36 + 1;
    (bytes[..at].to_vec(), bytes[at + extranonce..].to_vec())
}
