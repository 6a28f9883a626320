//! The client side of `channels_sv2`: one standard and one extended channel that follow what a server says.
//!
//! Invariant: it computes its own merkle roots, hashes and verdicts.

use sluice::stratum::v2::code;
use sluice::stratum::v2::message::{
    FromPool, NewExtendedMiningJob, NewMiningJob, SetNewPrevHash, SetTarget, SubmitSharesExtended,
    SubmitSharesStandard,
};
use std::collections::HashMap;
use stratum_core::binary_sv2::Sv2OptionOwned;
use stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_core::channels_sv2::client::share_accounting::{
    ShareValidationError, ShareValidationResult,
};
use stratum_core::channels_sv2::client::standard::StandardChannel;
use stratum_core::channels_sv2::extranonce_manager::ExtranoncePrefix;
use stratum_core::mining_sv2::{
    NewExtendedMiningJobOwned, NewMiningJobOwned, SetNewPrevHashOwned, SubmitSharesExtendedOwned,
    SubmitSharesStandardOwned,
};

/// What becomes of a share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Good,
    Low,
    Duplicate,
    Stale,
    UnknownJob,
    Version,
    Size,
    Invalid,
}

/// Both channels, and what the server said of their shares.
#[derive(Default)]
pub(crate) struct Miner {
    standard: Option<StandardChannel>,
    extended: Option<ExtendedChannel>,
    told: HashMap<u32, Verdict>,
    jobs: u32,
}

impl Miner {
    pub(crate) fn standard_id(&self) -> u32 {
        self.standard
            .as_ref()
            .map_or(0, StandardChannel::get_channel_id)
    }

    pub(crate) fn extended_id(&self) -> u32 {
        self.extended
            .as_ref()
            .map_or(0, ExtendedChannel::get_channel_id)
    }

    pub(crate) fn jobs_told(&self) -> u32 {
        self.jobs
    }

    /// What the server said of this share.
    pub(crate) fn told(&self, sequence_number: u32) -> Verdict {
        let told = self.told.get(&sequence_number);
        *told.expect("every share has an answer")
    }

    pub(crate) fn hears(&mut self, message: &FromPool<'_>, group: u32) {
        match message {
            FromPool::SetupConnectionSuccess(_) => {}
            FromPool::OpenStandardMiningChannelSuccess(open) => {
                let prefix = ExtranoncePrefix::from_wire(open.extranonce_prefix.to_vec());
                let channel = StandardChannel::new(
                    open.channel_id,
                    "miner".into(),
                    prefix.expect("short"),
                    bitcoin::Target::from_le_bytes(open.target),
                    1.0,
                    None,
                );
                self.standard = Some(channel.expect("a target"));
            }
            FromPool::OpenExtendedMiningChannelSuccess(open) => {
                let prefix = ExtranoncePrefix::from_wire(open.extranonce_prefix.to_vec());
                let channel = ExtendedChannel::new(
                    open.channel_id,
                    "miner".into(),
                    prefix.expect("short"),
                    bitcoin::Target::from_le_bytes(open.target),
                    1.0,
                    true,
                    open.extranonce_size,
                    None,
                );
                self.extended = Some(channel.expect("a target"));
            }
            FromPool::NewMiningJob(job) => self.standard_job(job),
            FromPool::NewExtendedMiningJob(job) => self.extended_job(job, group),
            FromPool::SetNewPrevHash(block) => self.block(block, group),
            FromPool::SetTarget(told) => self.target(told),
            FromPool::SubmitSharesSuccess(success) => {
                assert_eq!(success.new_submits_accepted_count, 1);
                self.told
                    .insert(success.last_sequence_number, Verdict::Good);
            }
            FromPool::SubmitSharesError(error) => {
                let why = verdict(std::str::from_utf8(error.error_code).expect("ours"));
                self.told.insert(error.sequence_number, why);
            }
            other => panic!("{other:?}"),
        }
    }

    fn standard_job(&mut self, job: &NewMiningJob) {
        self.jobs += 1;
        assert_eq!(job.channel_id, self.standard_id());
        let accepted = self.standard().on_new_mining_job(NewMiningJobOwned {
            channel_id: job.channel_id,
            job_id: job.job_id,
            min_ntime: Sv2OptionOwned::new(job.min_ntime),
            version: job.version,
            merkle_root: job.merkle_root.into(),
        });
        accepted.expect("a job in order");
    }

