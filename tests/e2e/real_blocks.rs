//! Three real blocks as a pool's jobs: their real solutions go through the running proxy and come out byte-identical.
//!
//! The second opinion on headers, roots and targets is the `bitcoin` crate. Difficulties are parsed from the text of the
//! file: `serde_json::Value` misreads one of them by its last bit.

use crate::lab::*;
use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::{Transaction, TxMerkleNode};
use serde_json::{Value, json};
use sluice::sim::poolconfig::{Configure, PoolConfig, Script};
use sluice::sim::wire::unhex;
use sluice::work::{Difficulty, Target};

const TEXT: &str = include_str!("../data/real_jobs.json");

struct RealBlock {
    data: Value,
    share_difficulty: f64,
}

impl RealBlock {
    fn number(n: usize) -> Self {
        let data: Value = serde_json::from_str(TEXT).expect("JSON");
        let after = TEXT.split("\"share_difficulty\": ").nth(n + 1);
        let digits = after.and_then(|rest| rest.split(',').next());
        Self {
            data: data["jobs"][n].clone(),
            share_difficulty: digits.expect("a difficulty").parse().expect("a number"),
        }
    }

    fn text(&self, pointer: &str) -> &str {
        let text = self.data.pointer(pointer).and_then(Value::as_str);
        text.expect("a string of the file")
    }

    fn bytes(&self, pointer: &str) -> Vec<u8> {
        unhex(self.text(pointer)).expect("hex")
    }

    fn pool(&self, configure: Configure) -> PoolConfig {
        PoolConfig {
            configure,
            script: Some(Script {
                notify: self.data["notify"]["params"].clone(),
                extranonce1: self.bytes("/subscribe_result/1"),
                extranonce2_size: 8,
                // The hardest that the solution still meets: the pool's own verdict brackets the difficulty from below.
                difficulty: self.share_difficulty.next_down(),
            }),
            ..PoolConfig::default()
        }
    }

    /// The proxy with this block's lane as its first, and miners at the power of two below the solution.
    fn config(&self, pool_section: &str) -> String {
        let lane = u32::from_str_radix(&self.text("/submit/params/2")[..8], 16).expect("hex");
        let fixed = 2f64.powf(self.share_difficulty.log2().floor());
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\ndifficulty = {{ fixed = {fixed:.1} }}\n{pool_section}\n\
             [lanes]\nlayout = \"4+4\"\nfirst = {lane}\n{LAB}"
        )
    }
}

fn goes_through(n: usize) {
    let block = RealBlock::number(n);
    let sim = sim_pool(block.pool(Configure::Refuse));
    let section = format!(
        "[[pool]]\nname = \"real-{n}\"\nurl = \"stratum+tcp://{}\"\nuser = \"real.1\"",
        sim.address()
    );
    let proxy = Proxy::start(&block.config(&section));
    let mut miner = proxy.mining("real.1");

    let params = &block.data["submit"]["params"];
    let (lane, rolled) = block.text("/submit/params/2").split_at(8);
    assert_eq!(miner.en1, unhex(lane).expect("hex"));
    assert_eq!(miner.en2_size, 4);
    let job = miner.job.id.clone();
    let answer = miner.submit(&json!(["real.1", job, rolled, params[3], params[4]]));
    assert_eq!(answer["result"], json!(true), "{answer}");

    // At the pool: every parameter as the block's own miner sent it, accepted at one bit below its difficulty.
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.received == 1));
    let seen = seen.expect("the share reaches the pool");
    let line: Value = serde_json::from_str(&seen.last_submits[0]).expect("JSON");
    assert_eq!(line["params"], *params);
    assert_eq!((seen.accepted, seen.blocks), (1, 1), "{seen:?}");

    // In the log: whole, so that the block can be rebuilt from nothing else.
    let event = told(&["block candidate", block.text("/block_hash")]);
    assert_eq!(event["target"], "sluice::block");
    rebuild(&block, &event["fields"]);

    // In the figures.
    let summary = eventually("the block is counted", || {
        Some(proxy.summary()).filter(|s| s.blocks == 1 && s.accepted.shares == 1)
    });
    assert_eq!(summary.accepted.difficulty, miner.difficulty);
    assert!(summary.conserves);
    let metrics = proxy.get("/metrics");
    let counted = |line: &str| line.starts_with("sluice_block") && line.ends_with(" 1");
    assert!(metrics.lines().any(counted), "{metrics}");
    eventually("the pool's verdict is counted", || {
        let pool = proxy.pool(&format!("real-{n}"));
        (pool.accepted.shares == 1 && pool.in_flight.shares == 0).then_some(())
    });
}

