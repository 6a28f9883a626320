//! Values as people write them: durations, addresses, URLs, difficulties, masks, layouts.
//!
//! Each function takes a raw value and gives the typed one, or says what it wanted. Nothing here knows keys or places.
//! Invariant: what comes out is within the limits named in its function.

use super::tree::Value;
use crate::stratum::v2::noise::AuthorityPublic;
use crate::work::{Difficulty, Layout, hash};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What would have been right.
#[derive(Debug, PartialEq)]
pub(super) struct Want {
    /// After "want".
    pub(super) expected: String,
    /// What to do, if that is not plain.
    pub(super) hint: Option<String>,
    /// Whether `expected` says all: what was found is no help.
    pub(super) alone: bool,
}

impl Want {
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Nothing but an expectation.
pub(super) fn want(expected: impl Into<String>) -> Want {
    Want {
        expected: expected.into(),
        hint: None,
        alone: false,
    }
}

/// A whole sentence, where what was found would not help.
pub(super) fn wrong(sentence: impl Into<String>) -> Want {
    Want {
        alone: true,
        ..want(sentence)
    }
}

/// A string.
pub(super) fn text(value: &Value) -> Result<&str, Want> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(want("a string in quotes")),
    }
}

/// A string of 1 to `most` bytes without control characters.
pub(super) fn line(value: &Value, most: usize) -> Result<String, Want> {
    let text = text(value)?;
    match !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(want(format!(
            "1 to {most} bytes without control characters"
        ))),
    }
}

/// The name of a listener or pool; it becomes a metric label and part of variable names.
pub(super) fn name(value: &Value) -> Result<String, Want> {
    let text = text(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(want("1 to 64 letters, digits, or any of . - _ :")),
    }
}

/// true or false.
pub(super) fn flag(value: &Value) -> Result<bool, Want> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        _ => Err(want("true or false")),
    }
}

/// A hash kernel of this machine, or `None` for auto.
pub(super) fn kernel(value: &Value) -> Result<Option<hash::Kernel>, Want> {
    let machine_has = || {
        let names: Vec<_> = hash::kernels().map(hash::Kernel::name).collect();
        want(format!(
            "auto, or one that this machine has: {}",
            names.join(", ")
        ))
    };
    match text(value)? {
        "auto" => Ok(None),
        name => match hash::kernels().find(|kernel| kernel.name() == name) {
            Some(kernel) => Ok(Some(kernel)),
            None => Err(machine_has()),
        },
    }
}

/// A list of strings.
pub(super) fn list(value: &Value) -> Result<Vec<String>, Want> {
    let wanted = || want("a list of strings");
    let Value::List(nodes) = value else {
        return Err(wanted());
    };
    nodes
        .iter()
        .map(|n| text(&n.value).map(str::to_owned).map_err(|_| wanted()))
        .collect()
}

/// A whole number in a range.
pub(super) fn whole(value: &Value, range: &RangeInclusive<u32>) -> Result<u32, Want> {
    match value {
        Value::Whole(whole) => u32::try_from(*whole).ok(),
        _ => None,
    }
    .filter(|whole| range.contains(whole))
    .ok_or_else(|| {
        want(format!(
            "a whole number from {} to {}",
            range.start(),
            range.end()
        ))
    })
}

/// A number in a range, with or without a fraction.
pub(super) fn number(value: &Value, range: &RangeInclusive<f64>) -> Result<f64, Want> {
    as_f64(value)
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            want(format!(
                "a number from {} to {}",
                range.start(),
                range.end()
            ))
        })
}

fn as_f64(value: &Value) -> Option<f64> {
    match value {
        // Limits are far below 2^53, above which this would round.
        Value::Whole(whole) => Some(*whole as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    }
}

/// A difficulty: finite, 2^-32 to 2^63 (STRATUM.md section 2).
pub(super) fn difficulty(value: &Value) -> Result<Difficulty, Want> {
    as_f64(value)
        .and_then(Difficulty::new)
        .ok_or_else(|| want("a difficulty from 2^-32 to 2^63"))
}

/// A duration with units, in a range.
pub(super) fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Result<Duration, Want> {
    let (least, most) = (show(*range.start()), show(*range.end()));
    let wanted = want(format!("a duration from {least} to {most}"));
    match value {
        Value::Text(text) => parse_duration(text)
            .filter(|duration| range.contains(duration))
            .ok_or(wanted),
        Value::Whole(bare) => Err(wanted.hint(format!("write the unit: \"{bare}s\""))),
        _ => Err(wanted),
    }
}

/// `90s`, `1m30s`, `250ms`, `2h`, `1d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let ms = count.parse::<u64>().ok()?.checked_mul(unit_ms)?;
        sum = sum.checked_add(Duration::from_millis(ms))?;
        rest = next.trim_start();
    }
    (!text.trim().is_empty()).then_some(sum)
}

