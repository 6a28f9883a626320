//! What must go the short way, what must not, and that both ways say the same.

use super::super::parse_slow;
use super::*;
use proptest::prelude::*;

/// The shapes (order of members, blanks, lengths) that these families are known for; written from memory, not captured.
const FIRMWARE: [(&str, &str); 15] = [
    (
        "cgminer",
        r#"{"params": ["bc1qexample.rig42", "1f", "abcd0001", "504e86ed", "b2957c02"], "id": 17, "method": "mining.submit"}"#,
    ),
    (
        "bmminer, btminer: cgminer with version bits",
        r#"{"params": ["bc1qexample.rig42", "1f", "abcd0001", "504e86ed", "b2957c02", "04002000"], "id": 17, "method": "mining.submit"}"#,
    ),
    (
        "WhatsMiner",
        r#"{"params":["acct.w1","1f","abcd0001","504e86ed","b2957c02","04002000"],"id":17,"method":"mining.submit"}"#,
    ),
    (
        "ESP-Miner (Bitaxe)",
        r#"{"id": 17, "method": "mining.submit", "params": ["bc1qexample.bitaxe", "1f", "abcd000100000000", "504e86ed", "b2957c02", "04002000"]}"#,
    ),
    (
        "NerdMiner",
        r#"{"id": 17, "method": "mining.submit", "params": ["bc1qexample", "1f", "abcd0001", "504e86ed", "b2957c02"]}"#,
    ),
    (
        "BOSminer",
        r#"{"id":17,"method":"mining.submit","params":["acct.bos","1f","abcd0001","504e86ed","b2957c02","04002000"]}"#,
    ),
    (
        "BOSminer, by name",
        r#"{"id":17,"params":["acct.bos","1f","abcd0001","504e86ed","b2957c02","04002000"],"method":"mining.submit"}"#,
    ),
    (
        "cpuminer",
        r#"{"method": "mining.submit", "params": ["u", "1f", "abcd0001", "504e86ed", "b2957c02"], "id":4}"#,
    ),
    (
        "a map in any order",
        r#"{"method":"mining.submit","id":4,"params":["u","1f","abcd0001","504e86ed","b2957c02"]}"#,
    ),
    (
        "another",
        r#"{"params":["u","1f","abcd0001","504e86ed","b2957c02"],"method":"mining.submit","id":4}"#,
    ),
    (
        "digits in capitals",
        r#"{"id":4,"method":"mining.submit","params":["u","1F","ABCD0001","504E86ED","B2957C02","04002000"]}"#,
    ),
    (
        "an id of text",
        r#"{"params":["u","1f","abcd0001","504e86ed","b2957c02"],"method":"mining.submit","id":"4a"}"#,
    ),
    (
        "no id to answer",
        r#"{"id":null,"method":"mining.submit","params":["u","1f","abcd0001","504e86ed","b2957c02"]}"#,
    ),
    (
        "no name, shortest numbers, last id 0",
        r#"{"params":["","0","","00000000","00000000","0"],"method":"mining.submit","id":0}"#,
    ),
    (
        "short bits at the very end",
        r#"{"id":0,"method":"mining.submit","params":["a b:c/d+e@f","ffffffff","ab","ffffffff","ffffffff","2"]}"#,
    ),
];

const LINE: &str = r#"{"id":4711,"method":"mining.submit","params":["bc1q.rig","1f","abcd0001","504e86ed","b2957c02","04002000"]}"#;

#[test]
fn what_firmware_sends_goes_the_short_way_and_means_the_same() {
    for (who, line) in FIRMWARE {
        let message = submit(line.as_bytes()).unwrap_or_else(|| panic!("{who}"));
        assert_eq!(Ok(message), parse_slow(line.as_bytes()), "{who}");
    }
}

