//! Log lines: where they go, and how often the same thing is said. Not what is said: that is with whom it happens to.
//! Invariant: standard output stays clean for results; lines go to standard error.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// Logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error("log filter {filter:?} is not valid: {reason}; try \"info\" or \"sluice=debug\"")]
    Filter {
        /// As given.
        filter: String,
        /// Why not.
        reason: String,
    },
    /// Something has already started it.
    #[error("logging has already been started")]
    Twice,
}

/// Starts logging for the whole process: text (coloured on a terminal only) or JSON, to standard error.
pub fn init(filter: &str, json: bool) -> Result<(), InitError> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| InitError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(!json && std::io::stderr().is_terminal());
    if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    }
    .map_err(|_| InitError::Twice)
}

/// Folds repeats: of one class of message, one line per window, which says how many it stands for.
///
/// Classes are words of ours, never a peer's, so there are only so many.
#[derive(Debug)]
pub struct Repeats {
    window: Duration,
    classes: HashMap<&'static str, Class>,
}

#[derive(Debug)]
struct Class {
    printed: Instant,
    folded: u64,
}

impl Repeats {
    /// One line per class and `window`.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            classes: HashMap::new(),
        }
    }

    /// `Some(n)`: print it now, and say that n more like it were folded since the last one. `None`: fold it.
    pub fn admit(&mut self, class: &'static str, now: Instant) -> Option<u64> {
        let Some(seen) = self.classes.get_mut(class) else {
            let first = Class {
                printed: now,
                folded: 0,
            };
            self.classes.insert(class, first);
            return Some(0);
        };
        if now.saturating_duration_since(seen.printed) < self.window {
            seen.folded += 1;
            return None;
        }
        seen.printed = now;
        Some(std::mem::take(&mut seen.folded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_within_the_window_are_folded_and_counted_in_the_next_line() {
        let now = Instant::now();
        let window = Duration::from_secs(60);
        let mut repeats = Repeats::new(window);
        assert_eq!(repeats.admit("login refused", now), Some(0));
        assert_eq!(repeats.admit("login refused", now), None);
        let just_inside = now + window - Duration::from_millis(1);
        assert_eq!(repeats.admit("login refused", just_inside), None);
        assert_eq!(repeats.admit("login refused", now + window), Some(2));
    }

    #[test]
    fn classes_do_not_fold_each_other() {
        let now = Instant::now();
        let mut repeats = Repeats::new(Duration::from_secs(60));
        assert_eq!(repeats.admit("a", now), Some(0));
        assert_eq!(repeats.admit("b", now), Some(0));
    }

    #[test]
    fn a_bad_filter_is_named_with_a_good_one() {
        let error = init("sluice=loud=very", false).expect_err("not a filter");
        assert!(error.to_string().contains("sluice=loud=very"));
        assert!(error.to_string().contains("try \"info\""));
    }
}
