//! Shares that are wrong, twice, or not the sender's: refused with the right code, counted once, never forwarded twice.

use crate::house::{EASY, House, Plan, eventually};
use crate::miner::{Miner, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A submit bucket that a test cannot empty.
const FAST: &str = "submits_per_second = 1000\nsubmit_burst = 100000";

/// What somebody does to a share to make it look like another.
type Dress = fn(&mut Value);

#[test]
fn a_share_counts_once_however_it_is_dressed_and_is_forwarded_once() {
    let plan = Plan {
        pool_difficulty: EASY,
        ..Plan::default()
    };
    let house = House::open(&plan);
    let mut miner = house.miner("twice");
    assert_eq!(miner.authorize("someone.else")["result"], true);
    miner.worker = "twice".to_owned();
    let share = miner.mine();
    let dressed: [(&str, Dress); 5] = [
        ("as it was", |_| {}),
        ("in capitals", capitals),
        ("by another worker", |share| {
            share[0] = json!("someone.else");
        }),
        ("under the job's id with a zero in front", zero_in_front),
        ("with more parameters", one_more),
    ];
    for (what, dress) in &dressed {
        let mut again = share.clone();
        dress(&mut again);
        assert_eq!(miner.submit(&again), Verdict::Code(22), "{what}");
    }
    house.expect_refusals(&[("duplicate", dressed.len() as u64)]);
    let pool = &house.upstream.pool;
    eventually("the pool has it", || pool.stats().received == 1);
    assert_eq!(pool.stats().rejected_total(), 0);
    house.close();
}

fn capitals(share: &mut Value) {
    for field in share.as_array_mut().expect("a list").iter_mut().skip(1) {
        *field = json!(field.as_str().expect("hex").to_uppercase());
    }
}

fn one_more(share: &mut Value) {
    share.as_array_mut().expect("a list").push(json!(7));
}

fn zero_in_front(share: &mut Value) {
    let job = share[1].as_str().expect("a job id").to_owned();
    if job.len() < 8 {
        share[1] = json!(format!("0{job}"));
    }
}

#[test]
fn a_duplicate_is_one_under_every_later_job_of_the_block_too() {
    let house = House::open(&Plan::default());
    let mut miner = house.miner("patient");
    let share = miner.mine();
    house.upstream.pool.new_job();
    let first = miner.job.clone();
    while miner.job == first {
        miner.line().expect("a new job");
    }
    // The old job is still good: not clean. Its id is in no header, the hash is the same.
    assert_eq!(miner.submit(&share), Verdict::Code(22));
    house.upstream.pool.new_block();
    let second = miner.job.clone();
    while miner.job == second {
        miner.line().expect("a new block");
    }
    assert_eq!(miner.submit(&share), Verdict::Code(21));
    house.expect_refusals(&[("duplicate", 1), ("stale", 1)]);
    house.close();
}

#[test]
fn every_bad_share_has_its_code_and_moves_its_counter_by_one() {
    let mut house = House::open(&Plan::default());
    let mut miner = house.miner("wrong");
    let rows: [(&str, usize, Value, i64, &str); 22] = [
        (
            "a job never given",
            1,
            json!("ffffffff"),
            21,
            "job_not_found",
        ),
        (
            "a job id that is no hex",
            1,
            json!("../etc"),
            21,
            "job_not_found",
        ),
        (
            "a job id of nine digits",
            1,
            json!("123456789"),
            21,
            "job_not_found",
        ),
        ("an empty job id", 1, json!(""), 21, "job_not_found"),
        ("a number as job id", 1, json!(7), 21, "job_not_found"),
        (
            "extranonce2 one byte short",
            2,
            json!("000000"),
            20,
            "extranonce2_length",
        ),
        (
            "extranonce2 one byte long",
            2,
            json!("0000000001"),
            20,
            "extranonce2_length",
        ),
        (
            "extranonce2 of 500 bytes",
            2,
            json!("00".repeat(500)),
            20,
            "extranonce2_length",
        ),
        ("extranonce2 empty", 2, json!(""), 20, "extranonce2_length"),
        (
            "extranonce2 of half a byte",
            2,
            json!("0000000"),
            20,
            "invalid_params",
        ),
        (
            "extranonce2 no hex",
            2,
            json!("0000000g"),
            20,
            "invalid_params",
        ),
        ("extranonce2 null", 2, Value::Null, 20, "invalid_params"),
        ("ntime before the job's", 3, json!("00000001"), 20, "ntime"),
        (
            "ntime at the end of time",
            3,
            json!("ffffffff"),
            20,
            "ntime",
        ),
        (
            "ntime of seven digits",
            3,
            json!("1234567"),
            20,
            "invalid_params",
        ),
        ("ntime a float", 3, json!(1.5), 20, "invalid_params"),
        (
            "nonce of nine digits",
            4,
            json!("123456789"),
            20,
            "invalid_params",
        ),
        (
            "nonce with a sign",
            4,
            json!("+1234567"),
            20,
            "invalid_params",
        ),
        (
            "version bits outside the mask",
            5,
            json!("00000001"),
            20,
            "version_bits",
        ),
        ("all version bits", 5, json!("ffffffff"), 20, "version_bits"),
        (
            "version bits no hex",
            5,
            json!("zzzz"),
            20,
            "invalid_params",
        ),
        (
            "a worker never authorized",
            0,
            json!("not.me"),
            24,
            "unauthorized_worker",
        ),
    ];
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for (what, field, value, code, reason) in rows {
        let mut share = miner.fresh();
        share[field] = value;
        assert_eq!(miner.submit(&share), Verdict::Code(code), "{what}");
        match counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((reason, 1)),
        }
    }
    for params in [json!([]), json!(["wrong"]), json!({"worker": "wrong"})] {
        assert_eq!(miner.submit(&params), Verdict::Code(20));
    }
    let unreadable = counts
        .iter_mut()
        .find(|(reason, _)| *reason == "invalid_params");
    unreadable.expect("some were").1 += 3;
    house.honest.mine();
    house.expect_refusals(&counts);
    miner.mine();
    house.close();
}

