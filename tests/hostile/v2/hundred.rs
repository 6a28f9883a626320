//! One connection with a hundred channels: one of them goes wrong in every way there is, and ninety-nine do not notice.

use super::client::{ANY, Client, Verdict};
use super::handshake::plan;
use crate::house::{House, Plan};
use sluice::sim::v2::frame::{CHANNEL_BIT, header};
use sluice::sim::v2::message::{Message, Submit, WORKER_TRACKING};
use sluice::sim::v2::target;
use sluice::sim::wire::Bound;
use std::collections::BTreeMap;

const HUNDRED: usize = 100;
/// A number that no honest share of the client has.
const SEQUENCE: u32 = 0x7000_0000;
/// Bad shares in a row that end a channel.
const TOO_MANY: u32 = 256;

pub(super) fn large() -> Plan {
    Plan {
        limits: "channels = 128\nothers_per_second = 1000\nother_burst = 1000",
        ..plan()
    }
}

/// The hundred, somebody else's V2 connection, and the V1 miner of the house.
struct Scene {
    house: House,
    hundred: Client,
    other: Client,
    rows: usize,
}

/// What a bad channel does and what it must hear; the share it begins with was never sent.
type Offence = (&'static str, fn(&mut Submit), &'static str);

const OFFENCES: [Offence; 10] = [
    ("unknown job", |s| s.job ^= 0x5555_5555, "invalid-job-id"),
    ("job 0", |s| s.job = 0, "invalid-job-id"),
    ("a time too early", |s| s.ntime -= 1, "invalid-share"),
    ("a time too late", |s| s.ntime += 7_001, "invalid-share"),
    ("the last of times", |s| s.ntime = u32::MAX, "invalid-share"),
    (
        "a version bit outside",
        |s| s.version ^= 1,
        "invalid-non-rollable-version-bit",
    ),
    (
        "all version bits",
        |s| s.version = !s.version,
        "invalid-non-rollable-version-bit",
    ),
    (
        "extranonce too short",
        |s| {
            s.extranonce.pop();
        },
        "bad-extranonce-size",
    ),
    (
        "extranonce too long",
        |s| s.extranonce.push(0),
        "bad-extranonce-size",
    ),
    (
        "extranonce of 32",
        |s| s.extranonce = vec![1; 32],
        "bad-extranonce-size",
    ),
];

#[test]
fn of_a_hundred_channels_one_that_fails_in_any_way_leaves_ninety_nine_untouched() {
    let mut scene = Scene::open();
    // Its channels are of either kind in turn.
    let (extended, standard) = (scene.nth(0), scene.nth(1));
    for (what, spoil, code) in OFFENCES {
        for bad in [extended, standard] {
            // Standard channels have no extranonce to be wrong about: sent as the other kind of share.
            let other_kind = bad == standard && what.contains("extranonce");
            let code = if other_kind { "invalid-share" } else { code };
            scene.row(what, bad, |client| {
                let mut share = client.fresh(bad);
                spoil(&mut share);
                let message = match other_kind || bad == extended {
                    true => Message::SubmitExtended(share.clone()),
                    false => Message::SubmitStandard(share.clone()),
                };
                client.say(&message);
                (share.sequence, code)
            });
        }
    }
    scene.row(
        "standard share on an extended channel",
        extended,
        |client| {
            let share = client.fresh(extended);
            client.say(&Message::SubmitStandard(share.clone()));
            (share.sequence, "invalid-share")
        },
    );
    for bad in [extended, standard] {
        scene.row("duplicate", bad, |client| {
            let mut share = client.mine(bad);
            share.sequence = SEQUENCE;
            let message = client.submit_as(&share);
            client.say(&message);
            (share.sequence, "duplicate-share")
        });
    }
    scene.stale(extended);
    scene.names(extended);
    scene.close();
}

#[test]
fn a_channel_of_too_many_bad_shares_is_closed_and_ninety_nine_mine_on() {
    let mut scene = Scene::open();
    let floods: [fn(&mut Submit); 3] = [
        |share| share.extranonce.push(0),
        |share| share.version ^= 1,
        |share| share.ntime = 0,
    ];
    for (nth, spoil) in floods.into_iter().enumerate() {
        let bad = scene.nth(2 * nth);
        scene.flood(bad, spoil);
    }
    let hard = scene.hard();
    scene.flood(hard, |_| {});
    // Their places are free again, and their ids are not.
    let next = scene.hundred.open("v2.next", true);
    scene.hundred.until_all_have_jobs();
    assert!(scene.hundred.channels.keys().all(|id| *id <= next));
    scene.hundred.mine(next);
    scene.close();
}

