//! What pools really send (STRATUM.md sections 2 and 4), one quirk a test.

use super::super::message::Id;
use super::*;
use crate::work::{MAX_BRANCHES, MAX_COINBASE};
use proptest::prelude::*;

#[test]
fn a_notify_is_decoded() {
    let Message::Notify(notify) = read(&notify(&[])) else {
        panic!("a notify");
    };
    assert_eq!(notify.job, "6849f2b100000001");
    assert_eq!(notify.prev_hash[..8], [3, 2, 1, 0, 7, 6, 5, 4]);
    assert_eq!((notify.coinb1, notify.coinb2), (vec![1, 0], vec![0xff]));
    assert_eq!(notify.branch, [[0xaa; 32]]);
    assert_eq!(
        (notify.version, notify.nbits, notify.ntime),
        (0x2000_0000, 0x1703_4219, 0x6849_f2b1)
    );
    assert!(notify.clean);
}

#[test]
fn job_ids_may_be_long_hex_decimals_or_numbers() {
    for (raw, job) in [
        (r#""0""#, "0"),
        (r#""255""#, "255"),
        ("17", "17"),
        (r#""a-b_c""#, "a-b_c"),
    ] {
        match read(&notify(&[(0, raw)])) {
            Message::Notify(notify) => assert_eq!(notify.job, job),
            other => panic!("{raw}: {other:?}"),
        }
    }
    for raw in [
        r#""""#,
        "-1",
        "null",
        "[]",
        r#""a b""#,
        r#""a\"b""#,
        r#""a\\b""#,
        r#""\u00e9""#,
        r#""a\n""#,
    ] {
        assert_eq!(
            read(&notify(&[(0, raw)])),
            Message::BadNotify("job id"),
            "{raw}"
        );
    }
    let job = |length: usize| format!("\"{}\"", "x".repeat(length));
    assert!(matches!(
        read(&notify(&[(0, &job(64))])),
        Message::Notify(_)
    ));
    assert_eq!(
        read(&notify(&[(0, &job(65))])),
        Message::BadNotify("job id")
    );
}

#[test]
fn a_coinbase_of_32_kib_passes_and_one_byte_more_does_not() {
    let half = format!("\"{}\"", "00".repeat(MAX_COINBASE / 2));
    let more = format!("\"{}\"", "00".repeat(MAX_COINBASE / 2 + 1));
    assert!(matches!(
        read(&notify(&[(2, &half), (3, &half)])),
        Message::Notify(_)
    ));
    assert_eq!(
        read(&notify(&[(2, &half), (3, &more)])),
        Message::BadNotify("coinbase above 32 KiB")
    );
}

#[test]
fn thirty_two_branches_pass_and_one_more_does_not() {
    let branches = |count: usize| {
        format!(
            "[{}]",
            vec![format!("\"{}\"", "ab".repeat(32)); count].join(",")
        )
    };
    assert!(matches!(read(&notify(&[(4, "[]")])), Message::Notify(_)));
    assert!(matches!(
        read(&notify(&[(4, &branches(MAX_BRANCHES))])),
        Message::Notify(_)
    ));
    assert_eq!(
        read(&notify(&[(4, &branches(MAX_BRANCHES + 1))])),
        Message::BadNotify("more than 32 branches")
    );
}

#[test]
fn a_bad_notify_is_named_not_taken() {
    let short = format!("[\"{}\"]", "a".repeat(62));
    for (place, raw, why) in [
        (1, r#""00""#, "previous hash"),
        (2, r#""0""#, "coinbase is not hex"),
        (3, r#""zz""#, "coinbase is not hex"),
        (3, "7", "coinbase is not a string"),
        (4, &*short, "a branch is not 64 hex digits"),
        (4, "[7]", "a branch is not 64 hex digits"),
        (4, "null", "branches are not an array"),
        (4, "{}", "branches are not an array"),
        (5, r#""2""#, "version"),
        (6, "1", "nbits"),
        (7, r#""xxxxxxxx""#, "ntime"),
        (8, "null", "clean flag"),
        (8, r#""true""#, "clean flag"),
    ] {
        assert_eq!(
            read(&notify(&[(place, raw)])),
            Message::BadNotify(why),
            "{place} {raw}"
        );
    }
    for params in ["[]", "{}", "null", r#"["1"]"#] {
        assert_eq!(
            read(&told("mining.notify", params)),
            Message::BadNotify("not nine parameters")
        );
    }
    assert!(matches!(read(&notify(&[(8, "1")])), Message::Notify(notify) if notify.clean));
    assert!(matches!(read(&notify(&[(8, "0")])), Message::Notify(notify) if !notify.clean));
}

#[test]
fn notifications_of_json_rpc_2_need_no_id() {
    let line = r#"{"jsonrpc":"2.0","method":"mining.set_difficulty","params":[2048]}"#;
    assert_eq!(read(line), Message::SetDifficulty(Difficulty::new(2048.0)));
}

#[test]
fn a_difficulty_is_finite_and_in_range() {
    for (raw, value) in [
        ("1024", Some(1024.0)),
        (r#""512.5""#, Some(512.5)),
        ("0.00000000023283064365386963", Some(1.0 / 4_294_967_296.0)),
        ("0.0000000002328306436538696", None),
        ("9223372036854775808", Some(9_223_372_036_854_775_808.0)),
        ("9223372036854777856", None),
        ("0", None),
        ("-1", None),
        ("1e999", None),
        (r#""NaN""#, None),
        (r#""inf""#, None),
        ("null", None),
        ("[1]", None),
    ] {
        let expected = value.and_then(Difficulty::new);
        assert_eq!(
            read(&told("mining.set_difficulty", &format!("[{raw}]"))),
            Message::SetDifficulty(expected),
            "{raw}"
        );
    }
    assert_eq!(
        read(&told("mining.set_difficulty", "[]")),
        Message::SetDifficulty(None)
    );
}

#[test]
fn an_extranonce_has_limits_on_both_parts() {
    let set = |extranonce1: usize, size: u64| {
        let params = format!("[\"{}\",{size}]", "ab".repeat(extranonce1));
        match read(&told("mining.set_extranonce", &params)) {
            Message::SetExtranonce(extranonce) => {
                extranonce.map(|it| (it.extranonce1.len(), it.size))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(set(4, 4), Some((4, 4)));
    assert_eq!(set(32, 254), Some((32, 254)));
    assert_eq!(set(33, 8), None);
    assert_eq!(set(4, 255), None);
    assert_eq!(set(4, 0), None);
    assert_eq!(set(4, u64::MAX), None);
    assert_eq!(
        read(&told("mining.set_extranonce", r#"["abc",4]"#)),
        Message::SetExtranonce(None)
    );
    assert_eq!(
        read(&told("mining.set_extranonce", "[]")),
        Message::SetExtranonce(None)
    );
}

#[test]
fn a_version_mask_is_hex() {
    assert_eq!(
        read(&told("mining.set_version_mask", r#"["1fffe000"]"#)),
        Message::SetVersionMask(Some(0x1fff_e000))
    );
    assert_eq!(
        read(&told("mining.set_version_mask", r#"["0"]"#)),
        Message::SetVersionMask(Some(0))
    );
    assert_eq!(
        read(&told("mining.set_version_mask", "[7]")),
        Message::SetVersionMask(None)
    );
    assert_eq!(
        read(&told("mining.set_version_mask", "[]")),
        Message::SetVersionMask(None)
    );
}

#[test]
fn a_reconnect_comes_in_every_form() {
    for (params, host, port, wait_s) in [
        ("[]", None, None, 0),
        ("null", None, None, 0),
        (
            r#"["pool.example",3333]"#,
            Some("pool.example"),
            Some(3333),
            0,
        ),
        (
            r#"["pool.example","3333","5"]"#,
            Some("pool.example"),
            Some(3333),
            5,
        ),
        (r#"["",0,1]"#, None, None, 1),
        (r#"["a\r\nb",65535,3600]"#, Some("a??b"), Some(65535), 3600),
        (r#"["h",65536,3601]"#, Some("h"), None, 3600),
        (r#"[null,null,-1]"#, None, None, 0),
    ] {
        let expected = Message::Reconnect {
            host: host.map(str::to_owned),
            port,
            wait_s,
        };
        assert_eq!(
            read(&told("client.reconnect", params)),
            expected,
            "{params}"
        );
    }
    assert!(matches!(
        read(r#"{"id":null,"method":"client.reconnect"}"#),
        Message::Reconnect { host: None, .. }
    ));
}

#[test]
fn a_message_to_show_is_cut_and_cleaned() {
    for method in ["client.show_message", "mining.show_message"] {
        let text = format!("[\"\\u001b[31m{}\"]", "x".repeat(300));
        let Message::ShowMessage(shown) = read(&told(method, &text)) else {
            panic!("a message");
        };
        assert!(shown.starts_with("?[31mx"));
        assert_eq!(shown.len(), 200);
    }
    assert_eq!(
        read(&told("client.show_message", "[]")),
        Message::ShowMessage(String::new())
    );
}

#[test]
fn questions_are_answered_if_they_have_an_id() {
    for method in ["client.get_version", "mining.get_version"] {
        assert_eq!(
            read(&format!(r#"{{"id":7,"method":"{method}","params":[]}}"#)),
            Message::GetVersion { id: Id("7") }
        );
        assert_eq!(
            read(&format!(r#"{{"method":"{method}"}}"#)),
            Message::Unknown
        );
    }
    for method in ["mining.ping", "client.ping"] {
        assert_eq!(
            read(&format!(r#"{{"id":"p","method":"{method}"}}"#)),
            Message::Ping {
                id: Some(Id("\"p\""))
            }
        );
        assert_eq!(
            read(&format!(r#"{{"method":"{method}"}}"#)),
            Message::Ping { id: None }
        );
    }
    assert_eq!(read(&told("mining.set_goal", "[]")), Message::Unknown);
}

#[test]
fn an_answer_may_lack_its_error_and_spell_its_id_as_text() {
    for line in [
        r#"{"id":3,"result":true}"#,
        r#"{"id":3,"result":true,"error":null}"#,
        r#"{"id":"3","result":true,"error":[]}"#,
        r#"{"id":3,"result":true,"error":false,"jsonrpc":"2.0"}"#,
        r#"{"id":3,"result":true,"error":null,"reject-reason":null}"#,
        r#"{"id":3,"method":"mining.submit","result":true,"error":null}"#,
        r#"{"id":3,"method":null,"result":true,"error":null}"#,
    ] {
        assert_eq!(
            read(line),
            Message::Response {
                id: Some(3),
                outcome: Outcome::Ok("true")
            },
            "{line}"
        );
    }
    for id in ["null", "-1", "1.5", "\"x\"", "[3]"] {
        let line = format!(r#"{{"id":{id},"result":true}}"#);
        assert!(
            matches!(read(&line), Message::Response { id: None, .. }),
            "{id}"
        );
    }
}

#[test]
fn a_refusal_is_understood_in_every_dialect() {
    for (line, kind, text) in [
        (
            r#"{"id":3,"result":false,"error":null}"#,
            RefusalKind::Other,
            "",
        ),
        (
            r#"{"id":3,"result":null,"error":null}"#,
            RefusalKind::Other,
            "",
        ),
        (r#"{"id":3,"result":false}"#, RefusalKind::Other, ""),
        (
            r#"{"id":3,"error":[21,"Job not found",null]}"#,
            RefusalKind::Stale,
            "Job not found",
        ),
        (
            r#"{"id":3,"result":true,"error":[22,"Duplicate share",null]}"#,
            RefusalKind::Duplicate,
            "Duplicate share",
        ),
        (
            r#"{"reject-reason":"Above target","result":false,"error":null,"id":3}"#,
            RefusalKind::LowDifficulty,
            "Above target",
        ),
        (
            r#"{"reject-reason":"Stale","id":3}"#,
            RefusalKind::Stale,
            "Stale",
        ),
        (
            r#"{"id":3,"result":null,"error":{"code":24,"message":"no"}}"#,
            RefusalKind::Unauthorized,
            "no",
        ),
        (
            r#"{"id":3,"result":null,"error":"not subscribed"}"#,
            RefusalKind::NotSubscribed,
            "not subscribed",
        ),
    ] {
        let refusal = Refusal {
            kind,
            text: text.to_owned(),
        };
        assert_eq!(
            read(line),
            Message::Response {
                id: Some(3),
                outcome: Outcome::Refused(refusal)
            },
            "{line}"
        );
    }
}

#[test]
fn an_extranonce_is_found_wherever_a_subscribe_result_has_it() {
    let expected = Extranonce {
        extranonce1: vec![0x08, 0, 0, 2],
        size: 4,
    };
    for raw in [
        r#"[[["mining.set_difficulty","b4"],["mining.notify","ae68"]],"08000002",4]"#,
        r#"[["mining.notify","ae6812eb4cd7735a302a8a9dd95cf71f"],"08000002",4]"#,
        r#"[null,"08000002",4]"#,
        r#"[[],"08000002","4"]"#,
        r#"[[],"08000002",4,"more"]"#,
        r#"["08000002",4]"#,
        r#"[1,2,[],"08000002",4]"#,
        r#"[["08000002",4]]"#,
        r#"{"extranonce1":"08000002","extranonce2_size":4}"#,
        r#"{"subscriptions":[],"extraNonce1":"08000002","extraNonce2Size":"4"}"#,
    ] {
        assert_eq!(subscribe_result(raw), Some(expected.clone()), "{raw}");
    }
    for raw in [
        "true",
        "null",
        "[]",
        "{}",
        r#"[[],"0800000",4]"#,
        r#"[[],"08000002",255]"#,
        r#"[[],"08000002"]"#,
        "\"x\"",
        "",
    ] {
        assert_eq!(subscribe_result(raw), None, "{raw}");
    }
}

#[test]
fn a_mask_is_granted_only_with_the_word_true() {
    for (raw, mask) in [
        (
            r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#,
            Some(0x1fff_e000),
        ),
        (
            r#"{"version-rolling.mask":"00c00000","version-rolling":true,"x":[1]}"#,
            Some(0x00c0_0000),
        ),
        (r#"{"version-rolling":true}"#, None),
        (
            r#"{"version-rolling":false,"version-rolling.mask":"1fffe000"}"#,
            None,
        ),
        (
            r#"{"version-rolling":"no","version-rolling.mask":"1fffe000"}"#,
            None,
        ),
        (r#"{"version-rolling":true,"version-rolling.mask":7}"#, None),
        ("true", None),
        ("[]", None),
    ] {
        assert_eq!(configure_result(raw), mask, "{raw}");
    }
}

#[test]
fn what_is_no_message_ends_the_connection() {
    assert_eq!(
        parse(b"HTTP/1.1 400 Bad Request").unwrap_err(),
        Malformed::NotAnObject
    );
    assert_eq!(parse(b"[]").unwrap_err(), Malformed::NotAnObject);
    assert_eq!(parse(br#"{"id":1}"#).unwrap_err(), Malformed::NoMethod);
    assert_eq!(
        parse(br#"{"id":1,"result":1,"result":1}"#).unwrap_err(),
        Malformed::DuplicateKey
    );
    let deep = format!("{{\"result\":{}{}}}", "[".repeat(8), "]".repeat(8));
    assert_eq!(parse(deep.as_bytes()).unwrap_err(), Malformed::TooDeep);
}

proptest! {
    #[test]
    fn no_bytes_at_all_make_it_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&line);
    }

    #[test]
    fn a_broken_notify_never_panics(at in 0_usize..400, byte: u8, length in 0_usize..400) {
        let mut line = notify(&[]).into_bytes();
        let (at, length) = (at % line.len(), length % line.len());
        line[at] = byte;
        let _ = parse(&line);
        let _ = parse(&line[..length]);
    }

    #[test]
    fn results_of_any_text_never_panic(raw: String) {
        let _ = subscribe_result(&raw);
        let _ = configure_result(&raw);
    }
}

/// A good notify with some parameters replaced.
fn notify(replaced: &[(usize, &str)]) -> String {
    let prev_hash = format!("\"0001020304050607{}\"", "08".repeat(24));
    let branch = format!("[\"{}\"]", "aa".repeat(32));
    let mut params = [
        r#""6849f2b100000001""#,
        &prev_hash,
        r#""0100""#,
        r#""ff""#,
        &branch,
        r#""20000000""#,
        r#""17034219""#,
        r#""6849f2b1""#,
        "true",
    ];
    for (place, raw) in replaced {
        params[*place] = raw;
    }
    told("mining.notify", &format!("[{}]", params.join(",")))
}

fn told(method: &str, params: &str) -> String {
    format!(r#"{{"id":null,"method":"{method}","params":{params}}}"#)
}

fn read(line: &str) -> Message<'_> {
    parse(line.as_bytes()).unwrap()
}
