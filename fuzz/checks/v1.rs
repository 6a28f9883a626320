//! What must hold for any bytes on a Stratum V1 connection; used by the fuzz targets and by the replay of their corpora.
//!
//! Not tests of meaning (those stand beside the code). Each check panics when an invariant breaks.

use sluice::stratum::label;
use sluice::stratum::v1::line::{Lines, Overlong};
use sluice::stratum::v1::message::{self, MAX_MINER_LINE, MAX_POOL_LINE};
use sluice::stratum::v1::{down, up};
use sluice::work::{Difficulty, MAX_BRANCHES, MAX_COINBASE};

/// Lines are the same however the stream is cut. The first byte is the cap, the second and third seed the cuts.
pub(crate) fn v1_line(data: &[u8]) {
    let [cap, step, budget, stream @ ..] = data else {
        return;
    };
    let cap = usize::from(*cap);
    let expected = reference(stream, cap);
    let mut reader = Lines::new(cap);
    let mut got = Vec::new();
    let mut rest = stream;
    let mut size = usize::from(*step);
    while !rest.is_empty() {
        // Not a fixed size, so that ends fall everywhere; never zero twice in a row.
        size = (size * 7 + 3) % 61;
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        read(&mut reader, chunk, usize::from(*budget) % 4 + 1, &mut got);
        assert!(
            reader.kept() <= cap + 1,
            "more is kept than a line and its terminator"
        );
    }
    assert_eq!(got, expected);
}

/// A line as from a miner and as from a pool: no panic, and what comes out is within its limits.
pub(crate) fn v1_message(data: &[u8]) {
    if data.len() <= MAX_MINER_LINE {
        from_miner(data);
    }
    if data.len() <= MAX_POOL_LINE {
        from_pool(data);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        texts(text);
        up::subscribe_result(text);
        up::configure_result(text);
    }
}

fn read(reader: &mut Lines, mut chunk: &[u8], budget: usize, got: &mut Vec<Option<Vec<u8>>>) {
    loop {
        for _ in 0..budget {
            match reader.next(&mut chunk) {
                Some(Ok(line)) => got.push(Some(line.to_vec())),
                Some(Err(Overlong)) => got.push(None),
                None => return reader.keep(chunk),
            }
        }
        reader.keep(chunk);
        chunk = b"";
    }
}

/// The same in the plainest words: `None` for the overlong line that ends all.
fn reference(stream: &[u8], cap: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = Vec::new();
    let mut pieces = stream.split(|byte| *byte == b'\n').peekable();
    while let Some(piece) = pieces.next() {
        let line = piece.strip_suffix(b"\r").unwrap_or(piece);
        if line.len() > cap {
            lines.push(None);
            break;
        }
        if pieces.peek().is_some() && !line.is_empty() {
            lines.push(Some(line.to_vec()));
        }
    }
    lines
}

fn from_miner(line: &[u8]) {
    let Ok(message) = down::parse(line) else {
        return;
    };
    if let Some(id) = message.id {
        let mut out = Vec::new();
        down::reply::accepted(&mut out, id);
        one_json_line(&out);
        out.clear();
        down::reply::error(&mut out, id, -3, "method not found");
        one_json_line(&out);
    }
    match message.request {
        Ok(down::Request::Submit(submit)) => submit_reads_back(&submit),
        Ok(down::Request::Configure(asked)) => {
            assert!(asked.unknown.len() <= 8);
            let mut out = Vec::new();
            down::reply::configured(&mut out, message::Id("1"), &asked, Some(0x1fff_e000));
            one_json_line(&out);
        }
        Ok(down::Request::SuggestDifficulty(difficulty)) => in_range(difficulty),
        Ok(down::Request::Authorize { user, password }) => {
            texts(&user);
            texts(&password.unwrap_or_default());
        }
        _ => {}
    }
}

