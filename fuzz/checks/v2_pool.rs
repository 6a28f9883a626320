//! What a V2 pool must see of a link, and which shares may still be written; a reference in the plainest words.
//!
//! Not the link: it reads only frames that were sent and remembers what the pool said. Each check panics.

use sluice::proxy::lease::{Issue, Submission};
use sluice::stratum::v2::frame::{Frame, HEADER, Header};
use sluice::stratum::v2::message::{
    FromMiner, NewExtendedMiningJob, OpenExtendedMiningChannel, SubmitSharesExtended,
};
use sluice::work::Work;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The same limit as STRATUM.md section 2 gives; blocks may go beyond.
const OUTSTANDING: usize = 4096 + 64;
/// And so many more for each channel of a worker.
const OUTSTANDING_OWN: usize = 64;
/// Requests that may wait at once: an opening, and questions whether the pool is alive.
const OPENS: usize = 4100;

/// A share that went into the link; its nonce names it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) share: Submission,
    pub(crate) written: bool,
}

/// A channel that was given for a worker; its prefix is no other's.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) id: u32,
    pub(crate) size: u16,
    pub(crate) prefix: Vec<u8>,
    newest: Option<Arc<Issue>>,
}

impl Own {
    pub(crate) fn new(id: u32, size: u16, prefix: Vec<u8>) -> Self {
        Self {
            id,
            size,
            prefix,
            newest: None,
        }
    }
}

/// The pool's view of one connection after the other.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub(crate) open: bool,
    pub(crate) epoch: u32,
    pub(crate) setup: bool,
    pub(crate) welcomed: bool,
    /// Requests for a channel that wait, with their size.
    pub(crate) opens: BTreeMap<u32, u16>,
    pub(crate) extensions: Option<u16>,
    /// Those of them that are for a worker.
    pub(crate) workers: BTreeSet<u32>,
    pub(crate) owns: Vec<Own>,
    requests: BTreeSet<u32>,
    /// Id and extranonce size of the channel that was given.
    pub(crate) channel: Option<(u32, u16)>,
    pub(crate) prefix: Vec<u8>,
    /// Prefixes that each job was sent under.
    sent: HashMap<u32, Vec<Vec<u8>>>,
    pub(crate) given: HashMap<u32, Given>,
    pub(crate) written: u64,
    /// Shares without an answer: sequence number to channel and nonce. A program is too short to go round.
    pub(crate) shares: BTreeMap<u32, (u32, u32)>,
    last_sequence: Option<u32>,
    pub(crate) newest: Option<Arc<Issue>>,
    /// Works below were made before the last SetNewPrevHash.
    pub(crate) valid_from: u32,
    /// Previous block and its smallest time, as last told.
    pub(crate) tip: Option<([u8; 32], u32)>,
    /// No work has come since it was.
    pub(crate) is_new: bool,
}

impl Pool {
    pub(crate) fn connected(&mut self) {
        self.gone();
        self.epoch += 1;
        self.open = true;
    }

    pub(crate) fn gone(&mut self) {
        self.open = false;
        self.setup = false;
        self.welcomed = false;
        self.opens.clear();
        self.extensions = None;
        self.requests.clear();
        self.workers.clear();
        self.owns.clear();
        self.channel = None;
        self.sent.clear();
        self.tip = None;
        self.shares.clear();
    }

    /// A job that is about to be told.
    pub(crate) fn sends(&mut self, job: &NewExtendedMiningJob<'_>) {
        let prefixes = self.sent.entry(job.job_id).or_default();
        prefixes.push(self.prefix.clone());
    }

