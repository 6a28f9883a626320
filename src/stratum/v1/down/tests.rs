//! What miners really send (STRATUM.md sections 1 and 4), one quirk a test.

use super::*;
use proptest::prelude::*;

#[test]
fn a_submit_is_read_without_copying() {
    let message = parse(SUBMIT.as_bytes()).unwrap();
    assert_eq!(message.id, Some(Id("4")));
    let Ok(Request::Submit(submit)) = message.request else {
        panic!("a submit");
    };
    assert!(matches!(submit.worker, Cow::Borrowed("bc1q.rig")));
    assert_eq!(submit.job, Some(0x1f));
    assert_eq!(
        (submit.en2, submit.en2_len),
        ([0xab, 0xcd, 0, 1, 0, 0, 0, 0], 4)
    );
    assert_eq!((submit.ntime, submit.nonce), (0x504e_86ed, 0xb295_7c02));
    assert_eq!(submit.version_bits, Some(0x0400_2000));
}

#[test]
fn a_recased_submit_is_the_same_submit() {
    let lower = SUBMIT.replace("1f", "0000001f");
    let upper = SUBMIT
        .replace("1f", "1F")
        .replace("abcd", "ABCD")
        .replace("504e86ed", "504E86ED");
    assert_eq!(
        parse(lower.as_bytes()).unwrap().request,
        parse(SUBMIT.as_bytes()).unwrap().request
    );
    assert_eq!(
        parse(upper.as_bytes()).unwrap().request,
        parse(SUBMIT.as_bytes()).unwrap().request
    );
}

