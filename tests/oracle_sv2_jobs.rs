//! `stratum_translation`, of the Stratum V2 reference implementation, as an oracle: what V1 miners are told of a V2 pool's
//! job.
//!
//! Not what becomes of their shares. The one difference: there the pool's extranonce prefix is the head of a miner's
//! extranonce1, with us it is the tail of the first half of the coinbase, as are zeros where the pool left more room than
//! we need: the same bytes on the wire to the block. The pool's own job id is not shown to miners.

use proptest::prelude::*;
use serde_json::Value;
use sluice::machine::Machine;
use sluice::proxy::lease::Issue;
use sluice::proxy::link::{Config, Identity, Input, Link, Output, Protocol};
use sluice::stratum::v2::frame::{Frames, MAX_UP};
use sluice::stratum::v2::message::{
    NewExtendedMiningJob, OpenExtendedMiningChannelSuccess, SetNewPrevHash, SetupConnectionSuccess,
};
use sluice::work::{Layout, LinkId};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};
use stratum_core::binary_sv2::Sv2OptionOwned;
use stratum_core::mining_sv2::{NewExtendedMiningJobOwned, SetNewPrevHashOwned};
use stratum_core::stratum_translation::sv2_to_sv1::build_sv1_notify_from_sv2;
use stratum_core::sv1_api::Message;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_v1_miner_is_told_the_same_job_as_by_the_reference_implementation(
        prefix in prop::collection::vec(any::<u8>(), 0..=16),
        size in 8..=16u16,
        script in prop::collection::vec(any::<u8>(), 0..=80),
        outputs in prop::collection::vec(any::<u8>(), 0..=250),
        branch in prop::collection::vec(any::<[u8; 32]>(), 0..=14),
        (prev_hash, version) in any::<([u8; 32], u32)>(),
        (min_ntime, later) in (1_500_000_000..2_000_000_000u32, 0..1_000u32),
        is_future: bool,
    ) {
        let mut pool = Pool::new(&prefix, size);
        // A coinbase without the marker of BIP 141, as the specification wants it.
        let head = [&[2, 0, 0, 0, 1][..], &[0; 32], &[0xff; 4], &[script.len() as u8], &script].concat();
        let block = SetNewPrevHash { channel_id: 7, job_id: 1, prev_hash, min_ntime, nbits: 0x1705_1234 };
        let job = |job_id, min_ntime| NewExtendedMiningJob {
            channel_id: 7,
            job_id,
            min_ntime,
            version,
            version_rolling_allowed: true,
            merkle_path: &branch,
            coinbase_tx_prefix: &head,
            coinbase_tx_suffix: &outputs,
        };
        let first = job(1, None);
        pool.says(|out| first.write(out));
        pool.says(|out| block.write(out));
        let mut told = first;
        if !is_future {
            // Other work: of the same once more we would advance the time, so that nobody mines it again.
            told = NewExtendedMiningJob { coinbase_tx_suffix: b"other", ..job(2, Some(min_ntime + later)) };
            pool.says(|out| told.write(out));
        }
        let issue = pool.issue();
        for (clean, ours) in [(true, &issue.v1_clean), (false, &issue.v1_keep)] {
            let mut theirs = reference(&block, &told, clean);
            let tail = [&prefix[..], &vec![0; usize::from(size) - 8]].concat();
            let coinb1 = format!("{}{}", theirs[2].as_str().expect("hex"), hex(&tail));
            theirs[2] = coinb1.into();
            let mut ours = params(ours);
            // The numbers are each one's own.
            ours[0] = Value::Null;
            theirs[0] = Value::Null;
            prop_assert_eq!(ours, theirs);
        }
    }
}

/// The parameters of their notify.
fn reference(block: &SetNewPrevHash, job: &NewExtendedMiningJob<'_>, clean: bool) -> Value {
    let branch: Vec<_> = job.merkle_path.iter().map(|node| (*node).into()).collect();
    let notify = build_sv1_notify_from_sv2(
        SetNewPrevHashOwned {
            channel_id: block.channel_id,
            job_id: block.job_id,
            prev_hash: block.prev_hash.into(),
            min_ntime: block.min_ntime,
            nbits: block.nbits,
        },
        NewExtendedMiningJobOwned {
            channel_id: job.channel_id,
            job_id: job.job_id,
            min_ntime: Sv2OptionOwned::new(job.min_ntime),
            version: job.version,
            version_rolling_allowed: job.version_rolling_allowed,
            coinbase_tx_prefix: fits(job.coinbase_tx_prefix.to_vec()),
            coinbase_tx_suffix: fits(job.coinbase_tx_suffix.to_vec()),
            merkle_path: fits(branch),
        },
        clean,
    );
    let notify = Message::from(notify.expect("no witness to strip"));
    params(&serde_json::to_vec(&notify).expect("JSON"))
}

fn params(line: &[u8]) -> Value {
    let mut line: Value = serde_json::from_slice(line).expect("JSON");
    line["params"].take()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A link of ours, and the pool that it is connected to.
struct Pool {
    now: Instant,
    link: Link,
    issue: Option<Arc<Issue>>,
}

impl Pool {
    /// With an open channel and no job.
    fn new(prefix: &[u8], extranonce_size: u16) -> Self {
        let now = Instant::now();
        let link = Link::new(now, config(), Arc::new(AtomicU32::new(1)));
        let mut pool = Self {
            now,
            link,
            issue: None,
        };
        pool.input(Input::Layout(Layout::WIDE));
        pool.input(Input::Connected);
        let setup = SetupConnectionSuccess {
            used_version: 2,
            flags: 0,
        };
        pool.says(|out| setup.write(out));
        let open = OpenExtendedMiningChannelSuccess {
            request_id: 1,
            channel_id: 7,
            target: [0xff; 32],
            extranonce_size,
            extranonce_prefix: prefix,
            group_channel_id: 3,
        };
        // Whichever number the request has.
        for request_id in 0..4 {
            pool.says(|out| OpenExtendedMiningChannelSuccess { request_id, ..open }.write(out));
        }
        pool
    }

    fn says(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let (mut frames, mut chunk) = (Frames::new(MAX_UP), &bytes[..]);
        while let Some(frame) = frames.next(&mut chunk) {
            self.input(Input::Frame(frame.expect("within the cap")));
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.link.handle_input(self.now, input);
        while let Some(output) = self.link.poll_output() {
            if let Output::Issue(issue) = output {
                self.issue = Some(issue);
            }
        }
    }

    fn issue(&self) -> &Arc<Issue> {
        self.issue.as_ref().expect("work was issued")
    }
}

fn config() -> Config {
    Config {
        id: LinkId(0),
        protocol: Protocol::V2,
        name: "pool".into(),
        host: "pool.example".into(),
        port: 3336,
        tls: false,
        user: "account".into(),
        password: String::new(),
        identity: Identity::Account,
        version_mask: 0x1fff_e000,
        reconnect_hosts: Vec::new(),
        shares_per_second: 1.0,
        easiest: sluice::work::Difficulty::MIN,
        refresh: Duration::from_secs(25),
        seed: 1,
    }
}

fn fits<T, U: TryFrom<T>>(value: T) -> U {
    match value.try_into() {
        Ok(fitting) => fitting,
        Err(_) => panic!("every part is within the limits of Stratum V2"),
    }
}
