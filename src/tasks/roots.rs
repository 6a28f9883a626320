//! Merkle roots for the standard channels of a shard: what a new work makes all of them ask for is hashed side by side.
//!
//! As with the judge, whoever has its turn again first hashes for everybody. Invariant: a root is that of the work and lane
//! it was asked for; what nobody came for does not outlive the next work of its link.

use crate::work::{Lane, LinkId, Work, WorkId, share};
use std::collections::HashMap;
use std::sync::Arc;

/// Asked for, and known.
#[derive(Debug, Default)]
pub struct Roots {
    asked: Vec<(Arc<Work>, Lane)>,
    known: HashMap<(LinkId, WorkId, Lane), [u8; 32]>,
}

impl Roots {
    /// Asks for the root of a work under a lane, nothing rolled.
    pub fn ask(&mut self, work: Arc<Work>, lane: Lane) {
        self.asked.push((work, lane));
    }

    /// The root, in digest byte order; hashes all that was asked for and is not known yet.
    pub fn take(&mut self, work: &Work, lane: Lane) -> [u8; 32] {
        self.hash();
        let known = self.known.remove(&(work.link, work.id, lane));
        known.unwrap_or_else(|| {
            let mut root = [[0; 32]];
            share::roots(work, &[(lane, [0; 8])], &mut root);
            root[0]
        })
    }

    fn hash(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        self.asked
            .sort_unstable_by_key(|(work, _)| Arc::as_ptr(work));
        let mut lanes = Vec::with_capacity(self.asked.len());
        let mut roots = Vec::new();
        for group in self.asked.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
            let work = &group[0].0;
            self.known
                .retain(|(link, id, _), _| *link != work.link || *id == work.id);
            lanes.clear();
            lanes.extend(group.iter().map(|(_, lane)| (*lane, [0; 8])));
            roots.clear();
            roots.resize(lanes.len(), [0; 32]);
            share::roots(work, &lanes, &mut roots);
            let keys = lanes.iter().map(|(lane, _)| (work.link, work.id, *lane));
            self.known.extend(keys.zip(roots.iter().copied()));
        }
        self.asked.clear();
        // A fleet's worth of room serves the next block.
        self.known.shrink_to(16_384);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Parts;

    #[test]
    fn each_gets_the_root_of_its_own_work_and_lane_and_leftovers_go_with_the_next_work() {
        let works = [1, 2].map(|id| {
            let parts = Parts {
                id: WorkId(id),
                coinbase_prefix: [id as u8; 60].into(),
                coinbase_suffix: [id as u8; 90].into(),
                branch: [[id as u8; 32]; 3].into(),
                ..Parts::default()
            };
            Arc::new(Work::new(parts).expect("it is within every limit"))
        });
        let mut roots = Roots::default();
        for lane in 0..20 {
            roots.ask(works[0].clone(), Lane(lane));
        }
        for lane in (1..20).rev() {
            assert_eq!(roots.take(&works[0], Lane(lane)), alone(&works[0], lane));
        }
        assert_eq!(roots.known.len(), 1, "nobody came for the first");
        roots.ask(works[1].clone(), Lane(7));
        assert_eq!(roots.take(&works[1], Lane(7)), alone(&works[1], 7));
        assert!(roots.known.is_empty());
    }

    /// The header's own root, by the way that shares are judged.
    fn alone(work: &Work, lane: u32) -> [u8; 32] {
        let share = crate::work::Share {
            en2: [0; 8],
            ntime: work.ntime,
            nonce: 0,
            version: work.version,
        };
        let header = share::prove(work, Lane(lane), &share).header;
        header[36..68].try_into().expect("32 bytes")
    }
}