#[test]
fn five_parameters_null_and_empty_bits_mean_no_bits() {
    for last in ["", ",null", ",\"\""] {
        let submit = submitted(&format!(
            r#""w","1","00000000","00000001","00000002"{last}"#
        ))
        .unwrap();
        assert_eq!(submit.version_bits, None, "{last}");
    }
    assert_eq!(
        submitted(r#""w","1","00","00000001","00000002","2000""#)
            .unwrap()
            .version_bits,
        Some(0x2000)
    );
    assert_eq!(
        submitted(r#""w","1","00","00000001","00000002","00002000",7,8,9,10,11"#)
            .unwrap()
            .version_bits,
        Some(0x2000)
    );
}

#[test]
fn a_submit_of_wrong_shape_is_invalid_but_keeps_its_id() {
    for params in [
        "",
        r#""w","1","00000000","00000001""#,
        r#""w","1","00000000","0000001","00000002""#,
        r#""w","1","00000000","000000001","00000002""#,
        r#""w","1","00000000","0x000001","00000002""#,
        r#""w","1","00000000","00000001","0000000g""#,
        r#""w","1","00000000",1,2"#,
        r#""w","1","000","00000001","00000002""#,
        r#""w","1","zz","00000001","00000002""#,
        r#""w","1","000000000000000000z0","00000001","00000002""#,
        r#""w","1","000000000000000000000","00000001","00000002""#,
        r#""w","1",null,"00000001","00000002""#,
        r#""w","1","00000000","00000001","00000002","000000001""#,
        r#""w","1","00000000","00000001","00000002",1"#,
        r#"["w"],"1","00000000","00000001","00000002""#,
        r#""\ud800","1","00000000","00000001","00000002""#,
    ] {
        assert!(submitted(params).is_err(), "{params}");
    }
    for params in ["{}", "null", "7", r#""x""#] {
        let line = format!(r#"{{"id":9,"method":"mining.submit","params":{params}}}"#);
        let message = parse(line.as_bytes()).unwrap();
        assert_eq!(message.id, Some(Id("9")));
        assert!(message.request.is_err());
    }
}

#[test]
fn a_job_we_cannot_have_given_is_unknown_not_invalid() {
    for job in [
        r#""""#,
        r#""123456789""#,
        r#""0x1""#,
        r#""xyz""#,
        "7",
        "null",
        "[]",
    ] {
        let params = format!(r#""w",{job},"00000000","00000001","00000002""#);
        assert_eq!(submitted(&params).unwrap().job, None, "{job}");
    }
}

#[test]
fn eight_bytes_of_extranonce2_are_kept_and_of_nine_only_the_length() {
    let sent = |bytes: usize| {
        let digits = "ab".repeat(bytes);
        let submit = submitted(&format!(r#""w","1","{digits}","00000001","00000002""#)).unwrap();
        (submit.en2, submit.en2_len)
    };
    assert_eq!(sent(0), ([0; 8], 0));
    assert_eq!(sent(8), ([0xab; 8], 8));
    assert_eq!(sent(9), ([0; 8], 9));
    assert_eq!(sent(254), ([0; 8], 254));
    assert_eq!(sent(255), ([0; 8], 255));
    assert_eq!(sent(1000), ([0; 8], 255));
}

#[test]
fn a_worker_is_taken_as_it_is() {
    let submit =
        submitted(r#""a\r\n\"\u0000<script>\u202e","1","00","00000001","00000002""#).unwrap();
    assert_eq!(submit.worker, "a\r\n\"\0<script>\u{202e}");
    assert_eq!(
        submitted(r#"12,"1","00","00000001","00000002""#)
            .unwrap()
            .worker,
        "12"
    );
}

#[test]
fn scalars_are_echoed_as_ids_and_other_things_as_null() {
    for (id, echoed) in [
        ("1", "1"),
        ("-1.50e3", "-1.50e3"),
        ("1e999", "1e999"),
        (r#""a\u0041\ud800""#, r#""a\u0041\ud800""#),
        ("true", "true"),
        ("null", "null"),
        ("[1]", "null"),
        (r#"{"a":1}"#, "null"),
    ] {
        let line = format!(r#"{{"id":{id},"method":"mining.ping","params":[]}}"#);
        assert_eq!(parse(line.as_bytes()).unwrap().id, Some(Id(echoed)), "{id}");
    }
    assert_eq!(parse(br#"{"method":"mining.ping"}"#).unwrap().id, None);
}

#[test]
fn what_is_not_an_object_is_not_a_message() {
    let lines: [&[u8]; 14] = [
        b"",
        b" ",
        b"GET / HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x00\xff\xfe",
        b"[{\"id\":1,\"method\":\"mining.ping\"}]",
        b"null",
        b"{",
        b"{\"id\":1,\"method\":\"mining.ping\"}x",
        b"{\"id\":1,\"method\":\"mining.ping\"}{}",
        b"{\"id\":NaN,\"method\":\"mining.ping\"}",
        b"{\"id\":1,\"method\":\"mining.\xff\"}",
        b"{\"id\":1,\"method\":\"mining.ping\",}",
        b"{\"id\":\"a\x01\",\"method\":\"mining.ping\"}",
    ];
    for line in lines {
        assert_eq!(
            parse(line).unwrap_err(),
            Malformed::NotAnObject,
            "{}",
            line.escape_ascii()
        );
    }
}

#[test]
fn an_object_that_says_nothing_is_malformed_and_an_answer_is_swallowed() {
    assert_eq!(parse(b"{}").unwrap_err(), Malformed::NoMethod);
    assert_eq!(
        parse(br#"{"id":1,"method":7}"#).unwrap_err(),
        Malformed::NoMethod
    );
    assert_eq!(
        parse(br#"{"id":1,"method":"\ud800"}"#).unwrap_err(),
        Malformed::NoMethod
    );
    for line in [
        r#"{"id":1,"result":"pong","error":null}"#,
        r#"{"id":1,"method":null,"result":true}"#,
        r#"{"error":[20,"x",null]}"#,
        r#"{"id":1,"method":"pong"}"#,
        r#"{"id":1,"method":"mining.pong","params":[]}"#,
    ] {
        assert_eq!(request(line), Ok(Request::Pong), "{line}");
    }
}

#[test]
fn unknown_methods_are_unknown_never_an_error() {
    for method in [
        "mining.get_transactions",
        "mining.multi_version",
        "mining.capabilities",
        "MINING.SUBMIT",
        "",
    ] {
        assert_eq!(
            request(&format!(r#"{{"id":1,"method":"{method}","params":[1]}}"#)),
            Ok(Request::Unknown)
        );
    }
}

#[test]
fn a_method_may_be_escaped_and_keys_in_any_order() {
    let line = r#" {"params":["u"], "jsonrpc":"2.0", "method":"mining\u002eauthorize","id":2} "#;
    let expected = Request::Authorize {
        user: "u".into(),
        password: None,
    };
    assert_eq!(request(line), Ok(expected));
}

#[test]
fn a_subscribe_needs_nothing() {
    let nothing = Request::Subscribe {
        agent: None,
        session: None,
    };
    for params in ["[]", "null", "{}", "[null,null]", "[7,[]]", "\"x\""] {
        assert_eq!(
            request(&call("mining.subscribe", params)),
            Ok(Request::Subscribe {
                agent: None,
                session: None
            }),
            "{params}"
        );
    }
    assert_eq!(
        request(r#"{"id":1,"method":"mining.subscribe"}"#),
        Ok(nothing)
    );
    let full = Request::Subscribe {
        agent: Some("cgminer/4.10".into()),
        session: Some("5e55".into()),
    };
    assert_eq!(
        request(&call(
            "mining.subscribe",
            r#"["cgminer/4.10","5e55","host",3333]"#
        )),
        Ok(full)
    );
}

#[test]
fn users_may_be_empty_or_numbers_and_passwords_missing() {
    for (params, user, password) in [
        (r#"["u","x"]"#, "u", Some("x")),
        (r#"["u"]"#, "u", None),
        (r#"["u",null]"#, "u", None),
        (r#"["u",123]"#, "u", Some("123")),
        (r#"["","" ]"#, "", Some("")),
        (r#"[null,"x"]"#, "", Some("x")),
        (r#"[12345,"x"]"#, "12345", Some("x")),
        (r#"["u",["x"]]"#, "u", None),
    ] {
        let expected = Request::Authorize {
            user: user.into(),
            password: password.map(Into::into),
        };
        assert_eq!(
            request(&call("mining.authorize", params)),
            Ok(expected),
            "{params}"
        );
    }
    for params in ["[]", "{}", "[[]]", r#"[{"a":1}]"#, r#"["\ud800"]"#] {
        assert!(
            request(&call("mining.authorize", params)).is_err(),
            "{params}"
        );
    }
}

#[test]
fn a_difficulty_may_be_suggested_as_number_or_text_and_fractional() {
    for (param, value) in [
        ("1024", 1024.0),
        ("0.5", 0.5),
        (r#""256""#, 256.0),
        ("1e3", 1000.0),
        (r#"" 2 ""#, 2.0),
    ] {
        let expected = Request::SuggestDifficulty(Difficulty::new(value).unwrap());
        assert_eq!(
            request(&call("mining.suggest_difficulty", &format!("[{param}]"))),
            Ok(expected),
            "{param}"
        );
    }
    for param in [
        "", "0", "-1", "1e999", r#""nan""#, r#""inf""#, "null", "[1]", "true", r#""""#,
    ] {
        assert!(
            request(&call("mining.suggest_difficulty", &format!("[{param}]"))).is_err(),
            "{param}"
        );
    }
}

#[test]
fn a_target_has_64_digits() {
    let target = |digits: usize| {
        let line = call(
            "mining.suggest_target",
            &format!("[\"{}\"]", "f".repeat(digits)),
        );
        match request(&line) {
            Ok(Request::SuggestTarget(target)) => Some(target),
            _ => None,
        }
    };
    assert_eq!(target(64), Some(Target::MAX));
    assert_eq!(target(62), None);
    assert_eq!(target(66), None);
}

#[test]
fn other_requests_are_known() {
    assert_eq!(
        request(&call("mining.extranonce.subscribe", "[]")),
        Ok(Request::ExtranonceSubscribe)
    );
    assert_eq!(request(&call("mining.ping", "[]")), Ok(Request::Ping));
    assert_eq!(request(&call("ping", "null")), Ok(Request::Ping));
}

#[test]
fn a_configure_may_leave_out_what_it_likes() {
    let rolling = |mask, min_bits| Configure {
        version_rolling: Some(VersionRolling { mask, min_bits }),
        ..Configure::default()
    };
    for (params, expected) in [
        (
            r#"[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]"#,
            rolling(0x1fff_e000, 2),
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#,
            rolling(u32::MAX, 0),
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"0x1fffe000"}]"#,
            rolling(0x1fff_e000, 0),
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":536862720}]"#,
            rolling(0x1fff_e000, 0),
        ),
        (
            r#"[["version-rolling"],{"version-rolling.mask":"xx","version-rolling.min-bit-count":"16"}]"#,
            rolling(0, 16),
        ),
        (r#"[["version-rolling"]]"#, rolling(u32::MAX, 0)),
        (r#"[["version-rolling"],null]"#, rolling(u32::MAX, 0)),
        (r#"[["version-rolling"],[]]"#, rolling(u32::MAX, 0)),
        (
            r#"[[],{"version-rolling.mask":"1fffe000","minimum-difficulty.value":1}]"#,
            Configure::default(),
        ),
    ] {
        assert_eq!(
            request(&call("mining.configure", params)),
            Ok(Request::Configure(expected)),
            "{params}"
        );
    }
    for params in ["[]", "[null]", "{}", r#"["version-rolling"]"#] {
        assert!(
            request(&call("mining.configure", params)).is_err(),
            "{params}"
        );
    }
}

#[test]
fn every_extension_is_recognised() {
    let params = r#"[["minimum-difficulty","subscribe-extranonce","info","x-new",7],{"minimum-difficulty.value":0.5,"info.hw-id":"x"}]"#;
    let expected = Configure {
        version_rolling: None,
        minimum_difficulty: Some(Difficulty::new(0.5)),
        subscribe_extranonce: true,
        info: true,
        unknown: vec!["x-new".to_owned()],
    };
    assert_eq!(
        request(&call("mining.configure", params)),
        Ok(Request::Configure(expected))
    );
    let unusable = r#"[["minimum-difficulty"],{"minimum-difficulty.value":-1}]"#;
    let expected = Configure {
        minimum_difficulty: Some(None),
        ..Configure::default()
    };
    assert_eq!(
        request(&call("mining.configure", unusable)),
        Ok(Request::Configure(expected))
    );
}

#[test]
fn unknown_extensions_are_eight_of_32_plain_characters_and_not_twice() {
    let unknown = |names: &[String]| {
        let params = format!("[[\"{}\"]]", names.join("\",\""));
        match request(&call("mining.configure", &params)) {
            Ok(Request::Configure(asked)) => asked.unknown,
            other => panic!("{other:?}"),
        }
    };
    let many: Vec<String> = (0..9).map(|n| format!("x{n}")).collect();
    assert_eq!(unknown(&many[..8]), many[..8]);
    assert_eq!(unknown(&many), many[..8]);
    let names = [
        "a".repeat(32),
        "a".repeat(33),
        "a b".to_owned(),
        String::new(),
        "a".repeat(32),
    ];
    assert_eq!(unknown(&names), ["a".repeat(32)]);
    assert!(unknown(&["version-rolling.mask".to_owned()]).is_empty());
}

proptest! {
    #[test]
    fn no_bytes_at_all_make_it_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&line);
    }

    #[test]
    fn a_broken_submit_never_panics(at in 0..SUBMIT.len(), byte: u8, length in 0..SUBMIT.len()) {
        let mut line = SUBMIT.as_bytes().to_vec();
        line[at] = byte;
        let _ = parse(&line);
        let _ = parse(&line[..length]);
    }
}

const SUBMIT: &str = r#"{"id":4,"method":"mining.submit","params":["bc1q.rig","1f","abcd0001","504e86ed","b2957c02","04002000"]}"#;

fn call(method: &str, params: &str) -> String {
    format!(r#"{{"id":1,"method":"{method}","params":{params}}}"#)
}

fn request(line: &str) -> Result<Request<'_>, InvalidParams> {
    parse(line.as_bytes()).unwrap().request
}

fn submitted(params: &str) -> Result<Submit<'static>, InvalidParams> {
    let line = call("mining.submit", &format!("[{params}]"));
    match request(&line)? {
        Request::Submit(submit) => Ok(Submit {
            worker: submit.worker.into_owned().into(),
            ..submit
        }),
        other => panic!("{other:?}"),
    }
}
