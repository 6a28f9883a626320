//! A template provider: what a Bitcoin node is to a pool, over SRI's template distribution protocol.
//!
//! It validates nothing and knows no transactions. Invariant: a pool that connects hears the present template and block
//! first; after that, things happen on command only.

use crate::wire::{self, Reader, Writer};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use stratum_core::binary_sv2::{Seq0255Owned, U256Owned};
use stratum_core::common_messages_sv2::SetupConnectionSuccess;
use stratum_core::parsers_sv2::{AnyMessageOwned, CommonMessages, TemplateDistribution};
use stratum_core::parsers_sv2::{CommonMessagesOwned, TemplateDistributionOwned};
use stratum_core::template_distribution_sv2::{
    NewTemplateOwned, SetNewPrevHashOwned, SubmitSolutionOwned,
};

/// Difficulty 1: no test finds a block by accident.
pub const HARD: u32 = 0x1d00_ffff;
/// 65,536 hashes a block: among shares of 256 hashes one in 256 is one.
pub const SOFT: u32 = 0x1f00_ffff;
/// What a block pays, in satoshi.
const REWARD: u64 = 312_500_000;
/// When its chain begins; time goes on by blocks, not by a clock.
const GENESIS: u32 = 1_700_000_000;

/// Running until the process ends.
pub struct Provider {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    chain: Chain,
    pools: Vec<Writer>,
    solutions: Vec<SubmitSolutionOwned>,
}

/// Where the chain stands.
#[derive(Clone, Copy)]
struct Chain {
    height: u32,
    template: u64,
    nbits: u32,
}

impl Provider {
    /// With a chain of this difficulty, on any port.
    pub fn start(nbits: u32) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let chain = Chain {
            height: 840_000,
            template: 1,
            nbits,
        };
        let shared = Arc::new(Mutex::new(Shared {
            chain,
            pools: Vec::new(),
            solutions: Vec::new(),
        }));
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || {
                    // Who hangs up is gone: the test sees it at its pool.
                    wire::accept(stream).and_then(|(reader, writer)| serve(reader, writer, &shared))
                });
            }
        });
        Self { address, shared }
    }

    /// Somebody has found the next block.
    pub fn new_block(&self) {
        let mut shared = hold(&self.shared);
        shared.chain.height += 1;
        shared.chain.template += 1;
        let news = shared.chain.block();
        shared.tell(&news);
    }

    /// Other transactions for the block that is being mined.
    pub fn new_template(&self) {
        let mut shared = hold(&self.shared);
        shared.chain.template += 1;
        let news = [shared.chain.template(false)];
        shared.tell(&news);
    }

    /// The blocks it was given.
    pub fn solutions(&self) -> Vec<SubmitSolutionOwned> {
        hold(&self.shared).solutions.clone()
    }
}

impl Shared {
    fn tell(&mut self, news: &[TemplateDistributionOwned]) {
        for pool in &mut self.pools {
            for message in news {
                let message = AnyMessageOwned::TemplateDistribution(message.clone());
                pool.send(message).expect("the pool reads");
            }
        }
    }
}

impl Chain {
    /// What a new block makes a pool hear: the template that will be, then that it is.
    fn block(&self) -> [TemplateDistributionOwned; 2] {
        let activate = SetNewPrevHashOwned {
            template_id: self.template,
            prev_hash: hash(u64::from(self.height)),
            header_timestamp: GENESIS + (self.height - 840_000) * 600,
            n_bits: self.nbits,
            target: bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(
                self.nbits,
            ))
            .to_le_bytes()
            .into(),
        };
        [
            self.template(true),
            TemplateDistributionOwned::SetNewPrevHash(activate),
        ]
    }

    fn template(&self, future: bool) -> TemplateDistributionOwned {
        let [a, b, c, _] = self.height.to_le_bytes();
        let branch = (0..3).map(|level| hash(self.template << 8 | level));
        TemplateDistributionOwned::NewTemplate(NewTemplateOwned {
            template_id: self.template,
            future_template: future,
            version: 0x2000_0000,
            coinbase_tx_version: 2,
            // BIP 34: the height comes first.
            coinbase_prefix: vec![3, a, b, c].try_into().expect("four bytes"),
            coinbase_tx_input_sequence: 0xffff_fffe,
            coinbase_tx_value_remaining: REWARD,
            coinbase_tx_outputs_count: 1,
            coinbase_tx_outputs: commitment().try_into().expect("47 bytes"),
            coinbase_tx_locktime: self.height - 1,
            merkle_path: Seq0255Owned::new(branch.collect()).expect("three hashes"),
        })
    }
}

fn serve(mut reader: Reader, mut writer: Writer, shared: &Mutex<Shared>) -> io::Result<()> {
    let (header, mut payload) = reader.next()?;
    let first = CommonMessages::try_from((header.msg_type(), payload.as_mut_slice()));
    assert!(
        matches!(first, Ok(CommonMessages::SetupConnection(_))),
        "a pool begins with SetupConnection: {first:?}"
    );
    let success = SetupConnectionSuccess {
        used_version: 2,
        flags: 0,
    };
    writer.send(CommonMessagesOwned::SetupConnectionSuccess(success))?;
    let mut writer = Some(writer);
    loop {
        let (header, mut payload) = reader.next()?;
        let message = TemplateDistribution::try_from((header.msg_type(), payload.as_mut_slice()));
        let message = message.expect("pools speak this protocol").into_owned();
        let mut shared = hold(shared);
        match message {
            TemplateDistributionOwned::CoinbaseOutputConstraints(_) => {
                // The first of them is the word for: I am ready.
                let Some(writer) = writer.take() else {
                    continue;
                };
                shared.pools.push(writer);
                let news = shared.chain.block();
                shared.tell(&news);
            }
            TemplateDistributionOwned::SubmitSolution(solution) => shared.solutions.push(solution),
            other => panic!("a pool without job declaration has no use for {other}"),
        }
    }
}

fn hold(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("nobody panics while holding it")
}

/// The output that commits to the witnesses (BIP 141): no value, OP_RETURN, 36 bytes.
fn commitment() -> Vec<u8> {
    let mut output = vec![0; 8];
    output.extend([38, 0x6a, 36, 0xaa, 0x21, 0xa9, 0xed]);
    output.extend([0x5a; 32]);
    output
}

/// Any hash, the same for the same number.
fn hash(of: u64) -> U256Owned {
    sluice::sim::wire::sha256d(&of.to_le_bytes()).into()
}
