//! What we tell a miner unasked. Not when: cgminer loses one of two difficulties in a row, the session spaces them.
//!
//! Invariant: a notify is a function of the work alone, so that one rendering serves every miner of a link.

use super::super::{hex, message};
use crate::work::{Difficulty, Work};

/// `mining.set_difficulty`; shortest decimal that reads back equal.
pub fn set_difficulty(out: &mut Vec<u8>, difficulty: Difficulty) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[");
    message::push_f64(out, difficulty.value());
    out.extend_from_slice(b"]}\n");
}

/// `mining.set_version_mask`.
pub fn set_version_mask(out: &mut Vec<u8>, mask: u32) {
    out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"");
    hex::push_u32(out, mask);
    out.extend_from_slice(b"\"]}\n");
}

/// `mining.notify`: the same bytes for every miner of a link, rendered twice per work.
pub fn notify(work: &Work, clean: bool) -> Box<[u8]> {
    let job = Job {
        id: work.id.0,
        prev_hash: &work.prev_hash,
        coinb1: &work.coinbase_prefix,
        coinb2: &work.coinbase_suffix,
        branch: &work.branch,
        version: work.version,
        nbits: work.nbits,
        ntime: work.ntime,
        clean,
    };
    job.render().into_boxed_slice()
}

/// The nine parameters, so that they can be rendered without a whole work.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Our job id.
    pub id: u32,
    /// Header byte order.
    pub prev_hash: &'a [u8; 32],
    /// Coinbase before the lane.
    pub coinb1: &'a [u8],
    /// Coinbase after the miner's bytes.
    pub coinb2: &'a [u8],
    /// Leaf side first.
    pub branch: &'a [[u8; 32]],
    /// Block version before rolling.
    pub version: u32,
    /// Compact network target.
    pub nbits: u32,
    /// Block time.
    pub ntime: u32,
    /// Drop earlier jobs.
    pub clean: bool,
}

/// Bytes of a notify beside the coinbase and the branch: 174, or fewer with a short job id.
const NOTIFY_FRAME: usize = 174;

impl Job<'_> {
    /// The line, with its `\n`.
    pub fn render(&self) -> Vec<u8> {
        let coinbase = self.coinb1.len() + self.coinb2.len();
        let mut out = Vec::with_capacity(NOTIFY_FRAME + 2 * coinbase + 67 * self.branch.len());
        out.extend_from_slice(b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"");
        hex::push_u32_short(&mut out, self.id);
        out.extend_from_slice(b"\",\"");
        push_prev_hash(&mut out, self.prev_hash);
        out.extend_from_slice(b"\",\"");
        hex::push(&mut out, self.coinb1);
        out.extend_from_slice(b"\",\"");
        hex::push(&mut out, self.coinb2);
        out.extend_from_slice(b"\",[");
        for (place, node) in self.branch.iter().enumerate() {
            out.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
            hex::push(&mut out, node);
            out.push(b'"');
        }
        out.extend_from_slice(b"],\"");
        hex::push_u32(&mut out, self.version);
        out.extend_from_slice(b"\",\"");
        hex::push_u32(&mut out, self.nbits);
        out.extend_from_slice(b"\",\"");
        hex::push_u32(&mut out, self.ntime);
        out.extend_from_slice(if self.clean {
            b"\",true]}\n"
        } else {
            b"\",false]}\n"
        });
        out
    }
}

/// V1 sends eight 4-byte words, each reversed against the header.
fn push_prev_hash(out: &mut Vec<u8>, prev_hash: &[u8; 32]) {
    let (words, _) = prev_hash.as_chunks::<4>();
    for &[a, b, c, d] in words {
        hex::push(out, &[d, c, b, a]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stratum::v1::up;
    use proptest::prelude::*;

    #[test]
    fn difficulties_and_masks_are_written_plainly() {
        let mut out = Vec::new();
        set_difficulty(&mut out, Difficulty::ONE);
        set_version_mask(&mut out, 0x00ff_e000);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}\n\
             {\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"00ffe000\"]}\n"
        );
    }

    #[test]
    fn the_words_of_the_previous_hash_are_reversed() {
        let mut out = Vec::new();
        let prev_hash: [u8; 32] = std::array::from_fn(|place| place as u8);
        push_prev_hash(&mut out, &prev_hash);
        assert!(out.starts_with(b"0302010007060504"));
        assert!(out.ends_with(b"1b1a19181f1e1d1c"));
    }

    #[test]
    fn the_longest_frame_is_what_was_reserved() {
        let job = Job {
            id: u32::MAX,
            prev_hash: &[1; 32],
            coinb1: &[],
            coinb2: &[],
            branch: &[],
            version: 1,
            nbits: 2,
            ntime: 3,
            clean: false,
        };
        assert_eq!(job.render().len(), NOTIFY_FRAME);
    }

    proptest! {
        #[test]
        fn what_we_tell_miners_is_what_our_own_parser_of_pools_reads(
            id: u32, prev_hash: [u8; 32], coinb1: Vec<u8>, coinb2: Vec<u8>,
            branch in prop::collection::vec(any::<[u8; 32]>(), 0..=32),
            version: u32, nbits: u32, ntime: u32, clean: bool,
        ) {
            let job = Job {
                id, prev_hash: &prev_hash, coinb1: &coinb1, coinb2: &coinb2, branch: &branch, version, nbits, ntime, clean,
            };
            let line = job.render();
            let read = up::parse(line.trim_ascii_end()).unwrap();
            let job = format!("{id:x}");
            let expected = up::Notify { job, prev_hash, coinb1, coinb2, branch, version, nbits, ntime, clean };
            prop_assert_eq!(read, up::Message::Notify(Box::new(expected)));
        }
    }
}
