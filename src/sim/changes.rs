//! That something has changed: who waits for counters looks at them again. Not what has changed.
//!
//! Invariant: a change between a look and the wait behind it is not missed.

use std::time::Duration;
use tokio::sync::watch;

/// A count of changes.
#[derive(Debug)]
pub(super) struct Changes(watch::Sender<u64>);

impl Default for Changes {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl Changes {
    /// There was one.
    pub(super) fn tell(&self) {
        self.0
            .send_modify(|revision| *revision = revision.wrapping_add(1));
    }

    /// From now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    /// Looks at every change until what is seen is `wanted`.
    ///
    /// # Errors
    /// With what is seen when the time is over.
    pub(super) async fn wait_for<T>(
        &self,
        within: Duration,
        look: impl Fn() -> T,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<T, Box<T>> {
        let mut changed = self.subscribe();
        let reached = async {
            loop {
                let seen = look();
                if wanted(&seen) || changed.changed().await.is_err() {
                    return seen;
                }
            }
        };
        let reached = tokio::time::timeout(within, reached).await;
        reached.map_err(|_| Box::new(look()))
    }
}