#[test]
fn every_field_is_where_it_belongs() {
    let message = submit(LINE.as_bytes()).unwrap();
    assert_eq!(message.id, Some(Id("4711")));
    assert!(message.is_submit);
    let expected = Submit {
        worker: "bc1q.rig".into(),
        job: Some(0x1f),
        en2: [0xab, 0xcd, 0, 1, 0, 0, 0, 0],
        en2_len: 4,
        ntime: 0x504e_86ed,
        nonce: 0xb295_7c02,
        version_bits: Some(0x0400_2000),
    };
    assert_eq!(message.request, Ok(Request::Submit(expected)));
}

#[test]
fn other_values_go_the_long_way() {
    for (usual, odd) in [
        // Ids: other scalars, other numbers, none.
        ("4711", "-1"),
        ("4711", "1.5"),
        ("4711", "1e3"),
        ("4711", "04711"),
        ("4711", "00"),
        ("4711", "true"),
        ("4711", "nullx"),
        ("4711", "[1]"),
        ("4711", ""),
        ("4711", r#""a\u0041""#),
        ("4711", "\"\u{e9}\""),
        ("\"id\":4711,", ""),
        // Methods.
        ("mining.submit", "mining.submit2"),
        ("mining.submit", "MINING.SUBMIT"),
        ("mining.submit", "mining\\u002esubmit"),
        ("mining.submit", "mining.subscribe"),
        (r#""method":"mining.submit","#, ""),
        // Workers.
        ("bc1q.rig", "a\\nb"),
        ("bc1q.rig", "a\tb"),
        ("bc1q.rig", "a\u{7f}b"),
        ("bc1q.rig", "rig\u{fc}"),
        (r#""bc1q.rig""#, "7"),
        (r#""bc1q.rig""#, "null"),
        // Jobs.
        (r#""1f""#, r#""""#),
        (r#""1f""#, r#""000000001""#),
        (r#""1f""#, r#""0x1f""#),
        (r#""1f""#, "31"),
        // Extranonces: half a byte, nine bytes, foreign digits.
        ("abcd0001", "abc"),
        ("abcd0001", "abcd0001000"),
        ("abcd0001", "abcd00010000000000"),
        ("abcd0001", "abcd000g"),
        ("abcd0001", "abcd00010000000g"),
        (r#""abcd0001""#, "null"),
        // Times and nonces of seven and nine digits.
        ("504e86ed", "504e86e"),
        ("504e86ed", "504e86edd"),
        ("504e86ed", "504e86e:"),
        ("b2957c02", "b2957c0"),
        ("b2957c02", "b2957c022"),
        ("b2957c02", "+2957c02"),
        // Bits: none in two ways, too many, a number.
        (r#""04002000""#, "null"),
        (r#""04002000""#, r#""""#),
        (r#""04002000""#, r#""004002000""#),
        (r#""04002000""#, "7"),
    ] {
        falls_back(&LINE.replace(usual, odd));
    }
}

#[test]
fn another_shape_goes_the_long_way() {
    for (usual, odd) in [
        // Blanks that none of them sends.
        ("{\"id\"", " {\"id\""),
        ("{\"id\"", "{ \"id\""),
        ("\"id\":", "\"id\" :"),
        ("\"id\":", "\"id\":  "),
        ("\"id\":", "\"id\":\t"),
        (",\"method\"", " ,\"method\""),
        (",\"method\"", ",  \"method\""),
        ("[\"bc1q", "[ \"bc1q"),
        ("\",\"1f", "\" ,\"1f"),
        ("\",\"1f", "\",  \"1f"),
        ("\"]}", "\" ]}"),
        ("\"]}", "\"] }"),
        ("\"]}", "\"]} "),
        // Keys twice, of another name, with something behind.
        ("{\"id\"", "{\"id\":1,\"id\""),
        ("]}", "],\"id\":1}"),
        ("]}", "],\"method\":\"mining.submit\"}"),
        ("]}", "],\"params\":[]}"),
        ("]}", "],\"jsonrpc\":\"2.0\"}"),
        ("\"id\"", "\"Id\""),
        ("\"id\"", "\"\\u0069d\""),
        ("]}", "]"),
        ("]}", "}"),
        ("]}", "]}}"),
        ("]}", "],}"),
        ("]}", "]}{}"),
        ("]}", ",]}"),
        ("]}", ",\"x\"]}"),
        ("]}", ",1]}"),
        // Parameters missing, or not a list of strings.
        (",\"b2957c02\",\"04002000\"", ""),
        (
            "[\"bc1q.rig\",\"1f\",\"abcd0001\",\"504e86ed\",\"b2957c02\",\"04002000\"]",
            "{}",
        ),
        ("\"bc1q.rig\"", "[\"bc1q.rig\"]"),
        (
            ",\"params\":[\"bc1q.rig\",\"1f\",\"abcd0001\",\"504e86ed\",\"b2957c02\",\"04002000\"]",
            "",
        ),
    ] {
        falls_back(&LINE.replace(usual, odd));
    }
}

#[test]
fn an_unfinished_line_goes_the_long_way_wherever_it_ends() {
    for (_, line) in FIRMWARE {
        for end in 0..line.len() {
            falls_back(&line[..end]);
        }
    }
}

#[test]
fn an_id_of_64_bytes_is_short_and_one_of_65_is_long() {
    for (id, fits) in [
        ("1".repeat(64), true),
        ("1".repeat(65), false),
        (format!("\"{}\"", "a".repeat(62)), true),
        (format!("\"{}\"", "a".repeat(63)), false),
    ] {
        let line = LINE.replace("4711", &id);
        let message = submit(line.as_bytes());
        assert_eq!(message.is_some(), fits, "{id}");
        assert!(message.is_none_or(|message| Ok(message) == parse_slow(line.as_bytes())));
    }
}

#[test]
fn eight_bytes_of_extranonce2_are_short_and_nine_are_long() {
    for bytes in 0..12 {
        let line = LINE.replace("abcd0001", &"9a".repeat(bytes));
        let message = submit(line.as_bytes());
        assert_eq!(message.is_some(), bytes <= 8, "{bytes}");
        assert!(message.is_none_or(|message| Ok(message) == parse_slow(line.as_bytes())));
    }
}

proptest! {
    /// Broken in a few places, with bytes that mean something to JSON more often than not.
    #[test]
    fn what_is_read_the_short_way_is_read_the_same_the_long_way(
        which in 0..FIRMWARE.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3, byte()), 0..4),
    ) {
        let mut line = FIRMWARE[which].1.as_bytes().to_vec();
        for (place, kind, byte) in edits {
            let place = place.index(line.len());
            match kind {
                0 => line[place] = byte,
                1 => line.insert(place, byte),
                _ => drop(line.remove(place)),
            }
        }
        if let Some(message) = submit(&line) {
            prop_assert_eq!(Ok(message), parse_slow(&line));
        }
    }

    #[test]
    fn every_ordinary_share_goes_the_short_way(
        id: u64, worker in "[ !#-\\[\\]-~]{0,140}", job: u32, en2 in "([0-9a-fA-F]{2}){0,8}", ntime: u32, nonce: u32, bits: u32,
    ) {
        let line = format!(
            r#"{{"id": {id}, "method": "mining.submit", "params": ["{worker}", "{job:x}", "{en2}", "{ntime:08x}", "{nonce:08X}", "{bits:x}"]}}"#
        );
        let message = submit(line.as_bytes());
        prop_assert!(message.is_some());
        prop_assert_eq!(message, parse_slow(line.as_bytes()).ok());
    }
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        prop::sample::select(b"\"\\,: {}[]0aFgn-.\t\r".to_vec()),
        any::<u8>(),
    ]
}

fn falls_back(line: &str) {
    assert_ne!(line, LINE, "a near miss that misses nothing");
    assert_eq!(submit(line.as_bytes()), None, "{line}");
}