    /// Of the extended channel, or of the group: then each makes of it what it can.
    fn extended_job(&mut self, job: &NewExtendedMiningJob<'_>, group: u32) {
        self.jobs += 1;
        let branch: Vec<_> = job.merkle_path.iter().map(|node| (*node).into()).collect();
        let job = NewExtendedMiningJobOwned {
            channel_id: job.channel_id,
            job_id: job.job_id,
            min_ntime: Sv2OptionOwned::new(job.min_ntime),
            version: job.version,
            version_rolling_allowed: job.version_rolling_allowed,
            coinbase_tx_prefix: fits(job.coinbase_tx_prefix.to_vec()),
            coinbase_tx_suffix: fits(job.coinbase_tx_suffix.to_vec()),
            merkle_path: fits(branch),
        };
        if job.channel_id == group {
            self.jobs += 1;
            let accepted = self.standard().on_new_group_channel_job(job.clone());
            accepted.expect("a job in order");
        } else {
            assert_eq!(job.channel_id, self.extended_id());
        }
        let accepted = self.extended().on_new_extended_mining_job(job);
        accepted.expect("a job in order");
    }

    fn block(&mut self, block: &SetNewPrevHash, group: u32) {
        let owned = SetNewPrevHashOwned {
            channel_id: block.channel_id,
            job_id: block.job_id,
            prev_hash: block.prev_hash.into(),
            min_ntime: block.min_ntime,
            nbits: block.nbits,
        };
        let all = block.channel_id == group;
        if all || block.channel_id == self.standard_id() {
            let known = self.standard().on_set_new_prev_hash(owned.clone());
            known.expect("of a job that is there");
        }
        if all || block.channel_id == self.extended_id() {
            let known = self.extended().on_set_new_prev_hash(owned);
            known.expect("of a job that is there");
        }
    }

    fn target(&mut self, told: &SetTarget) {
        let target = bitcoin::Target::from_le_bytes(told.maximum_target);
        if told.channel_id == self.standard_id() {
            self.standard().set_target(target).expect("not zero");
        } else {
            assert_eq!(told.channel_id, self.extended_id());
            self.extended().set_target(target).expect("not zero");
        }
    }

    pub(crate) fn validate_standard(&mut self, share: &SubmitSharesStandard) -> Verdict {
        let verdict = self.standard().validate_share(SubmitSharesStandardOwned {
            channel_id: share.channel_id,
            sequence_number: share.sequence_number,
            job_id: share.job_id,
            nonce: share.nonce,
            ntime: share.ntime,
            version: share.version,
        });
        of(&verdict)
    }

    pub(crate) fn validate_extended(&mut self, share: &SubmitSharesExtended<'_>) -> Verdict {
        let verdict = self.extended().validate_share(SubmitSharesExtendedOwned {
            channel_id: share.channel_id,
            sequence_number: share.sequence_number,
            job_id: share.job_id,
            nonce: share.nonce,
            ntime: share.ntime,
            version: share.version,
            extranonce: fits(share.extranonce.to_vec()),
        });
        of(&verdict)
    }

    fn standard(&mut self) -> &mut StandardChannel {
        self.standard.as_mut().expect("it was opened")
    }

    fn extended(&mut self) -> &mut ExtendedChannel {
        self.extended.as_mut().expect("it was opened")
    }
}

fn of(theirs: &Result<ShareValidationResult, ShareValidationError>) -> Verdict {
    match theirs {
        Ok(_) => Verdict::Good,
        Err(
            ShareValidationError::Invalid(code)
            | ShareValidationError::Stale(code)
            | ShareValidationError::InvalidJobId(code)
            | ShareValidationError::DoesNotMeetTarget(code)
            | ShareValidationError::VersionRollingNotAllowed(code)
            | ShareValidationError::DuplicateShare(code)
            | ShareValidationError::BadExtranonceSize(code),
        ) => verdict(code),
        Err(ShareValidationError::NoChainTip) => panic!("it was told of a block"),
    }
}

/// The same codes on both sides.
fn verdict(code: &str) -> Verdict {
    match code {
        code::DIFFICULTY_TOO_LOW => Verdict::Low,
        code::DUPLICATE_SHARE => Verdict::Duplicate,
        code::STALE_SHARE => Verdict::Stale,
        code::INVALID_JOB_ID => Verdict::UnknownJob,
        code::INVALID_VERSION_BIT => Verdict::Version,
        code::BAD_EXTRANONCE_SIZE => Verdict::Size,
        code::INVALID_SHARE => Verdict::Invalid,
        other => panic!("{other}"),
    }
}

fn fits<T, U: TryFrom<T>>(value: T) -> U {
    match value.try_into() {
        Ok(fitting) => fitting,
        Err(_) => panic!("every part is within the limits of Stratum V2"),
    }
}