#[test]
fn ntime_may_roll_7000_seconds_and_not_one_more() {
    let house = House::open(&Plan::default());
    let mut miner = house.miner("roller");
    let started = miner.job.clone().expect("logged in").ntime;
    for (ahead, verdict) in [(7000, Verdict::Accepted), (7001, Verdict::Code(20))] {
        let mut share = miner.fresh();
        share[3] = json!(format!("{:08x}", started + ahead));
        assert_eq!(miner.submit(&share), verdict, "{ahead} s ahead");
    }
    house.close();
}

#[test]
fn a_low_difficulty_flood_is_helped_at_32_and_closed_at_256() {
    let plan = Plan {
        difficulty: 1.0,
        limits: FAST,
        ..Plan::default()
    };
    let house = House::open(&plan);
    let mut miner = house.miner("too.easy");
    let before = miner.notifies;
    let mut answers = 0;
    for sent in 1..=256 {
        let share = miner.fresh();
        assert_eq!(miner.submit(&share), Verdict::Code(23), "share {sent}");
        answers += 1;
        if sent == 31 {
            assert_eq!(
                miner.notifies, before,
                "nothing is sent again before the 32nd"
            );
        }
        if sent == 33 {
            assert_eq!(
                miner.notifies,
                before + 1,
                "the work is sent again at the 32nd"
            );
        }
    }
    assert_eq!(miner.rest(), [""; 0], "closed at the 256th");
    house.expect_closed("misbehaved", 1);
    house.expect_refusals(&[("low_difficulty", answers)]);
    // Never a ban: the same address and name may come again at once.
    let mut again = house.miner("too.easy");
    let share = again.fresh();
    assert_eq!(again.submit(&share), Verdict::Code(23));
    house.close();
}

