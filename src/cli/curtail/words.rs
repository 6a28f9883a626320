//! What people write: `4.2MW`, `feeder:A1`, `14:00`. Invariant: a number without its unit is refused, with the right form
//! in the message.

use crate::cli::units;
use crate::curtail::signal::{FOR_GOOD, LONGEST_DEADLINE, MOST_WATTS, Scope, rfc3339};
use crate::curtail::{Wall, Watts};
use crate::telemetry::units as shows;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `4.2MW`, `800 kW`, `0W`; rounded to the watt.
pub(super) fn watts(text: &str) -> Result<Watts, String> {
    let wrong =
        || format!("'{text}' is not a power: write it with its unit, such as 4.2MW or 800kW");
    let text = text.trim();
    let digit = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !digit(c)).ok_or_else(wrong)?;
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    // Milliwatts are nobody's: mW is a slip of the shift key, a billion apart.
    let unit = match text[end..].trim() {
        "W" => 1.0,
        "kW" | "KW" => 1e3,
        "MW" => 1e6,
        "GW" => 1e9,
        _ => return Err(wrong()),
    };
    let watts = (number * unit).round();
    match watts <= MOST_WATTS.0 as f64 {
        true => Ok(Watts(watts as i64)),
        false => Err(wrong()),
    }
}

/// `mining`, `site`, `feeder:NAME`, `group:NAME`.
pub(super) fn scope(text: &str) -> Result<Scope, String> {
    let wrong =
        |_| format!("'{text}' is not a scope: write mining, site, feeder:NAME or group:NAME");
    text.parse().map_err(wrong)
}

/// A duration in whole seconds, 1 s to a day.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let duration = units::duration(text)?;
    match duration.subsec_nanos() == 0 && !duration.is_zero() && duration <= LONGEST_DEADLINE {
        true => Ok(duration),
        false => Err(format!(
            "'{text}' is not a deadline: whole seconds, from 1s to 1d"
        )),
    }
}

/// When a job starts, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// A moment.
    At(Wall),
    /// The next time that clocks here show this.
    Clock(Time),
    /// The same of clocks in UTC.
    Utc(Time),
    /// So much from now.
    In(Duration),
}

/// `14:00`, `14:00Z` (UTC), `2026-11-22T14:00:00+01:00`, `+10m`.
pub(super) fn when(text: &str) -> Result<When, String> {
    let wrong = || {
        format!(
            "'{text}' is not a time: write 14:00 (this machine's clock), 14:00Z (UTC), 2026-11-22T14:00:00+01:00, or +10m"
        )
    };
    if let Some(lasts) = text.strip_prefix('+') {
        return units::duration(lasts).map(When::In);
    }
    if let Some(at) = rfc3339::read(text) {
        return Ok(When::At(at));
    }
    let clock = text.strip_suffix('Z').unwrap_or(text);
    let (hours, minutes) = clock.split_once(':').ok_or_else(wrong)?;
    let two = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i8>().ok().filter(|_| digits).ok_or_else(wrong)
    };
    let clock = Time::new(two(hours)?, two(minutes)?, 0, 0).map_err(|_| wrong())?;
    Ok(match text.ends_with('Z') {
        true => When::Utc(clock),
        false => When::Clock(clock),
    })
}

impl When {
    /// The moment that is meant, if it is `now` and clocks show `zone`.
    pub(super) fn at(self, now: Wall, zone: &TimeZone) -> Wall {
        match self {
            Self::At(at) => at,
            Self::In(lasts) => after(now, lasts),
            Self::Clock(clock) => next(clock, now, zone),
            Self::Utc(clock) => next(clock, now, &TimeZone::UTC),
        }
    }
}

/// The next time that clocks in `zone` show this. A time that a change of clocks leaves out comes as much later; one that
/// it repeats is the first of the two.
fn next(clock: Time, now: Wall, zone: &TimeZone) -> Wall {
    let on = |day: Date| {
        let shown = day.to_datetime(clock).to_zoned(zone.clone()).ok()?;
        Some(Wall(shown.timestamp().as_millisecond())).filter(|at| *at >= now)
    };
    let today = shown(now, zone).date();
    let tomorrow = || on(today.tomorrow().ok()?);
    // Only the last day of the calendar has no tomorrow.
    on(today).or_else(tomorrow).unwrap_or(FOR_GOOD)
}

/// What clocks in `zone` show then.
fn shown(at: Wall, zone: &TimeZone) -> Zoned {
    let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::MAX);
    at.to_zoned(zone.clone())
}

