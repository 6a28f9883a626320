//! A channel of `channels_sv2`, the Stratum V2 reference implementation, with a work of ours for its job.
//!
//! Not a peer on a wire. The invariant: it is given what the pool and the miner sent, nothing that we computed.

use sluice::work::{Lane, Share, Work};
use stratum_core::binary_sv2::Sv2OptionOwned;
use stratum_core::channels_sv2::client::extended::ExtendedChannel;
use stratum_core::channels_sv2::extranonce_manager::ExtranoncePrefix;
use stratum_core::mining_sv2::{
    NewExtendedMiningJobOwned, SetNewPrevHashOwned, SubmitSharesExtendedOwned,
};

/// A channel whose extranonce prefix is the lane and which accepts hashes up to a target (little-endian).
pub(crate) fn of(work: &Work, lane: Lane, target: &[u8; 32]) -> ExtendedChannel {
    let prefix = lane.bytes(work.layout)[..usize::from(work.layout.lane)].to_vec();
    let mut channel = ExtendedChannel::new(
        1,
        "miner".into(),
        ExtranoncePrefix::from_wire(prefix).expect("a lane is short"),
        bitcoin::Target::from_le_bytes(if *target == [0; 32] { least() } else { *target }),
        1.0,
        true,
        work.layout.rolled.into(),
        None,
    )
    .expect("the extranonce is short");
    let branch: Vec<_> = work.branch.iter().map(|node| (*node).into()).collect();
    let job = NewExtendedMiningJobOwned {
        channel_id: 1,
        job_id: 1,
        min_ntime: Sv2OptionOwned::new(None),
        version: work.version,
        version_rolling_allowed: true,
        coinbase_tx_prefix: fits(work.coinbase_prefix.to_vec()),
        coinbase_tx_suffix: fits(work.coinbase_suffix.to_vec()),
        merkle_path: fits(branch),
    };
    let accepted = channel.on_new_extended_mining_job(job);
    accepted.expect("the job is in order");
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

/// A share for its job.
pub(crate) fn submit(work: &Work, share: &Share) -> SubmitSharesExtendedOwned {
    SubmitSharesExtendedOwned {
        channel_id: 1,
        sequence_number: 0,
        job_id: 1,
        nonce: share.nonce,
        ntime: share.ntime,
        version: share.version,
        extranonce: fits(share.en2[..usize::from(work.layout.rolled)].to_vec()),
    }
}

/// Zero is no target there; one is as unlikely to be met.
fn least() -> [u8; 32] {
    let mut one = [0; 32];
    one[0] = 1;
    one
}

fn fits<T, U: TryFrom<T>>(value: T) -> U {
    match value.try_into() {
        Ok(fitting) => fitting,
        Err(_) => panic!("every part is within the limits of Stratum V2"),
    }
}
