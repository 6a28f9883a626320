//! Reads the results of our own requests, however a pool nests them.
//!
//! Invariant: an [`Extranonce`] is within limits, wherever it was found.

use super::{Extranonce, MAX_EXTRANONCE1, hex, json};
use crate::stratum::v1::json::{Params, each_member};

/// Reads the result of `mining.subscribe`: usually `[subscriptions, extranonce1, size]`; also any array whose last or
/// first two entries are that pair, the pair one level deeper, or an object with both by name.
pub fn subscribe_result(raw: &str) -> Option<Extranonce> {
    let Some(entries) = Params::of_array(raw) else {
        return by_name(raw);
    };
    let entries = entries.as_slice();
    let usual = entries.get(1..3).and_then(pair);
    usual
        .or_else(|| entries.windows(2).rev().find_map(pair))
        .or_else(|| {
            let mut nested = entries.iter().filter_map(|entry| Params::of_array(entry));
            nested.find_map(|entries| entries.as_slice().windows(2).rev().find_map(pair))
        })
}

/// Reads the result of `mining.configure`: the version mask granted, `None` if version rolling was not.
pub fn configure_result(raw: &str) -> Option<u32> {
    let mut granted = false;
    let mut bits = None;
    each_member(raw, |key, value| match key {
        "version-rolling" => granted = value == "true",
        "version-rolling.mask" => bits = mask(value),
        _ => {}
    });
    bits.filter(|_| granted)
}

/// extranonce1 as hex, at most 32 bytes, and a size of 1 to 254 bytes; 255 would leave no room for a length check.
pub(super) fn extranonce(extranonce1: &str, size: &str) -> Option<Extranonce> {
    let extranonce1 = hex::decode(json::string(extranonce1)?.as_bytes(), MAX_EXTRANONCE1)?;
    let size = u8::try_from(json::unsigned(size)?).ok()?;
    (1..=254)
        .contains(&size)
        .then_some(Extranonce { extranonce1, size })
}

/// A mask of one to eight hex digits.
pub(super) fn mask(raw: &str) -> Option<u32> {
    let digits = json::string(raw)?;
    hex::u32_short(digits.strip_prefix("0x").unwrap_or(&digits).as_bytes())
}

fn pair(entries: &[&str]) -> Option<Extranonce> {
    match entries {
        [extranonce1, size] => extranonce(extranonce1, size),
        _ => None,
    }
}

fn by_name(raw: &str) -> Option<Extranonce> {
    let mut extranonce1 = None;
    let mut size = None;
    each_member(raw, |key, value| {
        match key.to_ascii_lowercase().replace('_', "").as_str() {
            "extranonce1" => extranonce1 = Some(value),
            "extranonce2size" | "extranoncesize" => size = Some(value),
            _ => {}
        }
    });
    extranonce(extranonce1?, size?)
}