fn submit_reads_back(submit: &down::Submit<'_>) {
    let Some(en2) = submit.en2.get(..usize::from(submit.en2_len)) else {
        return assert_eq!(submit.en2, [0; 8], "too long to be kept");
    };
    let Some(job) = submit.job else {
        return;
    };
    let share = up::request::Submit {
        user: &submit.worker,
        job: &format!("{job:x}"),
        en2,
        ntime: submit.ntime,
        nonce: submit.nonce,
        version_bits: submit.version_bits,
    };
    let mut out = Vec::new();
    up::request::submit(&mut out, u64::MAX, &share);
    one_json_line(&out);
    let again = down::parse(out.trim_ascii_end()).expect("what we write is a message");
    assert!(matches!(again.request, Ok(down::Request::Submit(again)) if again == *submit));
}

fn from_pool(line: &[u8]) {
    match up::parse(line) {
        Ok(up::Message::Notify(notify)) => {
            assert!(
                (1..=64).contains(&notify.job.len())
                    && notify.job.bytes().all(|byte| byte.is_ascii_graphic())
            );
            assert!(notify.coinb1.len() + notify.coinb2.len() <= MAX_COINBASE);
            assert!(notify.branch.len() <= MAX_BRANCHES);
        }
        Ok(up::Message::SetDifficulty(Some(difficulty))) => in_range(difficulty),
        Ok(up::Message::SetExtranonce(Some(extranonce))) => within(&extranonce),
        Ok(up::Message::Reconnect { host, port, .. }) => {
            assert!(host.is_none_or(|host| is_plain(&host, 253)));
            assert_ne!(port, Some(0));
        }
        Ok(up::Message::ShowMessage(text)) => assert!(is_plain(&text, 200)),
        Ok(up::Message::GetVersion { id } | up::Message::Ping { id: Some(id) }) => {
            let mut out = Vec::new();
            up::request::version(&mut out, id, "sluice");
            one_json_line(&out);
        }
        Ok(up::Message::Response { outcome, .. }) => match outcome {
            up::Outcome::Ok(raw) => {
                up::configure_result(raw);
                if let Some(extranonce) = up::subscribe_result(raw) {
                    within(&extranonce);
                }
            }
            up::Outcome::Refused(refusal) => assert!(is_plain(&refusal.text, 80)),
        },
        _ => {}
    }
}

fn texts(text: &str) {
    let label = label::worker_label(text);
    assert!((1..=label::MAX_LABEL).contains(&label.len()));
    assert!(
        label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._@+:/-%".contains(&byte))
    );
    assert!(is_plain(&label::printable(text, 80), 80));
    let hints = down::password_hints(text);
    for difficulty in hints.start.into_iter().chain(hints.fixed_min) {
        in_range(difficulty);
    }
    down::agent_minimum(text);
    let mut out = Vec::new();
    up::request::authorize(&mut out, 1, text, text);
    one_json_line(&out);
}

fn in_range(difficulty: Difficulty) {
    let value = difficulty.value();
    assert!((Difficulty::MIN.value()..=Difficulty::MAX.value()).contains(&value));
    let mut out = Vec::new();
    down::notification::set_difficulty(&mut out, difficulty);
    one_json_line(&out);
    let read = up::parse(out.trim_ascii_end());
    assert_eq!(read, Ok(up::Message::SetDifficulty(Some(difficulty))));
}

fn within(extranonce: &up::Extranonce) {
    assert!(extranonce.extranonce1.len() <= up::MAX_EXTRANONCE1);
    assert!((1..=254).contains(&extranonce.size));
}

fn is_plain(text: &str, most: usize) -> bool {
    text.len() <= most
        && text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Exactly one line, and JSON: no id or text of a peer breaks out of it.
fn one_json_line(out: &[u8]) {
    assert_eq!(
        out.iter().position(|byte| *byte == b'\n'),
        Some(out.len() - 1)
    );
    let text = std::str::from_utf8(out).expect("we write UTF-8");
    serde_json::from_str::<&serde_json::value::RawValue>(text.trim_end()).expect("we write JSON");
}
