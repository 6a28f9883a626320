//! Who is connected, and who goes when there is no room: the connection that has been idle for the longest.
//!
//! Knows no sockets. Invariant: a seat is idle or busy; only idle ones are asked to go, each once, the one that has been
//! idle for the longest first.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Who was asked to go is gone as soon as its task runs; where all are busy, one of them may be idle after this.
const PATIENCE: Duration = Duration::from_millis(100);

/// All seats.
#[derive(Debug)]
pub(super) struct Crowd {
    permits: Arc<Semaphore>,
    line: Arc<Mutex<Line>>,
}

/// Those that are idle, in the order in which they became it.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    idle: BTreeMap<u64, CancellationToken>,
}

/// One connection's place; dropping it makes room.
pub(super) struct Seat {
    line: Arc<Mutex<Line>>,
    /// Its place among the idle.
    place: Option<u64>,
    token: CancellationToken,
    asked_for: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl Crowd {
    /// So many seats.
    pub(super) fn new(seats: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(seats)),
            line: Arc::default(),
        }
    }

    /// A seat, idle. Where there is none, who has been idle for the longest is asked to go; busy ones are waited for.
    pub(super) async fn seat(&self) -> Seat {
        loop {
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return Seat::new(self.line.clone(), permit);
            }
            if let Some((_, token)) = line(&self.line).idle.pop_first() {
                token.cancel();
            }
            tokio::select! {
                biased;
                permit = self.permits.clone().acquire_owned() => {
                    let permit = permit.expect("the semaphore is never closed");
                    return Seat::new(self.line.clone(), permit);
                }
                () = sleep(PATIENCE) => {}
            }
        }
    }
}

impl Seat {
    fn new(line: Arc<Mutex<Line>>, permit: OwnedSemaphorePermit) -> Self {
        let token = CancellationToken::new();
        let mut seat = Self {
            line,
            place: None,
            asked_for: Box::pin(token.clone().cancelled_owned()),
            token,
            _permit: permit,
        };
        seat.idle();
        seat
    }

    /// Nothing is asked, or not all of it.
    pub(super) fn idle(&mut self) {
        if self.place.is_none() {
            let mut line = line(&self.line);
            line.next += 1;
            let place = line.next;
            line.idle.insert(place, self.token.clone());
            self.place = Some(place);
        }
    }

    /// Something is asked and not answered yet.
    pub(super) fn busy(&mut self) {
        if let Some(place) = self.place.take() {
            line(&self.line).idle.remove(&place);
        }
    }

    /// Ready when it is to go.
    pub(super) fn poll_asked_for(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked_for.as_mut().poll(cx)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.busy();
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn line(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    // A number and a map: whole even if a holder panicked.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
