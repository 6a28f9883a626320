//! Scrapes one kind of power for ever, from one endpoint or several: text in, readings out. What a text is worth, the
//! feeds say.
//!
//! In rounds: every endpoint that is not being scraped already is scraped at once with the others, and the round ends
//! when all of these have answered, or at the end of its patience; who answers later counts in the next reading. So an
//! endpoint that hangs is asked again once its scrape is given up, and makes one round in several late, never all.
//! Invariant: a reading goes out after every round, good or not; silence is never mistaken for zero.

use crate::curtail::Watts;
use crate::curtail::controller::Input;
use crate::feeds::fetch::{CAP, DEADLINE, FetchError, Fetcher};
use crate::feeds::{Feed, Quality, Reading};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use url::Url;

/// Longest that those who have answered wait for those who have not: exporters answer in milliseconds, and a job on the
/// GPUs is to be seen within a second or two.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most scrapes at a time: were every text as long as it may be, half a gigabyte. As many must hang before they delay
/// the others, on a site that has more.
const AT_ONCE: usize = 128;

/// What a feed's task is given.
pub struct Start {
    /// Where it is scraped, and what the text there means; readings are added up.
    pub feeds: Vec<(Url, Box<dyn Feed>)>,
    /// How often.
    pub every: Duration,
    /// What the controller makes of a reading.
    pub input: fn(&Reading) -> Input,
    /// To the controller's task.
    pub readings_tx: mpsc::Sender<Input>,
    /// For `https`.
    pub fetcher: Fetcher,
}

/// Runs until nobody listens.
pub async fn run(start: Start) {
    let mut beats = interval(start.every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (every, readings_tx) = (start.every, start.readings_tx.clone());
    let mut rounds = Rounds::new(start);
    // When the round ends at the latest, while there is one.
    let mut until: Option<Instant> = None;
    loop {
        let end = until.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            Some(scraped) = rounds.scrapes.join_next() => {
                rounds.scraped(scraped.expect("a scrape neither panics nor is aborted"));
            }
            () = sleep_until(end.into()), if until.is_some() => {}
            _ = beats.tick(), if until.is_none() => {
                rounds.begin();
                until = Some(Instant::now() + every.min(PATIENCE));
            }
        }
        let is_over = until.is_some_and(|at| rounds.waited_for == 0 || Instant::now() >= at);
        if is_over {
            until = None;
            let input = rounds.end();
            if readings_tx.send(input).await.is_err() {
                return;
            }
        }
    }
}

/// The endpoints, and the scrapes under way.
struct Rounds {
    endpoints: Vec<Endpoint>,
    input: fn(&Reading) -> Input,
    fetcher: Fetcher,
    turns: Arc<Semaphore>,
    scrapes: JoinSet<Scraped>,
    round: u64,
    /// Scrapes begun in this round and under way.
    waited_for: usize,
    told: Quality,
}

struct Endpoint {
    url: Url,
    feed: Box<dyn Feed>,
    is_scraped: bool,
}

/// How a scrape ended.
struct Scraped {
    endpoint: usize,
    round: u64,
    text: Result<String, FetchError>,
}

impl Rounds {
    fn new(start: Start) -> Self {
        let endpoint = |(url, feed)| Endpoint {
            url,
            feed,
            is_scraped: false,
        };
        Self {
            endpoints: start.feeds.into_iter().map(endpoint).collect(),
            input: start.input,
            fetcher: start.fetcher,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            scrapes: JoinSet::new(),
            round: 0,
            waited_for: 0,
            told: Quality::Good,
        }
    }

    fn begin(&mut self) {
        self.round += 1;
        self.waited_for = 0;
        for (endpoint, one) in self.endpoints.iter_mut().enumerate() {
            if std::mem::replace(&mut one.is_scraped, true) {
                continue;
            }
            self.waited_for += 1;
            let (fetcher, turns, url) = (self.fetcher.clone(), self.turns.clone(), one.url.clone());
            let round = self.round;
            self.scrapes.spawn(async move {
                let turn = turns.acquire().await;
                let text = fetcher.fetch(&url, DEADLINE, CAP).await;
                drop(turn);
                Scraped {
                    endpoint,
                    round,
                    text,
                }
            });
        }
    }

    fn scraped(&mut self, scraped: Scraped) {
        let Endpoint {
            url,
            feed,
            is_scraped,
        } = &mut self.endpoints[scraped.endpoint];
        *is_scraped = false;
        self.waited_for -= usize::from(scraped.round == self.round);
        match scraped.text {
            Ok(text) => feed.handle_text(Instant::now(), &text),
            Err(error) => {
                tracing::debug!(%url, %error, "no reading");
                feed.handle_miss(Instant::now());
            }
        }
    }

    fn end(&mut self) -> Input {
        let now = Instant::now();
        let reading = together(self.endpoints.iter().map(|one| one.feed.reading(now)));
        if std::mem::replace(&mut self.told, reading.quality) != reading.quality {
            let url = self.endpoints.first().map(|one| one.url.as_str());
            tracing::warn!(url, quality = ?reading.quality, "power telemetry changed in quality");
        }
        (self.input)(&reading)
    }
}

/// The sum, as good as its worst part.
fn together(readings: impl Iterator<Item = Reading>) -> Reading {
    let none = Reading {
        watts: Some(Watts::ZERO),
        quality: Quality::Good,
        at: None,
    };
    readings.fold(none, |sum, one| Reading {
        watts: sum.watts.zip(one.watts).map(|(sum, one)| sum + one),
        quality: sum.quality.max(one.quality),
        at: sum.at.into_iter().chain(one.at).min(),
    })
}

#[cfg(test)]
mod tests;
