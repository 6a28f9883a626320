//! Waiting for what takes time: looking again and again, up to a deadline. The one place where tests sleep.
//!
//! Holds no claim about anything. Invariant: who waits in vain is told what for.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks, where nothing else is said.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `look` finds something, but no longer than this.
pub(crate) fn within<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    looking(PAUSE, limit, || what.to_owned(), look)
}

/// The same with so long between two looks; what was waited for is asked at the end, when it can say how it stands.
pub(crate) fn looking<T>(
    pause: Duration,
    limit: Duration,
    what: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "not within {limit:?}: {}",
            what()
        );
        sleep(pause);
    }
}