    /// Bytes of the link: whole frames.
    pub(crate) fn reads(&mut self, mut bytes: &[u8]) {
        assert!(self.open, "bytes for no socket");
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
            let header = Header::parse(header);
            let (payload, rest) = rest
                .split_at_checked(header.length as usize)
                .expect("a whole frame");
            bytes = rest;
            let message = FromMiner::parse(&Frame { header, payload }).expect("well formed");
            self.message(&message.expect("a message that pools know"));
        }
        assert!(bytes.is_empty(), "half a header");
    }

    fn message(&mut self, message: &FromMiner<'_>) {
        if let FromMiner::SetupConnection(setup) = message {
            assert!(!self.setup, "a second setup");
            assert_eq!((setup.min_version, setup.max_version), (2, 2));
            self.setup = true;
            return;
        }
        assert!(self.welcomed, "a message before the setup is answered");
        match message {
            FromMiner::RequestExtensions(request) => {
                self.request(u32::from(request.request_id));
                self.extensions = Some(request.request_id);
            }
            FromMiner::OpenExtendedMiningChannel(open) => self.opening(open),
            FromMiner::UpdateChannel(update) => {
                assert!(self.is_channel(update.channel_id));
            }
            FromMiner::SubmitSharesExtended(share) => self.submitted(share),
            // Also of a channel that was given on a question.
            FromMiner::CloseChannel(_) => assert!(self.channel.is_some()),
            other => panic!("{other:?} is said to a pool"),
        }
    }

    /// A share that is ended without an answer, because its channel is over: never one of the account's channel, but at the
    /// end of the connection.
    pub(crate) fn lost(&mut self, worker: &str) {
        let (given, account) = (&self.given, self.channel.map(|(channel, _)| channel));
        let of = |(_, (channel, nonce)): &(&u32, &(u32, u32))| {
            Some(*channel) != account && *given[nonce].share.worker == *worker
        };
        let number = self.shares.iter().find(of).map(|(number, _)| *number);
        if let Some(number) = number {
            self.shares.remove(&number);
        }
    }

    fn request(&mut self, id: u32) {
        assert!(self.requests.insert(id), "a request id again");
    }

    fn opening(&mut self, open: &OpenExtendedMiningChannel<'_>) {
        self.request(open.request_id);
        assert!(open.nominal_hash_rate.is_finite() && open.nominal_hash_rate >= 0.0);
        let question = open.min_extranonce_size == u16::MAX;
        if self.channel.is_some() && !question {
            assert!(open.user_identity.starts_with(b"account.w"));
            assert!(open.min_extranonce_size <= 8, "what the layout takes");
            self.workers.insert(open.request_id);
        }
        assert!(self.channel.is_some() || !question);
        self.opens.insert(open.request_id, open.min_extranonce_size);
        assert!(self.opens.len() < OPENS, "too many questions");
    }

    fn is_channel(&self, id: u32) -> bool {
        let own = self.owns.iter().any(|own| own.id == id);
        own || self.channel.is_some_and(|(channel, _)| channel == id)
    }

    /// A share is written at most once (I3), whole (I2), and never one that is known to be bad (I5).
    fn submitted(&mut self, told: &SubmitSharesExtended<'_>) {
        let given = self.given.get_mut(&told.nonce).expect("a given share");
        assert!(!given.written, "a share is written twice");
        given.written = true;
        self.written += 1;
        let share = &given.share;
        let work = &share.work;
        let own = match work.channel {
            0 => None,
            _ => Some(owner(&self.owns, work).expect("its channel is open")),
        };
        let account = self.channel.expect("a share before the channel is open");
        let (channel, size) = own.map_or(account, |own| (own.id, own.size));
        assert_eq!(told.channel_id, channel, "on the channel of its work");
        assert_eq!(told.job_id.to_string(), *work.pool_job);
        assert_eq!(told.version, share.share.version);
        let width = usize::from(work.pad + work.layout.total());
        assert_eq!(told.extranonce.len(), width);
        if let Some(own) = own.filter(|_| !share.block) {
            assert_eq!(width, usize::from(size));
            let newest = &own.newest.as_ref().expect("a share has a work").work;
            assert!(work.generation >= newest.generation, "a stale share");
        } else if !share.block {
            assert_eq!(width, usize::from(size));
            let newest = &self.newest.as_ref().expect("a share has a work").work;
            assert_eq!(work.epoch, self.epoch, "a share of an earlier connection");
            assert!(
                work.id.0 >= self.valid_from,
                "a share on a block built upon"
            );
            assert!(work.generation >= newest.generation, "a stale share");
        }
        let number = told.sequence_number;
        assert!(self.last_sequence.is_none_or(|last| number == last + 1));
        self.last_sequence = Some(number);
        self.shares.insert(number, (channel, told.nonce));
        let most = OUTSTANDING + OUTSTANDING_OWN * self.owns.len();
        assert!(self.shares.len() <= most);
    }

    /// A work that is made: of this connection, under a prefix its job was sent with, and not what the one before it spans.
    pub(crate) fn issued(&mut self, issue: Arc<Issue>) {
        for own in issue.own.iter().flat_map(|own| own.values()) {
            self.issued_own(own);
        }
        let work = &issue.work;
        assert!(self.open, "work of no connection");
        if let Some(newest) = &self.newest
            && newest.work.id == work.id
        {
            // Told again because a worker has something else.
            return;
        }
        assert_eq!(work.epoch, self.epoch);
        let (_, size) = self.channel.expect("work takes a channel");
        assert_eq!(u16::from(work.pad + work.layout.total()), size);
        let end = work.coinbase_prefix.len() - usize::from(work.pad);
        let job = work.pool_job.parse().expect("a number");
        let prefixes = self.sent.get(&job).expect("a job that was sent");
        let fits = |prefix: &Vec<u8>| work.coinbase_prefix[..end].ends_with(prefix);
        assert!(prefixes.iter().any(fits), "a prefix that the job never had");
        assert!(work.ntime >= work.pool_ntime);
        let (prev_hash, min_ntime) = self.tip.expect("work takes a previous block");
        assert_eq!(work.prev_hash, prev_hash, "work on an earlier block");
        assert!(work.pool_ntime >= min_ntime);
        let is_new = std::mem::take(&mut self.is_new);
        assert!(work.version_mask & !0x1fff_e000 == 0);
        if let Some(newest) = &self.newest {
            let old = &newest.work;
            assert!(work.id > old.id && work.generation >= old.generation);
            assert!(!is_new || work.generation > old.generation);
            let same = old.prev_hash == work.prev_hash
                && old.coinbase_prefix == work.coinbase_prefix
                && old.coinbase_suffix == work.coinbase_suffix
                && old.branch == work.branch
                && (old.version, old.nbits) == (work.version, work.nbits)
                && old.ntime == work.ntime;
            assert!(!same, "the same search space twice");
        }
        self.newest = Some(issue);
    }

    /// The same of a worker's own: of a channel that was given, and never back.
    fn issued_own(&mut self, issue: &Arc<Issue>) {
        let work = &issue.work;
        assert_eq!(work.epoch, self.epoch);
        assert!(work.channel != 0 && issue.own.is_none());
        let at = self.owns.iter().position(|own| is_of(own, work));
        let own = &mut self.owns[at.expect("a channel that was given")];
        assert_eq!(u16::from(work.pad + work.layout.total()), own.size);
        if let Some(newest) = &own.newest {
            let old = &newest.work;
            assert_eq!(old.channel, work.channel);
            assert!(work.id >= old.id && work.generation >= old.generation);
            assert!(old.prev_hash == work.prev_hash || work.generation > old.generation);
        }
        own.newest = Some(issue.clone());
    }
}

/// The channel that a work came from, by its prefix.
fn owner<'a>(owns: &'a [Own], work: &Work) -> Option<&'a Own> {
    owns.iter().find(|own| is_of(own, work))
}

fn is_of(own: &Own, work: &Work) -> bool {
    let end = work.coinbase_prefix.len() - usize::from(work.pad);
    work.coinbase_prefix[..end].ends_with(&own.prefix)
}