#[test]
fn wishes_of_one_channel_that_are_refused_leave_the_others_untouched() {
    let mut scene = Scene::open();
    let mine = scene.nth(0);
    scene.wish(
        "a target of nothing",
        &Message::UpdateChannel {
            channel: mine,
            hashrate: 1.0,
            max_target: [0; 32],
        },
        Some((mine, "max-target-out-of-range")),
    );
    for channel in [0, 0x0bad, u32::MAX] {
        scene.wish(
            "an update of nobody's channel",
            &Message::UpdateChannel {
                channel,
                hashrate: 1.0,
                max_target: ANY,
            },
            Some((channel, "invalid-channel-id")),
        );
        let reason = String::from("\r\n<script>");
        scene.wish(
            "a close of nobody's channel",
            &Message::CloseChannel { channel, reason },
            None,
        );
    }
    for hashrate in [0.0, -0.0, f32::MIN_POSITIVE, f32::MAX] {
        scene.wish(
            "an odd hash rate",
            &Message::UpdateChannel {
                channel: mine,
                hashrate,
                max_target: ANY,
            },
            None,
        );
    }
    let ours: Vec<u32> = scene.other.channels.keys().copied().collect();
    let reason = String::new();
    let channel = scene.hundred.channels.keys().max().copied().expect("many") + 1;
    assert!(ours.iter().all(|id| *id < channel));
    scene.wish(
        "a close of the channel after the last",
        &Message::CloseChannel { channel, reason },
        None,
    );
    scene.close();
}

#[test]
fn a_channel_that_closes_itself_takes_no_other_with_it() {
    let mut scene = Scene::open();
    for nth in [0, 1, 50, 99] {
        let channel = scene.nth(nth);
        let reason = "done".into();
        scene
            .hundred
            .say(&Message::CloseChannel { channel, reason });
        let gone = scene.hundred.channels.get_mut(&channel).expect("ours");
        gone.closed = Some("by itself".into());
        scene.all_mine("after a close");
        let late = scene.hundred.fresh(channel);
        assert_eq!(
            scene.hundred.submit(&late),
            Verdict::refused("invalid-channel-id")
        );
    }
    scene.close();
}

impl Scene {
    fn open() -> Self {
        let house = House::open(&large());
        let hundred = Client::login(house.address, "v2.hundred", HUNDRED);
        let other = Client::login(house.address, "v2.other", 2);
        Self {
            house,
            hundred,
            other,
            rows: 0,
        }
    }

    fn nth(&self, nth: usize) -> u32 {
        *self.hundred.channels.keys().nth(nth).expect("a hundred")
    }

