//! Numbers as people write them: `1.13 EH/s`, `0.31 %`, `12m`, `1,204`. For eyes only; machines read base units.

/// A count with thousands separators: `1,204`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Hashes per second with three significant digits: `110 TH/s`.
pub fn hashrate(hashes_per_second: f64) -> String {
    format!("{}H/s", scaled(hashes_per_second))
}

/// A difficulty with three significant digits: `16.4 k`; a lab's as `1.53e-5`.
pub fn difficulty(value: f64) -> String {
    if value > 0.0 && value < 0.01 {
        return format!("{value:.2e}");
    }
    scaled(value).trim_end().to_owned()
}

/// A part of a whole, `0.31 %`; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.2} %", part as f64 * 100.0 / whole as f64)
}

/// A duration in its two largest units: `3h 12m`, `12m 5s`, `5s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m {}s", whole % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Three significant digits, a space and an SI prefix.
fn scaled(value: f64) -> String {
    const PREFIXES: [&str; 8] = ["", "k", "M", "G", "T", "P", "E", "Z"];
    if !value.is_finite() || value <= 0.0 {
        return "0 ".to_owned();
    }
    let (mut value, mut prefix) = (value, 0);
    // 999.5 would be written 1000: it belongs to the next prefix.
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1_000.0;
        prefix += 1;
    }
    let decimals = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {}", PREFIXES[prefix])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_204), "1,204");
        assert_eq!(count(12_034_123), "12,034,123");
        assert_eq!(hashrate(110e12), "110 TH/s");
        assert_eq!(hashrate(1.126e18), "1.13 EH/s");
        assert_eq!(hashrate(0.0), "0 H/s");
        assert_eq!(hashrate(f64::NAN), "0 H/s");
        assert_eq!(difficulty(16_384.0), "16.4 k");
        assert_eq!(difficulty(1.0), "1.00");
        assert_eq!(difficulty(1.0 / 65_536.0), "1.53e-5");
        assert_eq!(percent(31, 10_000), "0.31 %");
        assert_eq!(percent(0, 0), "-");
    }

    #[test]
    fn a_rounded_thousand_takes_the_next_prefix_and_just_below_does_not() {
        assert_eq!(hashrate(999.6), "1.00 kH/s");
        assert_eq!(hashrate(999.4), "999 H/s");
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        assert_eq!(duration(59.9), "59s");
        assert_eq!(duration(60.0), "1m 0s");
        assert_eq!(duration(3_600.0 * 3.0 + 720.0), "3h 12m");
        assert_eq!(duration(86_400.0 * 2.0), "2d 0h");
    }
}
