//! Numbers as people write them: `15s`, `20 kH/s`, `1 %`; never bare.
//!
//! Not a general unit library. Invariant: a number without its unit is refused, with the right form in the message.

use std::time::Duration;

/// What was wrong, for a person; names what was found and what would be right.
pub type Wrong = String;

/// `500ms`, `15s`, `1.5 m`, `2h`, `1d`.
///
/// # Errors
/// When the unit is missing or unknown, or the number negative, not finite or beyond a hundred years.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || format!("'{text}' is not a duration: write it with its unit, such as 15s or 2m");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    } * number;
    let fits = seconds <= 100.0 * 365.0 * 86_400.0;
    fits.then(|| Duration::from_secs_f64(seconds))
        .ok_or_else(wrong)
}

/// `20 kH/s`, `110 TH/s`: hashes per second.
///
/// # Errors
/// When the unit is missing or unknown, or the number negative or not finite.
pub fn hashrate(text: &str) -> Result<f64, Wrong> {
    let wrong = || format!("'{text}' is not a hashrate: write it as 20 kH/s or 110 TH/s");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let prefix = unit.strip_suffix("H/s").ok_or_else(wrong)?;
    let prefix = if prefix == "K" { "k" } else { prefix };
    let step = PREFIXES.iter().position(|p| *p == prefix);
    let step = step.ok_or_else(wrong)?;
    Ok(number * 1000f64.powi(step as i32))
}

/// `1 %`, `12.5%`, up to 100: as a part of one.
///
/// # Errors
/// When the sign is missing or the number outside 0..=100.
pub fn percentage(text: &str) -> Result<f64, Wrong> {
    let wrong = || format!("'{text}' is not a percentage: write it as 1% or 12.5 %, at most 100%");
    match split(text) {
        Some((number, "%")) if number <= 100.0 => Ok(number / 100.0),
        _ => Err(wrong()),
    }
}

/// Thousands of H/s, from none to exa.
const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// Hashes per second as people read them, three digits: `19.8 kH/s`.
pub fn show_hashrate(hashes_per_s: f64) -> String {
    let (value, prefix) = scaled(hashes_per_s);
    format!("{value} {prefix}H/s")
}

/// Hashes as people read them: `1.24 GH`.
pub fn show_hashes(hashes: u128) -> String {
    let (value, prefix) = scaled(hashes as f64);
    format!("{value} {prefix}H")
}

/// A duration as people read it: `950 us`, `12 ms`, `3.5 s`, `12m05s`, `3h02m`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.as_micros() {
        us @ ..1_000 => format!("{us} us"),
        us @ ..1_000_000 => format!("{} ms", us / 1000),
        _ if seconds < 60 => format!("{:.1} s", duration.as_secs_f64()),
        _ if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn scaled(mut value: f64) -> (String, &'static str) {
    let mut step = 0;
    while value >= 999.5 && step + 1 < PREFIXES.len() {
        value /= 1000.0;
        step += 1;
    }
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    (format!("{value:.digits$}"), PREFIXES[step])
}

/// A number that is finite and not negative, and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let digit = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !digit(c))?;
    let number: f64 = text[..end].parse().ok()?;
    number.is_finite().then(|| (number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_and_refused_without() {
        assert_eq!(duration("15s").unwrap(), Duration::from_secs(15));
        assert_eq!(duration("1.5 m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["15", "", "s", "-3s", "15 parsecs", "1e9s", "99999999d"] {
            assert!(duration(wrong).unwrap_err().contains("15s"), "{wrong}");
        }
    }

    #[test]
    fn hashrates_are_read_with_their_unit_and_refused_without() {
        assert!((hashrate("20 kH/s").unwrap() - 20e3).abs() < 1e-6);
        assert!((hashrate("110TH/s").unwrap() - 110e12).abs() < 1.0);
        for wrong in ["20", "20 k", "20 qH/s", "kH/s"] {
            assert!(hashrate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_end_at_one_hundred() {
        assert!((percentage("12.5 %").unwrap() - 0.125).abs() < 1e-12);
        assert!(percentage("100%").is_ok());
        assert!(percentage("100.1%").is_err());
        assert!(percentage("1").is_err());
    }

    #[test]
    fn what_is_shown_has_three_digits_and_a_unit() {
        assert_eq!(show_hashrate(19_840.0), "19.8 kH/s");
        assert_eq!(show_hashrate(999.9), "1.00 kH/s");
        assert_eq!(show_hashes(0), "0.00 H");
        assert_eq!(show_duration(Duration::from_secs(725)), "12m05s");
        assert_eq!(show_duration(Duration::from_micros(999)), "999 us");
    }
}
