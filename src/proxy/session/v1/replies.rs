//! Replies in request order (I8), whatever order their answers become known in. Not a queue of work: it holds
//! bytes and what is needed to finish them.
//!
//! ```text
//!   out (may leave now) | Judging | bytes | Judging | Seating | bytes ...      at most RING waiting answers
//! ```
//! Invariant: the front of the ring is never bytes; those have moved to `out`.

use super::JudgeRequest;
use crate::stratum::v1::message::Id;
use crate::work::Difficulty;
use smallvec::SmallVec;

/// Answers that may wait at once: one turn's worth of lines. At the limit the connection is not read.
pub(super) const RING: usize = 32;

/// A request id kept until its answer is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptId {
    len: u8,
    bytes: [u8; 64],
}

impl KeptId {
    pub(super) fn new(id: Id<'_>) -> Self {
        let text = id.0.as_bytes();
        // `Id` promises at most 64 bytes; anything else was made null by the parser.
        let len = text.len().min(64);
        let mut bytes = [0; 64];
        bytes[..len].copy_from_slice(&text[..len]);
        Self {
            len: len as u8,
            bytes,
        }
    }

    pub(super) fn as_id(&self) -> Id<'_> {
        Id(std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("null"))
    }
}

/// A share on its way through the judge.
#[derive(Debug)]
pub(super) struct Judging {
    /// What the judge is to be asked, until it is.
    pub(super) request: Option<JudgeRequest>,
    /// `None`: sent without an id, so nothing is answered.
    pub(super) id: Option<KeptId>,
    pub(super) worker: WorkerAt,
    /// What it is judged at.
    pub(super) difficulty: Difficulty,
}

/// A worker's place among those of its connection; workers never leave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerAt(pub(super) u16);

#[derive(Debug)]
enum Slot {
    Judging(Judging),
    Seating(Option<KeptId>),
    /// Its answer is being written.
    Kept,
    Bytes(Vec<u8>),
}

/// Where an answer belongs; good until the ring is touched again.
#[derive(Debug)]
pub(super) struct Place(usize);

/// The ring and what may leave.
#[derive(Debug, Default)]
pub(super) struct Replies {
    out: Vec<u8>,
    /// The first one in place: mostly there is no other.
    ring: SmallVec<[Slot; 1]>,
    waiting: u16,
    /// Shares in the ring that the judge was not asked for yet; the last ones.
    unasked: u16,
}

impl Replies {
    /// Where the next bytes in order go.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        if self.ring.is_empty() {
            return &mut self.out;
        }
        if !matches!(self.ring.last(), Some(Slot::Bytes(_))) {
            self.ring.push(Slot::Bytes(Vec::new()));
        }
        match self.ring.last_mut() {
            Some(Slot::Bytes(bytes)) => bytes,
            _ => unreachable!("the back was just made bytes"),
        }
    }

    /// Keeps a place for the verdict on a share.
    pub(super) fn judge(&mut self, judging: Judging) {
        self.ring.push(Slot::Judging(judging));
        self.waiting += 1;
        self.unasked += 1;
    }

    /// What the judge is to be asked next.
    pub(super) fn request(&mut self) -> Option<JudgeRequest> {
        if self.unasked == 0 {
            return None;
        }
        self.unasked -= 1;
        self.ring.iter_mut().find_map(|slot| match slot {
            Slot::Judging(judging) => judging.request.take(),
            _ => None,
        })
    }

    /// Keeps a place for the answer to subscribe.
    pub(super) fn seat(&mut self, id: Option<KeptId>) {
        self.ring.push(Slot::Seating(id));
        self.waiting += 1;
    }

    /// Takes out the oldest share that waits for its verdict; its place stays kept until [`Replies::fill`].
    pub(super) fn judging(&mut self) -> Option<(Place, Judging)> {
        let at = self
            .ring
            .iter()
            .position(|slot| matches!(slot, Slot::Judging(_)))?;
        match std::mem::replace(&mut self.ring[at], Slot::Kept) {
            Slot::Judging(judging) => Some((Place(at), judging)),
            _ => unreachable!("position() found a share there"),
        }
    }

    /// Takes out the subscribe that waits; its place stays kept until [`Replies::fill`].
    pub(super) fn seating(&mut self) -> Option<(Place, Option<KeptId>)> {
        let at = self
            .ring
            .iter()
            .position(|slot| matches!(slot, Slot::Seating(_)))?;
        match std::mem::replace(&mut self.ring[at], Slot::Kept) {
            Slot::Seating(id) => Some((Place(at), id)),
            _ => unreachable!("position() found a subscribe there"),
        }
    }

    /// Lets the answer (nothing: there is none to give) be written into its place.
    pub(super) fn fill(&mut self, Place(at): Place, write: impl FnOnce(&mut Vec<u8>)) {
        self.waiting -= 1;
        if at == 0 {
            self.ring.remove(0);
            write(&mut self.out);
            self.settle_front();
        } else {
            let mut answer = Vec::new();
            write(&mut answer);
            self.ring[at] = Slot::Bytes(answer);
        }
    }

    /// What has become the front and is bytes leaves the ring.
    fn settle_front(&mut self) {
        let is_bytes = |slot: &Slot| matches!(slot, Slot::Bytes(_));
        let settled = self.ring.iter().take_while(|slot| is_bytes(slot)).count();
        for slot in self.ring.drain(..settled) {
            if let Slot::Bytes(bytes) = slot {
                self.out.extend_from_slice(&bytes);
            }
        }
        if self.ring.is_empty() && self.ring.spilled() {
            // Ten thousand idle miners must not hold ten thousand rings.
            self.ring = SmallVec::new();
        }
    }

    /// What may leave now, whole.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// Something may leave.
    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// No further request may be read before an answer is known.
    pub(super) fn full(&self) -> bool {
        usize::from(self.waiting) >= RING
    }

    /// Nothing waits and nothing is left to send.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting == 0 && self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_a_waiting_seat_leave_after_it() {
        let mut replies = Replies::default();
        replies.seat(None);
        replies.tail().extend_from_slice(b"second");
        assert!(
            replies.take().is_none(),
            "nothing may overtake the subscribe reply"
        );
        let (place, _) = replies.seating().expect("it waits");
        replies.fill(place, |out| out.extend_from_slice(b"first "));
        assert_eq!(replies.take().expect("both may leave"), b"first second");
        assert!(replies.is_settled());
    }

    #[test]
    fn the_ring_is_full_at_its_limit_and_not_one_before() {
        let mut replies = Replies::default();
        for _ in 0..RING - 1 {
            replies.seat(None);
        }
        assert!(!replies.full());
        replies.seat(None);
        assert!(replies.full());
    }
}
