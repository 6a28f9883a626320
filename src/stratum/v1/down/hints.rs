//! What miners say about difficulty in places not made for it: passwords and user agents.
//!
//! Only reads; vardiff decides. Invariant: whatever else a password says is ignored, so no password is ever refused here.

use crate::work::Difficulty;

/// What a password asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hints {
    /// Where to start: `d=`, `diff=` or `fd=`.
    pub start: Option<Difficulty>,
    /// Never below: `md=`, `mindiff=` or `fd=` (fixed: both this and `start`, and the session holds it from above too).
    pub fixed_min: Option<Difficulty>,
}

/// Reads `d=1024`, `diff=1024` (start), `md=1024`, `mindiff=1024` (minimum) and `fd=1024` (fixed), separated by commas,
/// semicolons or blanks, keys in either case. The last of a kind counts; values that are no difficulty are ignored.
pub fn password_hints(password: &str) -> Hints {
    let mut hints = Hints::default();
    for hint in password.split([',', ';', ' ']) {
        let Some((key, value)) = hint.split_once('=') else {
            continue;
        };
        let Some(difficulty) = value.parse().ok().and_then(Difficulty::new) else {
            continue;
        };
        let is = |names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name));
        if is(&["d", "diff", "fd"]) {
            hints.start = Some(difficulty);
        }
        if is(&["md", "mindiff", "fd"]) {
            hints.fixed_min = Some(difficulty);
        }
    }
    hints
}

/// The least difficulty that a user agent is known to need: NiceHash closes pools below 524,288.
pub fn agent_minimum(agent: &str) -> Option<Difficulty> {
    const NICEHASH: &str = "nicehash";
    let is_nicehash = agent
        .as_bytes()
        .windows(NICEHASH.len())
        .any(|part| part.eq_ignore_ascii_case(NICEHASH.as_bytes()));
    is_nicehash.then(|| Difficulty::new(524_288.0)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_ask_for_a_start_a_minimum_or_both() {
        for (password, start, fixed_min) in [
            ("x", None, None),
            ("", None, None),
            ("d=1024", Some(1024.0), None),
            ("x,d=0.5", Some(0.5), None),
            ("x;DIFF=64 md=32", Some(64.0), Some(32.0)),
            ("mindiff=7", None, Some(7.0)),
            ("fd=2048", Some(2048.0), Some(2048.0)),
            ("d=1,d=2", Some(2.0), None),
            ("d=0,md=-1,fd=nan,diff=inf,d=1e999,d=", None, None),
            ("d=x,id=5,password=d", None, None),
        ] {
            let expected = Hints {
                start: start.and_then(Difficulty::new),
                fixed_min: fixed_min.and_then(Difficulty::new),
            };
            assert_eq!(password_hints(password), expected, "{password}");
        }
    }

    #[test]
    fn nicehash_has_a_minimum_and_others_have_none() {
        assert_eq!(agent_minimum("NiceHash/1.0.0"), Difficulty::new(524_288.0));
        assert_eq!(
            agent_minimum("excavator nicehash"),
            Difficulty::new(524_288.0)
        );
        assert_eq!(agent_minimum("cgminer/4.10.0"), None);
        assert_eq!(agent_minimum(""), None);
    }
}
