//! Stratum V1 as bytes, and the arithmetic of a share, written a second time on purpose.
//!
//! Not the proxy's codec and sharing no line with it. Invariant: nothing here trusts its input; every parser
//! answers `None` for what it does not understand.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Longest line that a simulated peer reads, bytes.
pub const LINE_CAP: usize = 256 * 1024;

/// The job of one `mining.notify`, in header byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// As on the wire.
    pub id: String,
    /// 32 bytes as they stand in the header.
    pub prev_hash: [u8; 32],
    /// Coinbase before the extranonce.
    pub coinb1: Vec<u8>,
    /// Coinbase after the extranonce.
    pub coinb2: Vec<u8>,
    /// Merkle branches, digest byte order.
    pub branches: Vec<[u8; 32]>,
    /// Block version.
    pub version: u32,
    /// Compact network target.
    pub nbits: u32,
    /// Block time, seconds.
    pub ntime: u32,
    /// `clean_jobs`.
    pub clean: bool,
}

impl Job {
    /// Parses the nine parameters of `mining.notify`.
    pub fn from_params(params: &Value) -> Option<Self> {
        let at = |i: usize| params.get(i);
        let text = |i: usize| at(i).and_then(Value::as_str);
        let branches = at(4)?.as_array()?.iter().map(|b| {
            let bytes = unhex(b.as_str()?)?;
            <[u8; 32]>::try_from(bytes).ok()
        });
        Some(Self {
            id: text(0)?.to_owned(),
            prev_hash: swap_words(unhex(text(1)?)?.try_into().ok()?),
            coinb1: unhex(text(2)?)?,
            coinb2: unhex(text(3)?)?,
            branches: branches.collect::<Option<_>>()?,
            version: hex_u32(text(5)?)?,
            nbits: hex_u32(text(6)?)?,
            ntime: hex_u32(text(7)?)?,
            clean: at(8)?.as_bool()?,
        })
    }

    /// The nine parameters of `mining.notify`.
    pub fn to_params(&self) -> Value {
        let branches: Vec<_> = self.branches.iter().map(|b| hex(b)).collect();
        json!([
            self.id,
            hex(&swap_words(self.prev_hash)),
            hex(&self.coinb1),
            hex(&self.coinb2),
            branches,
            format!("{:08x}", self.version),
            format!("{:08x}", self.nbits),
            format!("{:08x}", self.ntime),
            self.clean,
        ])
    }

    /// The merkle root with these extranonces.
    pub fn merkle_root(&self, en1: &[u8], en2: &[u8]) -> [u8; 32] {
        let coinbase = [&self.coinb1[..], en1, en2, &self.coinb2].concat();
        self.branches
            .iter()
            .fold(sha256d(&coinbase), |root, b| sha256d(&[root, *b].concat()))
    }

    /// The 80 bytes that are hashed.
    pub fn header(&self, root: [u8; 32], version: u32, ntime: u32, nonce: u32) -> [u8; 80] {
        let mut header = [0; 80];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&self.prev_hash);
        header[36..68].copy_from_slice(&root);
        header[68..72].copy_from_slice(&ntime.to_le_bytes());
        header[72..76].copy_from_slice(&self.nbits.to_le_bytes());
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        header
    }
}

/// A bound on a hash: four little-endian limbs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound(pub [u64; 4]);

impl Bound {
    /// `floor(65535 * 2^208 / difficulty)`, exact for every f64; `None` unless `2^-40 <= difficulty <= 2^63`.
    pub fn of_difficulty(difficulty: f64) -> Option<Self> {
        if !(2f64.powi(-40)..=2f64.powi(63)).contains(&difficulty) {
            return None;
        }
        // difficulty = mantissa * 2^exponent exactly; the range above leaves no subnormals.
        let bits = difficulty.to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let exponent = ((bits >> 52) & 0x7ff) as i32 - 1075;
        let shift = usize::try_from(208 - exponent).ok()?;
        let wide = divide(shifted(65535, shift), mantissa);
        if wide[4..].iter().any(|limb| *limb != 0) {
            return Some(Self([u64::MAX; 4]));
        }
        Some(Self([wide[0], wide[1], wide[2], wide[3]]))
    }

    /// From the compact form; `None` when negative, zero or wider than 256 bits.
    pub fn of_nbits(nbits: u32) -> Option<Self> {
        let (size, mantissa) = ((nbits >> 24) as usize, u64::from(nbits & 0x7f_ffff));
        if nbits & 0x80_0000 != 0 || mantissa == 0 || size > 34 {
            return None;
        }
        let wide = if size <= 3 {
            shifted(mantissa >> (8 * (3 - size)), 0)
        } else {
            shifted(mantissa, 8 * (size - 3))
        };
        let fits = wide[4..].iter().all(|limb| *limb == 0);
        fits.then_some(Self([wide[0], wide[1], wide[2], wide[3]]))
    }

    /// Whether a digest, read as a little-endian number, is at or below.
    pub fn holds(&self, hash: &[u8; 32]) -> bool {
        for i in (0..4).rev() {
            let limb = u64::from_le_bytes(hash[8 * i..8 * i + 8].try_into().expect("eight bytes"));
            if limb != self.0[i] {
                return limb < self.0[i];
            }
        }
        true
    }
}

/// Room for 65535 << 300: ten limbs, and one more that keeps the shift simple.
type Wide = [u64; 10];

fn shifted(value: u64, shift: usize) -> Wide {
    let mut wide = [0; 10];
    let (limb, bit) = (shift / 64, shift % 64);
    let spread = u128::from(value) << bit;
    wide[limb] = spread as u64;
    wide[limb + 1] = (spread >> 64) as u64;
    wide
}

