//! Reading what a firmware answers, whatever it is: bounded, and tolerant of types that differ between versions.
//!
//! Not what an answer means: that is the family's. Pure. Invariant: any bytes give a value or an error, each byte is
//! looked at a bounded number of times, and nothing kept from a text is longer than [`LONGEST_TEXT`].

use crate::curtail::Watts;
use serde::de::{
    Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
    value::MapAccessDeserializer,
};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// Longest text that is kept of an answer, bytes: model, version, serial number, a refusal's words.
pub const LONGEST_TEXT: usize = 64;
/// Most entries of a list that are kept. LuxOS makes 25 profiles by itself; an operator adds a few.
pub const LONGEST_LIST: usize = 64;
/// No machine draws more: a figure above is not believed. The largest hydro miners draw about 12 kW.
const MOST_WATTS: f64 = 100_000.0;

/// An answer that is not the one hoped for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// It cannot be read as what this firmware answers: what is missing.
    Unreadable(&'static str),
    /// The firmware says no.
    No {
        /// Its code.
        code: i64,
        /// Its words, cleaned.
        words: String,
    },
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(missing) => write!(f, "unreadable answer: {missing}"),
            Self::No { code, words } => write!(f, "{words} (code {code})"),
        }
    }
}

/// One JSON object, blank bytes and NULs round it.
///
/// # Errors
/// [`BadAnswer::Unreadable`] if it is not JSON of this shape.
pub(super) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadAnswer> {
    let ends = |byte: &u8| *byte != 0 && !byte.is_ascii_whitespace();
    let first = bytes.iter().position(ends).unwrap_or(bytes.len());
    let last = bytes.iter().rposition(ends).map_or(first, |last| last + 1);
    match serde_json::from_slice::<Object<T>>(&bytes[first..last]) {
        Ok(Object(read)) => Ok(read),
        Err(_) => Err(BadAnswer::Unreadable("not its JSON")),
    }
}

/// Whether nothing but padding is left.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    let blank = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    bytes.iter().all(blank)
}

/// Finds the end of a JSON object in a stream, without understanding it.
#[derive(Debug, Default)]
pub struct Objects {
    looked_at: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Objects {
    /// How many bytes the first object of `stream` takes with what stands before it, once it is whole. Called again with
    /// the same stream grown longer it goes on where it stopped: a byte at a time costs no more than all at once.
    ///
    /// # Errors
    /// The stream does not begin with an object.
    pub fn end(&mut self, stream: &[u8]) -> Result<Option<usize>, BadAnswer> {
        while let Some(byte) = stream.get(self.looked_at) {
            self.looked_at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' if self.depth > 0 => self.quoted = !self.quoted,
                _ if self.quoted => {}
                b'{' | b'[' if self.depth > 0 || *byte == b'{' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(self.looked_at));
                    }
                }
                _ if self.depth > 0 || is_blank(&[*byte]) => {}
                _ => return Err(BadAnswer::Unreadable("no JSON object")),
            }
        }
        Ok(None)
    }
}

/// A field that firmware versions write as a number, as text or as a truth value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Loose<'a> {
    /// Absent, null, an array or an object.
    #[default]
    Nothing,
    Number(f64),
    Text(Cow<'a, str>),
    Truth(bool),
}

impl Loose<'_> {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            Self::Nothing | Self::Truth(_) => None,
        }
    }

    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a code; a text, a fraction or nothing is none.
    pub(super) fn code(&self) -> Option<i64> {
        let number = self.number()?;
        (number.fract() == 0.0 && number.abs() < 1e9).then_some(number as i64)
    }

    /// Whole watts, if they can be believed.
    pub(super) fn watts(&self) -> Option<Watts> {
        let watts = self.number()?;
        (0.0..=MOST_WATTS)
            .contains(&watts)
            .then(|| Watts(watts.round() as i64))
    }

    /// Whole seconds, if they can be believed.
    pub(super) fn seconds(&self) -> Option<u64> {
        let seconds = self.number()?;
        (0.0..1e12).contains(&seconds).then_some(seconds as u64)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor(PhantomData))
    }
}

