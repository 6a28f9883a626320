//! User identities and device names from hell, looked for in every place they could come out of.

use super::client::{ANY, Client, setup};
use super::hundred::large;
use crate::house::{EASY, House, Plan, eventually};
use crate::names::{assert_clean, is_label};
use serde_json::Value;
use sluice::sim::v2::frame::{CHANNEL_BIT, header};
use sluice::sim::v2::message::{Message, Setup, WORKER_TRACKING};

fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"w<script>alert(1)</script>"[..],
        b"w\r\nX-Evil: 1\r\n\r\n",
        b"w\0w",
        b"\"evil\"} 1\nsluice_fake 1",
        b"=cmd()|' /C calc'!A0",
        "w\u{202e}w\u{1f4a9}".as_bytes(),
        b"\x1b[31mw",
        b"%41%0a{worker}{}",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push(vec![0xff; 255]);
    names.push(vec![b'x'; 255]);
    names
}

/// Opens an extended channel under the name, which need not be text.
fn open(client: &mut Client, request: u32, name: &[u8]) -> u32 {
    let mut payload = request.to_le_bytes().to_vec();
    payload.push(name.len() as u8);
    payload.extend(name);
    payload.extend(1.0_f32.to_le_bytes());
    payload.extend(ANY);
    payload.extend(2_u16.to_le_bytes());
    client.send(&[&header(0, 0x13, payload.len())[..], &payload].concat());
    loop {
        match client.message().expect("an answer, not the end") {
            Message::OpenedExtended(opened) if opened.request == request => return opened.channel,
            Message::OpenError { code, .. } => panic!("{name:x?}: {code}"),
            _ => {}
        }
    }
}

#[test]
fn identities_from_hell_are_labels_in_the_api_the_metrics_and_at_the_pool() {
    let house = House::open(&Plan {
        pool_difficulty: EASY,
        ..large()
    });
    let hell = "v<script>\r\n\"".to_owned();
    let mut client = Client::connect(house.address);
    client.say(&Message::SetupConnection(Setup {
        vendor: hell.clone(),
        hardware: hell.clone(),
        firmware: "\u{202e}".repeat(80),
        device: hell,
        ..setup()
    }));
    let answer = client.message();
    assert!(matches!(answer, Some(Message::SetupSuccess { .. })));
    let names = names();
    let ids: Vec<u32> = (1000..)
        .zip(&names)
        .map(|(request, name)| open(&mut client, request, name))
        .collect();
    client.until_all_have_jobs();
    ids.iter().for_each(|id| {
        client.mine(*id);
    });
    workers(&mut client, ids[0], &names);
    let page = || house.get("/api/v1/miners?limit=100");
    let seats = || {
        let page: Value = serde_json::from_str(&page()).expect("JSON");
        let miners = page["miners"].as_array().expect("a list");
        let with_shares = miners.iter().filter(|miner| miner["accepted"] != 0);
        let labels: Vec<String> = with_shares
            .flat_map(|miner| [miner["worker"].clone(), miner["agent"].clone()])
            .map(|label| label.as_str().expect("text").to_owned())
            .collect();
        labels
    };
    eventually("every name has mined", || seats().len() >= 2 * names.len());
    for label in seats() {
        assert!(is_label(&label), "{label:?}");
    }
    for path in ["/api/v1/miners?limit=100", "/metrics", "/metrics/workers"] {
        let text = house.get(path);
        assert_clean(path, &text);
        assert!(!text.contains("sluice_fake 1"), "{path}");
    }
    let pool = &house.upstream.pool;
    let all = names.len() as u64;
    eventually("the pool has every share", || pool.stats().accepted >= all);
    for user in pool.stats().users.keys() {
        let label = user.strip_prefix("lab.").expect("the template's beginning");
        assert!(is_label(label), "at the pool: {user:?}");
    }
    house.close();
}

/// The same as names of workers in shares (extension 0x0002), as far as they are short enough for one.
fn workers(client: &mut Client, id: u32, names: &[Vec<u8>]) {
    let wanted = vec![WORKER_TRACKING];
    client.say(&Message::RequestExtensions { request: 9, wanted });
    while !matches!(client.message(), Some(Message::ExtensionsGranted { .. })) {}
    for name in names.iter().filter(|name| name.len() <= 32) {
        let share = client.fresh(id);
        let mut payload = Message::SubmitExtended(share.clone()).frame().payload;
        payload.extend(WORKER_TRACKING.to_le_bytes());
        payload.push(1);
        payload.extend((name.len() as u16).to_le_bytes());
        payload.extend(name);
        client.send(&[&header(CHANNEL_BIT, 0x1b, payload.len())[..], &payload].concat());
        client.verdict(id, share.sequence);
    }
}