#[test]
fn a_good_share_between_bad_ones_starts_the_count_again() {
    let house = House::open(&Plan {
        limits: FAST,
        ..Plan::default()
    });
    let mut miner = house.miner("clumsy");
    for _ in 0..2 {
        for _ in 0..255 {
            bad(&mut miner);
        }
        miner.mine();
    }
    assert_eq!(house.closed("misbehaved"), 0);
    house.expect_refusals(&[("invalid_params", 510)]);
    house.close();
}

fn bad(miner: &mut Miner) {
    let mut share = miner.fresh();
    share[4] = json!("no hex");
    assert_eq!(miner.submit(&share), Verdict::Code(20));
}

#[test]
fn stale_shares_alone_never_close() {
    let house = House::open(&Plan {
        limits: FAST,
        ..Plan::default()
    });
    let mut miner = house.miner("late");
    let old = miner.fresh();
    house.upstream.pool.new_block();
    let first = miner.job.clone();
    while miner.job == first {
        miner.line().expect("a new block");
    }
    for _ in 0..300 {
        assert_eq!(miner.submit(&old), Verdict::Code(21));
    }
    miner.mine();
    assert_eq!(house.closed("misbehaved"), 0);
    house.expect_refusals(&[("stale", 300)]);
    house.close();
}

#[test]
fn thousands_of_pipelined_good_shares_are_all_answered_in_order() {
    const SHARES: u64 = 20_000;
    let mut house = House::open(&Plan {
        limits: FAST,
        ..Plan::default()
    });
    let mut miner = house.miner("eager");
    let mut writer = miner.stream.try_clone().expect("a descriptor");
    let lines: Vec<String> = (0..SHARES)
        .map(|id| {
            let params = miner.fresh();
            format!(
                "{}\n",
                json!({ "id": id, "method": "mining.submit", "params": params })
            )
        })
        .collect();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        for chunk in lines.chunks(500) {
            writer
                .write_all(chunk.concat().as_bytes())
                .expect("it is read");
        }
    });
    let (mut next, mut accepted) = (0, 0);
    while next < SHARES {
        let line = miner.line().expect("an answer");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        if answer.get("method").is_some() {
            continue;
        }
        assert_eq!(answer["id"], next, "in order");
        next += 1;
        accepted += u64::from(answer["result"] == true);
        if next % 2_000 == 0 {
            house.honest.mine();
        }
    }
    sender.join().expect("all was written");
    assert!(
        accepted + 10 > SHARES,
        "one in 65,536 misses the target: {accepted}"
    );
    let received = || house.listener()["received"]["shares"].as_u64();
    let all = Some(SHARES + SHARES / 2_000);
    eventually("every share is counted", || received() == all);
    house.expect_refusals(&[("low_difficulty", SHARES - accepted)]);
    house.close();
}

#[test]
fn a_submit_beyond_the_bucket_waits_and_is_not_lost() {
    const SHARES: usize = 100;
    let house = House::open(&Plan {
        limits: "submits_per_second = 100\nsubmit_burst = 10",
        ..Plan::default()
    });
    let mut miner = house.miner("hasty");
    let started = Instant::now();
    for _ in 0..SHARES {
        let share = miner.fresh();
        let line = json!({ "id": "s", "method": "mining.submit", "params": share });
        miner.send(format!("{line}\n").as_bytes());
    }
    let answers = (0..SHARES).map(|_| miner.answer(&json!("s")));
    let accepted = answers.filter(|answer| answer["result"] == true).count();
    assert!(accepted > SHARES - 3);
    // Of 100, 10 are the burst and at most 32, the last turn's, are overdrawn: 58 had to wait 10 ms each.
    assert!(started.elapsed() > Duration::from_millis(550));
    house.close();
}