struct LooseVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for LooseVisitor<'a> {
    type Value = Loose<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Loose::Truth(truth))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Loose::Number(number as f64))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Loose::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Loose::Number(number))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Nothing)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Nothing)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Nothing)
    }
}

/// A structure that is written as an object: serde would take `[0]` for one too, field by field, and read a yes in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Object)
    }
}

/// The first object of an array; the others are not kept.
#[derive(Clone, Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstVisitor(PhantomData))
    }
}

struct FirstVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FirstVisitor<T> {
    type Value = First<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let first = items.next_element::<Object<T>>()?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(first.map(|Object(first)| first)))
    }
}

/// The objects of an array; those beyond [`LONGEST_LIST`] are not kept.
#[derive(Clone, Debug)]
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
    type Value = Few<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < LONGEST_LIST {
            match items.next_element::<Object<T>>()? {
                Some(Object(item)) => kept.push(item),
                None => return Ok(Few(kept)),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Few(kept))
    }
}

/// A peer's words for a person: printable ASCII, `?` for every other character, cut at [`LONGEST_TEXT`].
pub(super) fn clean(text: &str) -> String {
    let printable = |c: char| match c {
        ' '..='~' => c,
        _ => '?',
    };
    let text = text.trim();
    text.chars().take(LONGEST_TEXT).map(printable).collect()
}

/// Who a machine is: its MAC address if it says one, else its serial number.
///
/// # Errors
/// It says neither, or nothing that could be told from another machine's.
pub(super) fn identity(mac: &Loose<'_>, serial: &Loose<'_>) -> Result<String, BadAnswer> {
    let from_serial = || {
        let serial = serial.text()?.trim();
        let plain = serial.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && (1..=LONGEST_TEXT).contains(&serial.len())).then(|| format!("serial:{serial}"))
    };
    mac.text()
        .and_then(mac_address)
        .or_else(from_serial)
        .ok_or(BadAnswer::Unreadable(
            "neither a MAC address nor a serial number",
        ))
}