/// From the logged coinbase and branch alone to the header, its hash and its difficulty.
fn rebuild(block: &RealBlock, logged: &Value) {
    let field = |name: &str| logged[name].as_str().expect("a field of the event");
    assert_eq!(field("header"), block.text("/header"));
    let coinbase = unhex(field("coinbase")).expect("hex");
    let coinbase: Transaction = deserialize(&coinbase).expect("a transaction");
    assert!(coinbase.is_coinbase());
    let branch: Vec<String> = serde_json::from_str(field("branch")).expect("a list");
    let root = branch
        .iter()
        .fold(coinbase.compute_txid().to_byte_array(), |left, right| {
            let pair = [left.to_vec(), unhex(right).expect("hex")].concat();
            sha256d::Hash::hash(&pair).to_byte_array()
        });
    let header: Header = deserialize(&unhex(field("header")).expect("hex")).expect("a header");
    assert_eq!(header.merkle_root, TxMerkleNode::from_byte_array(root));
    let hash = header
        .validate_pow(header.target())
        .expect("it meets the network target");
    assert_eq!(hash.to_string(), block.text("/block_hash"));
    let judged = Target::from_le_bytes(&hash.to_byte_array()).difficulty();
    assert_eq!(judged.to_bits(), block.share_difficulty.to_bits());
    let theirs = bitcoin::Target::from_le_bytes(hash.to_byte_array()).difficulty_float();
    assert!((judged / theirs - 1.0).abs() < 1e-12, "{judged} {theirs}");
}

#[test]
fn mainnet_block_413567_goes_through_whole() {
    goes_through(0);
}

#[test]
fn a_mainnet_segwit_block_with_rolled_version_goes_through_whole() {
    goes_through(1);
}

#[test]
fn a_testnet_block_goes_through_whole() {
    goes_through(2);
}

#[test]
fn under_a_granted_mask_the_same_block_reaches_the_pool_with_the_bits_it_needs() {
    let block = RealBlock::number(1);
    let sim = sim_pool(block.pool(Configure::Grant(0x1fff_e000)));
    let proxy = Proxy::start(&block.config(&pool("real-mask", sim.address(), "")));
    let mut miner = proxy.mining("real.1");
    let params = &block.data["submit"]["params"];
    let rolled = &block.text("/submit/params/2")[8..];
    let share = json!(["real.1", miner.job.id, rolled, params[3], params[4]]);
    assert_eq!(miner.submit(&share)["result"], json!(true));
    let seen = RUNTIME.block_on(sim.wait_for(PATIENCE, |s| s.received == 1));
    assert_eq!(seen.expect("the share reaches the pool").blocks, 1);
}

#[test]
fn the_difficulty_above_a_real_solution_is_not_met() {
    for n in 0..3 {
        let block = RealBlock::number(n);
        let mut hash: [u8; 32] = block.bytes("/block_hash").try_into().expect("32 bytes");
        hash.reverse();
        let bound = |d: f64| Target::from_difficulty(Difficulty::new(d).expect("in range"));
        assert!(bound(block.share_difficulty.next_down()).is_met_by(&hash));
        assert!(!bound(block.share_difficulty.next_up()).is_met_by(&hash));
    }
}