fn divide(mut wide: Wide, by: u64) -> Wide {
    let mut rest = 0u128;
    for limb in wide.iter_mut().rev() {
        let part = (rest << 64) | u128::from(*limb);
        *limb = (part / u128::from(by)) as u64;
        rest = part % u128::from(by);
    }
    wide
}

/// Expected hashes of a share at this difficulty: `floor(difficulty * 2^32)`.
pub fn hashes(difficulty: f64) -> u128 {
    (difficulty * 4_294_967_296.0) as u128
}

/// SHA-256 twice.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Bytes of an even number of hex digits of either case.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// One to eight hex digits, and nothing else (`from_str_radix` alone would take a sign).
pub fn hex_u32(text: &str) -> Option<u32> {
    let plain = (1..=8).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// The prev-hash of the wire has every four bytes reversed against the header.
fn swap_words(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.chunks_mut(4).for_each(<[u8]>::reverse);
    bytes
}

/// The first parameter of a message as the number it is written as. `serde_json` alone reads some numbers one step
/// off (2^-24 among them), and a difficulty must be exact.
pub fn first_number(line: &[u8]) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        params: Vec<&'a serde_json::value::RawValue>,
    }
    let message: Message<'_> = serde_json::from_slice(line).ok()?;
    message.params.first()?.get().parse().ok()
}

/// A request without its newline.
pub fn request(id: u64, method: &str, params: &Value) -> String {
    json!({"id": id, "method": method, "params": params}).to_string()
}

/// A notification (`id: null`) without its newline.
pub fn notification(method: &str, params: &Value) -> String {
    json!({"id": null, "method": method, "params": params}).to_string()
}

/// Cuts bytes into lines for the socket drivers.
#[derive(Debug, Default)]
pub struct Cutter {
    kept: Vec<u8>,
}

impl Cutter {
    /// Adds what was read; `false` when the unfinished line is past [`LINE_CAP`].
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) -> bool {
        self.kept.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(end) = self.kept[start..].iter().position(|b| *b == b'\n') {
            let text = self.kept[start..start + end].trim_ascii();
            if !text.is_empty() {
                line(text);
            }
            start += end + 1;
        }
        self.kept.drain(..start);
        self.kept.len() <= LINE_CAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difficulty_one_is_the_bound_of_the_first_block() {
        let one = Bound::of_difficulty(1.0).unwrap();
        assert_eq!(one, Bound::of_nbits(0x1d00_ffff).unwrap());
        assert_eq!(one.0, [0, 0, 0, 0xffff_0000]);
    }

    #[test]
    fn a_bound_holds_itself_and_not_one_more() {
        let bound = Bound::of_difficulty(3.7e-5).unwrap();
        let mut hash = [0; 32];
        for (i, limb) in bound.0.iter().enumerate() {
            hash[8 * i..8 * i + 8].copy_from_slice(&limb.to_le_bytes());
        }
        assert!(bound.holds(&hash));
        hash[0] = hash[0].wrapping_add(1);
        assert!(hash[0] != 0 && !bound.holds(&hash));
    }

    #[test]
    fn a_bound_is_exact_where_the_quotient_is_known() {
        // 65535 * 2^208 / (65535 * 2^16) = 2^192
        assert_eq!(
            Bound::of_difficulty(65535.0 * 65536.0).unwrap().0,
            [0, 0, 0, 1]
        );
        assert_eq!(
            Bound::of_difficulty(2f64.powi(-40)).unwrap().0,
            [u64::MAX; 4]
        );
        assert!(Bound::of_difficulty(f64::NAN).is_none());
        assert!(Bound::of_difficulty(0.0).is_none());
    }

    #[test]
    fn the_genesis_header_is_rebuilt_and_meets_its_target() {
        let coinbase = unhex(
            "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000",
        )
        .unwrap();
        let job = Job {
            id: "g".into(),
            prev_hash: [0; 32],
            coinb1: coinbase[..50].to_vec(),
            coinb2: coinbase[58..].to_vec(),
            branches: vec![],
            version: 1,
            nbits: 0x1d00_ffff,
            ntime: 1_231_006_505,
            clean: true,
        };
        assert_eq!(Job::from_params(&job.to_params()).unwrap(), job);
        let root = job.merkle_root(&coinbase[50..54], &coinbase[54..58]);
        let hash = sha256d(&job.header(root, 1, job.ntime, 2_083_236_893));
        assert!(Bound::of_nbits(job.nbits).unwrap().holds(&hash));
        assert!(hex(&hash).ends_with("0000000000"));
    }

    #[test]
    fn a_difficulty_is_read_to_the_last_bit() {
        for exponent in -40..63 {
            let line = notification("mining.set_difficulty", &json!([2f64.powi(exponent)]));
            assert_eq!(first_number(line.as_bytes()), Some(2f64.powi(exponent)));
        }
        assert_eq!(first_number(br#"{"params":["1"]}"#), None);
        assert_eq!(first_number(br#"{"params":[]}"#), None);
    }

    #[test]
    fn lines_are_cut_wherever_the_segments_end() {
        let mut seen = Vec::new();
        let mut cutter = Cutter::default();
        for part in [&b"ab\r\nc"[..], b"d", b"\n\nef\ng"] {
            assert!(cutter.push(part, |l| seen.push(String::from_utf8_lossy(l).into_owned())));
        }
        assert_eq!(seen, ["ab", "cd", "ef"]);
    }

    #[test]
    fn a_line_without_end_is_refused_past_the_cap() {
        let mut cutter = Cutter::default();
        assert!(cutter.push(&vec![b'a'; LINE_CAP], |_| ()));
        assert!(!cutter.push(b"a", |_| ()));
    }
}