/// `aa:bb:..`, `AA-BB-..` or `AABB..` in lower case with colons. All zeros and all ones are nobody's.
fn mac_address(text: &str) -> Option<String> {
    let text = text.trim().as_bytes();
    let step = match (text.len(), text.get(2)) {
        (12, _) => 2,
        (17, Some(separator @ (b':' | b'-'))) => {
            let mut between = text.iter().skip(2).step_by(3);
            between.all(|byte| byte == separator).then_some(3)?
        }
        _ => return None,
    };
    let mut address = String::with_capacity(17);
    for pair in text.chunks(step).map(|chunk| &chunk[..2]) {
        if !pair.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        if !address.is_empty() {
            address.push(':');
        }
        address.extend(
            pair.iter()
                .map(|digit| char::from(digit.to_ascii_lowercase())),
        );
    }
    (!["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"].contains(&address.as_str())).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_at_the_same_byte_however_the_stream_is_cut() {
        let stream = b"\r\n\0 {\"a\":\"}\\\"{\",\n \"b\":[{},[1]]}\0";
        let end = stream.len() - 1;
        assert_eq!(Objects::default().end(stream), Ok(Some(end)));
        let mut objects = Objects::default();
        for length in 0..end {
            assert_eq!(objects.end(&stream[..length]), Ok(None), "{length}");
        }
        assert_eq!(objects.end(&stream[..end]), Ok(Some(end)));
    }

    #[test]
    fn what_begins_with_no_object_is_an_error_at_its_first_byte() {
        for wrong in [&b"HTTP/1.1 200 OK"[..], b"[{}]", b"\"x\"", b"}", b"  \0x"] {
            assert!(Objects::default().end(wrong).is_err());
        }
    }

    #[test]
    fn a_mac_address_is_read_as_vendors_write_it_and_as_nothing_else() {
        for same in [
            "D4:33:b2:5D:e0:56",
            "d4-33-B2-5d-e0-56",
            "d433b25de056",
            " d433b25de056\n",
        ] {
            assert_eq!(
                mac_address(same).as_deref(),
                Some("d4:33:b2:5d:e0:56"),
                "{same}"
            );
        }
        for wrong in [
            "",
            "d4:33:b2:5d:e0",
            "d4:33:b2:5d:e0:5g",
            "d4:33-b2:5d:e0:56",
            "d433b25de05",
            "d433b25de0567",
            "00:00:00:00:00:00",
            "ffffffffffff",
            "d4 33 b2 5d e0 56",
            "é4:33:b2:5d:e0:5",
        ] {
            assert_eq!(mac_address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_serial_number_stands_in_for_a_missing_mac_address_only() {
        let text = |text: &'static str| Loose::Text(Cow::Borrowed(text));
        let mac = text("d433b25de056");
        assert_eq!(identity(&mac, &text("S1")).unwrap(), "d4:33:b2:5d:e0:56");
        assert_eq!(identity(&text(""), &text("S1")).unwrap(), "serial:S1");
        assert!(identity(&Loose::Nothing, &text("  ")).is_err());
        assert!(identity(&Loose::Nothing, &text("a b")).is_err());
        assert!(identity(&Loose::Number(5.0), &Loose::Number(5.0)).is_err());
    }

    #[test]
    fn a_serial_number_of_64_bytes_is_one_and_of_65_is_not() {
        let serial = |length| Loose::Text("x".repeat(length).into());
        assert!(identity(&Loose::Nothing, &serial(64)).is_ok());
        assert!(identity(&Loose::Nothing, &serial(65)).is_err());
    }

    #[test]
    fn a_figure_is_read_from_a_number_or_its_text_and_believed_up_to_100_kw() {
        let watts = |json: &str| serde_json::from_str::<Loose<'_>>(json).unwrap().watts();
        assert_eq!(watts("3500"), Some(Watts(3500)));
        assert_eq!(watts("\" 3499.6 \""), Some(Watts(3500)));
        assert_eq!(watts("100000"), Some(Watts(100_000)));
        for wrong in [
            "100001",
            "-1",
            "\"NaN\"",
            "\"inf\"",
            "null",
            "true",
            "[1]",
            "{\"a\":1}",
            "\"\"",
        ] {
            assert_eq!(watts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_is_not_taken_for_an_object_of_its_values() {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Row {
            code: u8,
        }
        let row = |text: &str| json::<Row>(text.as_bytes()).map(|row| row.code);
        assert_eq!(row("{\"code\":7}"), Ok(7));
        assert!(row("[7]").is_err());
        assert!(serde_json::from_str::<First<Row>>("[{\"code\":7}]").is_ok());
        assert!(serde_json::from_str::<First<Row>>("[[7]]").is_err());
    }

    #[test]
    fn a_list_of_64_is_kept_whole_and_of_65_without_its_last() {
        let list = |length| format!("[{}]", vec!["{}"; length].join(","));
        let kept = |length| {
            let few = serde_json::from_str::<Few<IgnoredAny>>(&list(length));
            few.unwrap().0.len()
        };
        assert_eq!((kept(0), kept(64), kept(65)), (0, 64, 64));
        assert!(serde_json::from_str::<Few<IgnoredAny>>("[{},7]").is_err());
        assert!(serde_json::from_str::<Few<IgnoredAny>>("{}").is_err());
    }

    #[test]
    fn words_of_a_firmware_are_cut_and_cleaned() {
        assert_eq!(clean(" no\x1b[31m\u{202e}\n"), "no?[31m?");
        assert_eq!(clean(&"x".repeat(64)).len(), 64);
        assert_eq!(clean(&"é".repeat(65)).len(), 64);
    }
}
