//! The envelope of a JSON-RPC message, and careful readings of single values. Not what a message means.
//!
//! Everything is borrowed from the line; values stay raw text until somebody knows what they should be.
//! Invariant: whatever the bytes are, reading them neither panics nor recurses deeper than [`MAX_DEPTH`].

use super::message::{Id, MAX_DEPTH, Malformed};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// Longest id that is echoed.
pub(super) const MAX_ID: usize = 64;
/// Parameters that are looked at; `mining.notify` has nine. What is over is skipped.
pub(super) const MAX_PARAMS: usize = 9;

/// The top-level members of a message, as raw text.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) method: Option<&'a str>,
    pub(super) params: Params<'a>,
    pub(super) result: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    /// ckpool's.
    pub(super) reject_reason: Option<&'a str>,
    duplicate: bool,
}

impl<'a> Envelope<'a> {
    /// Reads a line that must be one object, no deeper than allowed, without a key twice.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(line).map_err(|_| Malformed::NotAnObject)?;
        if !text.trim_start_matches(is_blank).starts_with('{') {
            return Err(Malformed::NotAnObject);
        }
        if deeper_than(line, MAX_DEPTH) {
            return Err(Malformed::TooDeep);
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let envelope = reader
            .deserialize_map(EnvelopeVisitor)
            .and_then(|envelope| reader.end().map(|()| envelope))
            .map_err(|_| Malformed::NotAnObject)?;
        if envelope.duplicate {
            return Err(Malformed::DuplicateKey);
        }
        Ok(envelope)
    }

    /// The id as it is echoed; `None` if there is none.
    pub(super) fn id(&self) -> Option<Id<'a>> {
        let raw = self.id?;
        let scalar = !raw.starts_with(['{', '[']);
        Some(Id(if scalar && raw.len() <= MAX_ID {
            raw
        } else {
            "null"
        }))
    }

    /// The method's name; `None` if there is none or it is no string.
    pub(super) fn method(&self) -> Option<Cow<'a, str>> {
        string(self.method?)
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
        Some(match key {
            "id" => &mut self.id,
            "method" => &mut self.method,
            "result" => &mut self.result,
            "error" => &mut self.error,
            "reject-reason" => &mut self.reject_reason,
            _ => return None,
        })
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        let mut has_params = false;
        // Ordered rather than hashed, so that no choice of keys makes it slow.
        let mut others: BTreeSet<Cow<'de, str>> = BTreeSet::new();
        while let Some(Text(key)) = map.next_key()? {
            if key == "params" {
                envelope.duplicate |= std::mem::replace(&mut has_params, true);
                envelope.params = map.next_value()?;
            } else if let Some(slot) = envelope.slot(&key) {
                let value: &'de RawValue = map.next_value()?;
                envelope.duplicate |= slot.replace(value.get()).is_some();
            } else {
                map.next_value::<IgnoredAny>()?;
                envelope.duplicate |= !others.insert(key);
            }
        }
        Ok(envelope)
    }
}

/// A string that is borrowed unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The first elements of an array, raw. Anything but an array is like an empty one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Params<'a> {
    raw: [&'a str; MAX_PARAMS],
    len: usize,
}

impl<'a> Params<'a> {
    /// Reads an array; `None` if `raw` is not one.
    pub(super) fn of_array(raw: &'a str) -> Option<Self> {
        if !raw.starts_with('[') {
            return None;
        }
        serde_json::from_str(raw).ok()
    }

    pub(super) fn as_slice(&self) -> &[&'a str] {
        &self.raw[..self.len]
    }

    /// The parameter at a place, if it is there and not null.
    pub(super) fn at(&self, place: usize) -> Option<&'a str> {
        let raw = self.as_slice().get(place).copied()?;
        (raw != "null").then_some(raw)
    }
}

impl<'de> Deserialize<'de> for Params<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamsVisitor)
    }
}

struct ParamsVisitor;

impl<'de> Visitor<'de> for ParamsVisitor {
    type Value = Params<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut params = Params::default();
        while params.len < MAX_PARAMS {
            let Some(value) = seq.next_element::<&'de RawValue>()? else {
                return Ok(params);
            };
            params.raw[params.len] = value.get();
            params.len += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(params)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Params::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Params::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Params::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Params::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Params::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Params::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Params::default())
    }
}

/// Calls `each` with every element of an array; false if `raw` is not one.
pub(super) fn each_element<'a>(raw: &'a str, each: impl FnMut(&'a str)) -> bool {
    struct Each<F>(F);
    impl<'de, F: FnMut(&'de str)> Visitor<'de> for Each<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(value) = seq.next_element::<&'de RawValue>()? {
                (self.0)(value.get());
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_str(raw);
    reader.deserialize_seq(Each(each)).is_ok()
}

