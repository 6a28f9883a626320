//! LuxOS profiles: steps of frequency and voltage with the watts that the firmware publishes for each.
//!
//! Not how they are read or set. Pure. Invariant: no profile is chosen that is published to draw more than was asked, and
//! no name that the firmware could take for anything but that profile's.
//!
//! ```text
//!   295MHz 1588 W   320MHz 1714 W  ...  520MHz 2960 W   default 3126 W   570MHz 3296 W
//!                        55 %  <- 1719 W, at most        100 %: what its maker built it for
//! ```

use crate::actuators::reply::LONGEST_TEXT;
use crate::curtail::Watts;

/// The profile that the firmware makes from the boards' own factory settings (docs.luxor.tech, "Preset Profiles").
const DEFAULT: &str = "default";

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// As the firmware lists it, at most [`LONGEST_TEXT`] bytes.
    pub name: String,
    /// What it is published to draw at the plug; more than nothing.
    pub watts: Watts,
}

impl Profile {
    /// `None`: nothing can be judged by it.
    pub(super) fn new(name: &str, watts: Watts) -> Option<Self> {
        let name = self::name(name);
        (!name.is_empty() && watts > Watts::ZERO).then(|| Self {
            name: name.to_owned(),
            watts,
        })
    }
}

/// A profile's name, or nothing where it is too long to be one.
pub(super) fn name(text: &str) -> &str {
    match text.len() {
        ..=LONGEST_TEXT => text,
        _ => "",
    }
}

/// All profiles of a machine, its default among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiles {
    all: Vec<Profile>,
    full: Watts,
}

impl Profiles {
    /// `None`: no default among them, and so nothing that a percentage could be of.
    pub(super) fn new(all: Vec<Profile>) -> Option<Self> {
        let full = all.iter().find(|profile| is_default(&profile.name))?.watts;
        Some(Self { all, full })
    }

    /// The profile that draws the most within `percent` of the default, if there is one that can be set.
    pub fn at_most(&self, percent: u8) -> Option<&Profile> {
        let within = |profile: &&Profile| {
            profile.watts.0 * 100 <= self.full.0 * i64::from(percent) && is_settable(&profile.name)
        };
        let fits = self.all.iter().filter(within);
        fits.max_by_key(|profile| profile.watts)
    }

    /// What `name` draws in percent of the default, rounded up; `None`: it is not listed.
    pub fn percent(&self, name: &str) -> Option<u8> {
        let profile = self.all.iter().find(|profile| profile.name == name)?;
        let percent = (profile.watts.0 * 100 + self.full.0 - 1) / self.full.0;
        Some(u8::try_from(percent).unwrap_or(u8::MAX))
    }

    /// The name under which the default is listed.
    pub(super) fn default_name(&self) -> &str {
        let default = self.all.iter().find(|profile| is_default(&profile.name));
        default.map_or(DEFAULT, |profile| &profile.name)
    }
}

/// Whether it is the machine's factory setting.
pub(super) fn is_default(name: &str) -> bool {
    name.eq_ignore_ascii_case(DEFAULT)
}

/// Whether `profileset` takes this name for a name, and a request can carry it. It reads a number from 0 to 3 as a board,
/// `+1` and `-2` as steps from the default, `2500W`, `2.5kW` and `90THs` as "the one nearest to" (docs.luxor.tech,
/// "profileset"): any number with these ends is left alone.
fn is_settable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let number = ["THs", "kW", "W", ""].iter().find_map(|end| {
        let number = name.strip_suffix(end)?;
        number.parse::<f64>().ok()
    });
    (1..=LONGEST_TEXT).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && number.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_the_largest_within_the_percentage_and_none_below_the_smallest() {
        // As an S19j Pro lists them (LUXminer 2026.4.3): 1588 W are 50.8 % of its 3126 W, 2960 W are 94.7 %.
        let profiles = s19j();
        let chosen = |percent| {
            let profile = profiles.at_most(percent);
            profile.map(|profile| profile.name.as_str())
        };
        assert_eq!(chosen(100), Some("default"));
        assert_eq!(chosen(99), Some("520MHz"));
        assert_eq!(chosen(95), Some("520MHz"));
        assert_eq!(chosen(94), Some("320MHz"));
        assert_eq!(chosen(51), Some("295MHz"));
        assert_eq!(chosen(50), None);
        assert_eq!(chosen(0), None);
    }

    #[test]
    fn a_percentage_is_rounded_up_so_that_what_was_chosen_reads_back_within_what_was_asked() {
        let profiles = s19j();
        for percent in 51..=99 {
            let chosen = profiles.at_most(percent).unwrap();
            assert!(profiles.percent(&chosen.name).unwrap() <= percent);
        }
        assert_eq!(profiles.percent("520MHz"), Some(95));
        assert_eq!(profiles.percent("default"), Some(100));
        assert_eq!(profiles.percent("570MHz"), Some(106));
        assert_eq!(profiles.percent("495MHz"), None);
    }

    #[test]
    fn without_a_default_there_is_nothing_to_take_a_percentage_of() {
        assert_eq!(Profiles::new(Vec::new()), None);
        assert_eq!(Profiles::new(list(&[("520MHz", 2960)])), None);
        let one = Profiles::new(list(&[("Default", 3000)])).unwrap();
        assert_eq!(one.default_name(), "Default");
    }

    #[test]
    fn a_name_that_could_be_a_board_a_step_or_a_power_is_never_chosen() {
        for name in [
            "0", "3", "12", "-2", "+1", "2500W", "2.5kW", "90THs", "1e3W", "", "a,b", "a\"b", "é",
            "a b",
        ] {
            let profiles = list(&[("default", 3126), (name, 1588)]);
            let profiles = Profiles::new(profiles).unwrap();
            assert_eq!(profiles.at_most(99), None, "{name}");
        }
        for name in ["295MHz", "overclock_0", "eco", "tuned-295MHz", "x2500W"] {
            let profiles = list(&[("default", 3126), (name, 1588)]);
            let profiles = Profiles::new(profiles).unwrap();
            assert_eq!(profiles.at_most(99).unwrap().name, name);
        }
    }

    #[test]
    fn a_name_of_64_bytes_is_one_and_of_65_is_not() {
        let new = |length| Profile::new(&"x".repeat(length), Watts(1));
        assert!(new(64).is_some());
        assert!(new(65).is_none());
        assert!(Profile::new("x", Watts(0)).is_none());
    }

    fn s19j() -> Profiles {
        let rows = [
            ("570MHz", 3296),
            ("default", 3126),
            ("520MHz", 2960),
            ("320MHz", 1714),
            ("295MHz", 1588),
        ];
        Profiles::new(list(&rows)).unwrap()
    }

    fn list(rows: &[(&str, i64)]) -> Vec<Profile> {
        let row = |(name, watts): &(&str, i64)| Profile::new(name, Watts(*watts));
        rows.iter().filter_map(row).collect()
    }
}
