//! The short way to read a share: `mining.submit` as firmware writes it, in one pass over its bytes.
//!
//! Not a JSON parser: members and parameters stand in one shape, in any order of members, with at most one blank behind
//! a colon or a comma, and strings that stand for themselves. Whatever else there is goes the long way, where serde_json
//! decides what it means. Invariant: what is read here, [`super::parse_slow`] reads the same.

use super::super::json::MAX_ID;
use super::super::word::Word;
use super::{Id, Message, Request, Submit};
use std::borrow::Cow;

/// A share with its id, method and parameters; `None` whenever that is not certain.
pub fn submit(line: &[u8]) -> Option<Message<'_>> {
    let mut rest = Rest(line);
    rest.eat(b"{")?;
    let (mut id, mut method, mut params) = (None, None, None);
    // Each key is looked for until it was there, so a second one is as odd as an unknown one.
    loop {
        if id.is_none() && rest.key(b"\"id\":") {
            id = Some(rest.id()?);
        } else if method.is_none() && rest.key(b"\"method\":") {
            method = Some(rest.eat(b"\"mining.submit\"")?);
        } else if params.is_none() && rest.key(b"\"params\":") {
            params = Some(rest.params()?);
        } else {
            return None;
        }
        if rest.eat(b",").is_none() {
            break;
        }
        rest.blank();
    }
    rest.eat(b"}")?;
    method?;
    let share = params.filter(|_| rest.0.is_empty())?;
    Some(Message {
        id: Some(id?),
        request: Ok(Request::Submit(share)),
        is_submit: true,
    })
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline]
    fn eat<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let (start, rest) = self.0.split_first_chunk::<N>()?;
        if start != text {
            return None;
        }
        self.0 = rest;
        Some(())
    }

    #[inline]
    fn blank(&mut self) {
        let _ = self.eat(b" ");
    }

    #[inline]
    fn key<const N: usize>(&mut self, key: &[u8; N]) -> bool {
        let found = self.eat(key).is_some();
        if found {
            self.blank();
        }
        found
    }

    /// A whole number, a plain string or null, as it stands. Longer ones than are echoed go the long way.
    #[inline]
    fn id(&mut self) -> Option<Id<'a>> {
        let start = self.0;
        match start.first()? {
            b'"' => {
                self.eat(b"\"")?;
                self.plain()?;
                self.eat(b"\"")?;
            }
            b'n' => self.eat(b"null")?,
            // JSON has no 00 and no 07.
            b'0' => self.eat(b"0")?,
            _ => {
                let digits = start.iter().position(|byte| !byte.is_ascii_digit())?;
                self.0 = &start[digits..];
            }
        }
        let text = &start[..start.len() - self.0.len()];
        if text.is_empty() || text.len() > MAX_ID {
            return None;
        }
        std::str::from_utf8(text).ok().map(Id)
    }

    #[inline]
    fn params(&mut self) -> Option<Submit<'a>> {
        self.eat(b"[\"")?;
        let worker = self.plain()?;
        self.next_string()?;
        let job = self.number()?;
        self.next_string()?;
        let (en2, en2_len) = self.extranonce2()?;
        self.next_string()?;
        let ntime = self.eight_digits()?;
        self.next_string()?;
        let nonce = self.eight_digits()?;
        let version_bits = match self.next_string() {
            Some(()) => Some(self.number()?),
            None => None,
        };
        self.eat(b"\"]")?;
        Some(Submit {
            worker: Cow::Borrowed(worker),
            job: Some(job),
            en2,
            en2_len,
            ntime,
            nonce,
            version_bits,
        })
    }

    /// From the end of one string to the start of the next.
    #[inline]
    fn next_string(&mut self) -> Option<()> {
        if self.eat(b"\",\"").is_none() {
            self.eat(b"\", \"")?;
        }
        Some(())
    }

    /// Text up to what ends it, which should be a quote.
    #[inline(never)]
    fn plain(&mut self) -> Option<&'a str> {
        let start = self.0;
        loop {
            let plain = self.word().plain();
            // Beyond the end of the line nothing is plain, so there are as many.
            self.0 = self.0.get(plain..)?;
            if plain < 8 {
                break;
            }
        }
        std::str::from_utf8(&start[..start.len() - self.0.len()]).ok()
    }

    /// One to eight hex digits. A ninth is no quote, which the caller expects next.
    #[inline]
    fn number(&mut self) -> Option<u32> {
        let (digits, value) = self.hex()?;
        (digits > 0).then_some(value)
    }

    #[inline]
    fn eight_digits(&mut self) -> Option<u32> {
        let (digits, value) = self.hex()?;
        (digits == 8).then_some(value)
    }

    /// Whole bytes, at most eight.
    #[inline]
    fn extranonce2(&mut self) -> Option<([u8; 8], u8)> {
        let (mut digits, first) = self.hex()?;
        let mut value = u64::from(first);
        if digits == 8 {
            let (more, second) = self.hex()?;
            digits += more;
            value = value << (4 * more) | u64::from(second);
        }
        // A shift by all 64 bits is none of Rust's: no digits, no bytes.
        let bytes = value
            .checked_shl(64 - 4 * digits as u32)
            .unwrap_or(0)
            .to_be_bytes();
        digits
            .is_multiple_of(2)
            .then_some((bytes, (digits / 2) as u8))
    }

    /// Up to eight hex digits.
    #[inline]
    fn hex(&mut self) -> Option<(usize, u32)> {
        let (digits, value) = digits(self.word());
        self.0 = self.0.get(digits..)?;
        Some((digits, value))
    }

    /// The next eight bytes, zeros behind the end of the line.
    #[inline]
    fn word(&self) -> Word {
        Word::new(match self.0.first_chunk() {
            Some(bytes) => *bytes,
            None => last_bytes(self.0),
        })
    }
}

/// Apart, so that seven fields share one copy: the whole way is below 3 KB of code, and no slower for it.
#[inline(never)]
fn digits(word: Word) -> (usize, u32) {
    word.hex()
}

/// Apart, for a share's last fields are rarely this near to its end.
#[cold]
#[inline(never)]
fn last_bytes(rest: &[u8]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

#[cfg(test)]
mod tests;