/// A duration as a person writes it, in its largest whole unit.
pub(super) fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ]
    .into_iter()
    .find(|(unit, name)| ms >= *unit && ms.is_multiple_of(*unit) && !(*name == "m" && ms < 120_000))
    .map_or_else(
        || format!("{ms}ms"),
        |(unit, name)| format!("{}{name}", ms / unit),
    )
}

/// An address to listen on. Port 0 (the system picks) only on loopback: no miner could be told where to go.
pub(super) fn address(value: &Value) -> Result<SocketAddr, Want> {
    let wanted = || want("IP:PORT with a port from 1 to 65535");
    let address: SocketAddr = text(value)?.trim().parse().map_err(|_| wanted())?;
    match address.port() == 0 && !address.ip().is_loopback() {
        true => Err(wanted()),
        false => Ok(address),
    }
}

/// Where a pool is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PoolUrl {
    /// Name or address, without brackets.
    pub(super) host: String,
    /// From 1.
    pub(super) port: u16,
    /// `stratum+ssl://`.
    pub(super) tls: bool,
    /// Stratum V2 and the key of its authority: `stratum2+tcp://`.
    pub(super) authority: Option<AuthorityPublic>,
}

/// `stratum+tcp://HOST:PORT`, `stratum+ssl://HOST:PORT`, bare `HOST:PORT`, or `stratum2+tcp://HOST:PORT/AUTHORITY_KEY`.
pub(super) fn pool_url(value: &Value) -> Result<PoolUrl, Want> {
    let wanted =
        || want("stratum+tcp://HOST:PORT, stratum+ssl://HOST:PORT or stratum2+tcp://HOST:PORT/KEY");
    let text = text(value)?.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("stratum+tcp", text));
    let (tls, v2) = match scheme.to_ascii_lowercase().as_str() {
        "stratum+tcp" | "tcp" => (false, false),
        "stratum+ssl" | "stratum+tls" | "ssl" | "tls" => (true, false),
        "stratum2+tcp" => (false, true),
        _ => return Err(wanted()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (rest, authority) = match rest.split_once('/') {
        Some((rest, key)) if v2 => {
            let authority = key.parse::<AuthorityPublic>();
            let why = |error| wanted().hint(format!("the authority key of the pool: {error}"));
            (rest, Some(authority.map_err(why)?))
        }
        None if v2 => {
            let hint =
                "the pool's authority key is missing: the last part of the URL that it gives out";
            return Err(wanted().hint(hint));
        }
        _ => (rest, None),
    };
    if rest.contains('@') {
        return Err(wanted().hint("the user goes under `user`, the password under `password`"));
    }
    let (host, port) = rest
        .rsplit_once(':')
        .ok_or_else(|| wanted().hint("the port is missing"))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| wanted().hint("ports are 1 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match bare {
        Some(inside) => inside
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| wanted())?
            .to_string(),
        None if host_name(host) => host.to_ascii_lowercase(),
        None => return Err(wanted()),
    };
    Ok(PoolUrl {
        host,
        port,
        tls,
        authority,
    })
}

/// Whether this can be a host name or an IPv4 address (RFC 1123; underscores are seen in private zones).
fn host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Hosts that `client.reconnect` may name: exact, or `*.suffix`.
pub(super) fn hosts(value: &Value) -> Result<Vec<String>, Want> {
    let hosts = list(value)?;
    let fits = |host: &String| host_name(host.strip_prefix("*.").unwrap_or(host));
    match hosts.iter().find(|host| !fits(host)) {
        None => Ok(hosts.iter().map(|h| h.to_ascii_lowercase()).collect()),
        Some(bad) => Err(want("host names, or *.suffix").hint(format!("{bad:?} is neither"))),
    }
}

/// Version bits in hex, within 1fffffe0: the widest set given to miners (BIP 323); 0 turns version rolling off.
pub(super) fn version_mask(value: &Value) -> Result<u32, Want> {
    let digits = text(value)?.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16)
        .ok()
        .filter(|mask| plain && mask & !0x1fff_ffe0 == 0)
        .ok_or_else(|| want("up to 8 hex digits within 1fffffe0 (BIP 323)"))
}