/// Calls `each` with every member of an object; false if `raw` is not one.
pub(super) fn each_member<'a>(raw: &'a str, each: impl FnMut(&str, &'a str)) -> bool {
    struct Each<F>(F);
    impl<'de, F: FnMut(&str, &'de str)> Visitor<'de> for Each<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(Text(key)) = map.next_key()? {
                let value: &'de RawValue = map.next_value()?;
                (self.0)(&key, value.get());
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_str(raw);
    reader.deserialize_map(Each(each)).is_ok()
}

/// A string, unescaped; `None` for anything else and for what is not Unicode (lone surrogates).
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// A string, or the text of a number or boolean (a user name like 12345 sent bare); null is empty.
pub(super) fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => string(raw),
        b'{' | b'[' => None,
        b'n' => Some(Cow::Borrowed("")),
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// A number, or a string that is one. May be infinite: whoever needs a limit checks it.
pub(super) fn number(raw: &str) -> Option<f64> {
    scalar(raw)?.trim().parse().ok()
}

/// An unsigned integer, or a string that is one.
pub(super) fn unsigned(raw: &str) -> Option<u64> {
    scalar(raw)?.trim().parse().ok()
}

/// White space of JSON.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Whether brackets nest deeper than `most`, outside of strings. Does not need the text to be JSON.
fn deeper_than(text: &[u8], most: usize) -> bool {
    // Most messages have no more brackets than they may have levels; counting is vectorised.
    let opened = text
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count();
    if opened <= most {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_levels_pass_and_nine_do_not() {
        let nested = |levels: usize| {
            let inner = levels - 1;
            format!("{{\"params\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        assert!(Envelope::read(nested(8).as_bytes()).is_ok());
        assert_eq!(
            Envelope::read(nested(9).as_bytes()).unwrap_err(),
            Malformed::TooDeep
        );
        assert_eq!(
            Envelope::read(nested(60_000).as_bytes()).unwrap_err(),
            Malformed::TooDeep
        );
    }

    #[test]
    fn brackets_in_strings_are_not_levels() {
        let line = br#"{"params":["[[[[[[[[[[{{{{{{\"[[[[[[[[[","\\"]}"#;
        assert!(Envelope::read(line).is_ok());
    }

    #[test]
    fn wide_is_not_deep() {
        let line = format!("{{\"params\":[{}0]}}", "[],".repeat(100));
        assert!(Envelope::read(line.as_bytes()).is_ok());
    }

    #[test]
    fn a_key_twice_is_refused_however_it_is_spelled() {
        for line in [
            r#"{"id":1,"id":2}"#,
            r#"{"id":1,"\u0069d":2}"#,
            r#"{"params":[],"params":[]}"#,
            r#"{"id":null,"id":null}"#,
            r#"{"x":1,"y":2,"x":3}"#,
        ] {
            assert_eq!(
                Envelope::read(line.as_bytes()).unwrap_err(),
                Malformed::DuplicateKey,
                "{line}"
            );
        }
        assert!(Envelope::read(br#"{"id":1,"Id":2,"x":{"y":1,"y":2}}"#).is_ok());
    }

    #[test]
    fn parameters_may_be_of_any_kind_and_number() {
        for (line, len) in [
            (r#"{"params":[]}"#, 0),
            (r#"{"params":[1,2,3,4,5,6,7,8,9]}"#, 9),
            (r#"{"params":[1,2,3,4,5,6,7,8,9,10,[11]]}"#, 9),
            (r#"{"params":{"a":[1]}}"#, 0),
            (r#"{"params":"x\n"}"#, 0),
            (r#"{"params":-1}"#, 0),
            (r#"{"params":1.5}"#, 0),
            (r#"{"params":true}"#, 0),
            (r#"{"params":null}"#, 0),
        ] {
            let envelope = Envelope::read(line.as_bytes()).unwrap();
            assert_eq!(envelope.params.as_slice().len(), len, "{line}");
        }
    }

    #[test]
    fn an_id_of_64_bytes_is_echoed_and_one_of_65_is_not() {
        let id = |length: usize| format!("{{\"id\":\"{}\"}}", "a".repeat(length - 2));
        assert_eq!(
            Envelope::read(id(64).as_bytes())
                .unwrap()
                .id()
                .unwrap()
                .0
                .len(),
            64
        );
        assert_eq!(
            Envelope::read(id(65).as_bytes()).unwrap().id(),
            Some(Id("null"))
        );
    }

    #[test]
    fn lone_surrogates_are_no_strings_and_pairs_are() {
        assert_eq!(string(r#""\ud800""#), None);
        assert_eq!(string(r#""\ud83d\ude00""#).as_deref(), Some("\u{1f600}"));
        assert_eq!(string("12"), None);
    }
}