/// `2026-11-22 14:00 +01:00 (13:00 UTC), in 3h 12m`: what was made of a time of day.
pub(super) fn moment(at: Wall, now: Wall, zone: &TimeZone) -> String {
    let here = shown(at, zone);
    let utc = shown(at, &TimeZone::UTC);
    let when = match here.offset().is_zero() {
        true => format!("{}", utc.strftime("%F %H:%M UTC")),
        false => format!(
            "{} ({})",
            here.strftime("%F %H:%M %:z"),
            utc.strftime("%H:%M UTC")
        ),
    };
    match at > now {
        true => format!(
            "{when}, in {}",
            shows::duration((at.0 - now.0) as f64 / 1e3)
        ),
        false => format!("{when}, which is over"),
    }
}

/// `now` and `lasts`, at most [`FOR_GOOD`].
pub(super) fn after(now: Wall, lasts: Duration) -> Wall {
    let ms = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
    Wall(now.0.saturating_add(ms).min(FOR_GOOD.0))
}

/// By this machine's clock.
pub(super) fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 no order could be written; the API then says how far the clock is off.
    Wall(since.map_or(0, |since| since.as_millis() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_read_with_their_unit_and_refused_without() {
        for (text, watt) in [
            ("4.2MW", 4_200_000),
            ("800 kW", 800_000),
            ("0W", 0),
            ("100GW", MOST_WATTS.0),
            (" 1.2345678MW ", 1_234_568),
        ] {
            assert_eq!(watts(text), Ok(Watts(watt)), "{text}");
        }
        for text in [
            "4200000", "4.2", "4.2mW", "MW", "-4MW", "4,2MW", "4.2MWh", "100.1GW", "", "1e3kW",
        ] {
            assert!(watts(text).expect_err(text).contains("4.2MW"), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one_that_clocks_here_show_and_a_moment_is_itself() {
        let at = |text: &str, zone: &TimeZone| when(text).expect(text).at(SEVEN, zone).0 - SEVEN.0;
        let utc = |text: &str| at(text, &TimeZone::UTC);
        assert_eq!(utc("14:00"), 7 * HOUR_MS);
        assert_eq!(utc("07:00"), 0);
        assert_eq!(utc("06:59"), 24 * HOUR_MS - 60_000);
        let here = |text: &str| at(text, &berlin());
        assert_eq!(here("14:00"), 6 * HOUR_MS);
        assert_eq!(here("08:00"), 0);
        assert_eq!(here("07:59"), 24 * HOUR_MS - 60_000);
        for zone in [TimeZone::UTC, berlin()] {
            let anywhere = |text: &str| at(text, &zone);
            assert_eq!(anywhere("14:00Z"), 7 * HOUR_MS);
            assert_eq!(anywhere("+10m"), 600_000);
            assert_eq!(anywhere("2026-11-22T08:00:00+01:00"), 0);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "14",
            "14:0",
            "24:00",
            "14:60",
            "-1:00",
            "+1:00",
            "2pm",
            "+",
            "+10",
            "1４:00",
            "2026-11-22",
        ] {
            assert!(when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_clocks_leave_out_is_later_and_one_that_they_show_twice_is_the_first() {
        let on = |day: &str, text: &str| {
            let midnight = rfc3339::read(day).expect(day);
            let at = when(text).expect(text).at(midnight, &berlin());
            (at.0 - midnight.0) / 60_000
        };
        assert_eq!(on("2027-03-28T00:00:00+01:00", "01:59"), 119);
        assert_eq!(on("2027-03-28T00:00:00+01:00", "02:30"), 150);
        assert_eq!(on("2027-03-28T00:00:00+01:00", "03:00"), 120);
        assert_eq!(on("2027-10-31T00:00:00+02:00", "02:30"), 150);
        assert_eq!(on("2027-10-31T00:00:00+02:00", "03:00"), 240);
    }

    #[test]
    fn a_moment_is_told_by_clocks_here_in_utc_and_from_now() {
        let at = Wall(SEVEN.0 + 3 * HOUR_MS);
        let here = moment(at, SEVEN, &berlin());
        assert!(
            here.starts_with("2026-11-22 11:00 +01:00 (10:00 UTC), in 3"),
            "{here}"
        );
        let utc = moment(at, SEVEN, &TimeZone::UTC);
        assert!(utc.starts_with("2026-11-22 10:00 UTC, in 3"), "{utc}");
        assert!(moment(SEVEN, at, &TimeZone::UTC).ends_with("over"));
    }

    const SEVEN: Wall = Wall(1_795_330_800_000);
    const HOUR_MS: i64 = 3_600_000;

    /// As a rule, which needs no file of the system.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule")
    }

    #[test]
    fn a_deadline_is_whole_seconds_up_to_a_day() {
        assert_eq!(deadline("1d"), Ok(LONGEST_DEADLINE));
        for text in ["1.5s", "0s", "86401s", "15"] {
            assert!(deadline(text).is_err(), "{text}");
        }
    }
}