/// `auto` (`None`), or one of the layouts of ARCHITECTURE section 4: lane bytes + bytes the miner rolls.
pub(super) fn layout(value: &Value) -> Result<Option<Layout>, Want> {
    let layout = |lane, rolled| Ok(Some(Layout { lane, rolled }));
    match text(value)?.trim() {
        "auto" => Ok(None),
        "4+4" => layout(4, 4),
        "3+4" => layout(3, 4),
        "2+4" => layout(2, 4),
        "3+2" => layout(3, 2),
        "2+2" => layout(2, 2),
        _ => Err(want(
            "\"auto\", \"4+4\", \"3+4\", \"2+4\", \"3+2\" or \"2+2\"",
        )),
    }
}

/// A `tracing` filter.
pub(super) fn filter(value: &Value) -> Result<String, Want> {
    let filter = text(value)?;
    match tracing_subscriber::EnvFilter::builder().parse(filter) {
        Ok(_) if !filter.trim().is_empty() => Ok(filter.to_owned()),
        _ => Err(want("a filter such as \"info\" or \"info,sluice=debug\"")),
    }
}

/// One of two words.
pub(super) fn either<T>(value: &Value, words: [(&str, T); 2]) -> Result<T, Want> {
    let expected = format!("\"{}\" or \"{}\"", words[0].0, words[1].0);
    let found = text(value).unwrap_or_default();
    words
        .into_iter()
        .find(|(word, _)| *word == found)
        .map(|(_, meaning)| meaning)
        .ok_or_else(|| want(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn durations_are_written_with_units() {
        let any = Duration::ZERO..=Duration::from_secs(1_000_000);
        for (text, ms) in [
            ("60s", 60_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("2h", 7_200_000),
            ("1d 1s", 86_401_000),
        ] {
            let parsed = duration(&string(text), &any);
            assert_eq!(parsed, Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "60", "s", "-1s", "1.5s", "1w", "99999999999999999999s"] {
            assert!(duration(&string(text), &any).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_has_a_limit_on_each_side() {
        let range = Duration::from_secs(5)..=Duration::from_secs(30);
        assert!(duration(&string("5s"), &range).is_ok());
        assert!(duration(&string("30s"), &range).is_ok());
        assert!(duration(&string("4999ms"), &range).is_err());
        assert!(duration(&string("30001ms"), &range).is_err());
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["60s", "5s", "250ms", "10m", "24h"] {
            let parsed = parse_duration(text).expect("valid");
            let again = parse_duration(&show(parsed)).expect("valid");
            assert_eq!(parsed, again);
        }
        assert_eq!(show(Duration::from_secs(60)), "60s");
        assert_eq!(show(Duration::from_secs(600)), "10m");
    }

    #[test]
    fn pool_urls_come_with_and_without_a_scheme() {
        for (text, host, port, tls) in [
            (
                "stratum+tcp://Pool.example.com:3333",
                "pool.example.com",
                3333,
                false,
            ),
            (
                "stratum+ssl://pool.example.com:443/",
                "pool.example.com",
                443,
                true,
            ),
            ("10.0.0.1:3333", "10.0.0.1", 3333, false),
            ("stratum+tcp://[::1]:3333", "::1", 3333, false),
        ] {
            let host = host.to_owned();
            let authority = None;
            let url = PoolUrl {
                host,
                port,
                tls,
                authority,
            };
            assert_eq!(pool_url(&string(text)), Ok(url));
        }
    }

    #[test]
    fn the_url_of_a_v2_pool_ends_with_the_key_of_its_authority() {
        // The key of SV2 4.7.
        let key = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
        let url = pool_url(&string(&format!("stratum2+tcp://Pool.example:34254/{key}"))).unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.tls),
            ("pool.example", 34254, false)
        );
        assert_eq!(url.authority.unwrap().to_string(), key);
    }

    #[test]
    fn pool_urls_that_cannot_be_are_refused() {
        for text in [
            "",
            "pool",
            "pool:0",
            "pool:65536",
            "http://pool:80",
            "u:p@pool:1",
            "a b:1",
            "::1:3333",
            "stratum2+tcp://pool:1/key",
            "stratum2+tcp://pool:1",
            "stratum+tcp://pool:1/9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72",
            "pool:1/path",
            "a..b:1",
        ] {
            assert!(pool_url(&string(text)).is_err(), "{text}");
        }
    }
}