    /// Half of the others send a share, `offend` says what is wrong, the other half send theirs; then all hear of it.
    fn row(
        &mut self,
        what: &str,
        bad: u32,
        offend: impl FnOnce(&mut Client) -> (u32, &'static str),
    ) {
        let good: Vec<u32> = self
            .hundred
            .live()
            .map(|channel| channel.id)
            .filter(|id| *id != bad)
            .collect();
        let half = good.len() / 2;
        let mut sent = BTreeMap::new();
        self.send(&good[..half], &mut sent);
        let (sequence, code) = offend(&mut self.hundred);
        self.send(&good[half..], &mut sent);
        let refused = self.hundred.verdict(bad, sequence);
        assert_eq!(refused, Verdict::refused(code), "{what}");
        self.accepted(what, sent);
        self.undisturbed(what);
    }

    fn send(&mut self, ids: &[u32], sent: &mut BTreeMap<u32, u32>) {
        for id in ids {
            let share = self.hundred.fresh(*id);
            let message = self.hundred.submit_as(&share);
            self.hundred.say(&message);
            sent.insert(*id, share.sequence);
        }
    }

    fn accepted(&mut self, what: &str, sent: BTreeMap<u32, u32>) {
        for (id, sequence) in sent {
            let verdict = self.hundred.verdict(id, sequence);
            if verdict != Verdict::Accepted {
                // One in 65,536 misses the target.
                assert_eq!(verdict, Verdict::refused("difficulty-too-low"), "{what}");
                self.hundred.mine(id);
            }
        }
    }

    /// Nobody else was closed, and other connections mine.
    fn undisturbed(&mut self, what: &str) {
        self.rows += 1;
        let closed = |client: &Client| client.channels.len() - client.live().count();
        assert_eq!(closed(&self.other), 0, "{what}");
        let ids: Vec<u32> = self.other.channels.keys().copied().collect();
        for id in ids {
            self.other.mine(id);
        }
        self.house.honest.mine();
    }

    fn all_mine(&mut self, what: &str) {
        let ids: Vec<u32> = self.hundred.live().map(|channel| channel.id).collect();
        let mut sent = BTreeMap::new();
        self.send(&ids, &mut sent);
        self.accepted(what, sent);
        self.undisturbed(what);
    }

    /// A share of a job that was good until the last block; the others have the new one.
    fn stale(&mut self, bad: u32) {
        let old = self.hundred.fresh(bad);
        self.house.upstream.pool.new_block();
        let before = old.job;
        while self
            .hundred
            .live()
            .any(|channel| channel.job.is_some_and(|job| job.id == before))
        {
            self.hundred.message().expect("the new block comes");
        }
        self.row("stale", bad, |client| {
            client.say(&Message::SubmitExtended(old.clone()));
            (old.sequence, "stale-share")
        });
    }

    /// Extension 0x0002: what cannot be a worker's name is refused with its share (3.4.3).
    fn names(&mut self, bad: u32) {
        let wanted = vec![WORKER_TRACKING];
        self.hundred
            .say(&Message::RequestExtensions { request: 7, wanted });
        while !matches!(
            self.hundred.message(),
            Some(Message::ExtensionsGranted { request: 7, .. })
        ) {}
        self.row("a name too long", bad, |client| {
            let mut share = client.fresh(bad);
            share.worker = Some("x".repeat(33));
            client.say(&Message::SubmitExtended(share.clone()));
            (share.sequence, "invalid-share")
        });
        self.row("a field that is cut, then a duplicate", bad, |client| {
            // Not readable as a field, so as if there were none (3.4.3: fields that are not known are ignored).
            let share = client.fresh(bad);
            let mut payload = Message::SubmitExtended(share.clone()).frame().payload;
            payload.extend([2, 0, 1, 200, 0, b'x']);
            let bytes = [&header(CHANNEL_BIT, 0x1b, payload.len())[..], &payload].concat();
            client.send(&bytes);
            assert_eq!(client.verdict(bad, share.sequence), Verdict::Accepted);
            client.send(&bytes);
            (share.sequence, "duplicate-share")
        });
    }

    /// A channel whose shares would take 2^32 hashes each, and has nobody who hashes.
    fn hard(&mut self) -> u32 {
        let one = Bound::of_difficulty(1.0).expect("a difficulty");
        let mut wish = self.hundred.wish("v2.hard");
        wish.max_target = target::to_bytes(one);
        let opened = self.hundred.ask_open(wish, true).expect("a channel");
        self.hundred.until_all_have_jobs();
        opened.channel
    }

    fn flood(&mut self, bad: u32, spoil: fn(&mut Submit)) {
        for _ in 0..TOO_MANY {
            let mut share = self.hundred.fresh(bad);
            spoil(&mut share);
            let verdict = self.hundred.submit(&share);
            assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
        }
        while self.hundred.channels[&bad].closed.is_none() {
            self.hundred.message().expect("its end comes");
        }
        let why = self.hundred.channels[&bad].closed.as_deref();
        assert_eq!(why, Some("misbehaved"));
        let late = self.hundred.fresh(bad);
        assert_eq!(
            self.hundred.submit(&late),
            Verdict::refused("invalid-channel-id")
        );
        self.all_mine("after a flood");
    }

    /// Says it among everybody's shares; what must be heard of it.
    fn wish(&mut self, what: &str, wish: &Message, refused: Option<(u32, &str)>) {
        self.hundred.say(wish);
        if let Some((channel, code)) = refused {
            loop {
                let message = self.hundred.message().expect("an answer");
                if let Message::UpdateError {
                    channel: of,
                    code: why,
                } = message
                {
                    assert_eq!((of, why.as_str()), (channel, code), "{what}");
                    break;
                }
            }
        }
        self.all_mine(what);
    }

    fn close(mut self) {
        self.all_mine("at the end");
        let closed = self.hundred.live().count();
        assert!(closed >= HUNDRED - 4, "after {} rows", self.rows);
        self.house.close();
    }
}
