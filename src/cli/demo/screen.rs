//! What a person sees while the demo runs: a table redrawn in place on a terminal, a line now and then elsewhere.
//!
//! Decides nothing. Invariant: a frame is at most 23 lines of 79 columns, so that it fits the smallest usual terminal.

use super::{
    pool::{Speech, Speeches},
    power::{PowerStory, kw},
    site::{Look, OPERATOR, Site},
};
use crate::{cli::units, sim::stats::MinerStats, telemetry};
use std::{
    collections::VecDeque,
    fmt::Display,
    io::{IsTerminal, Write},
    time::Duration,
};
use telemetry::units::{count, percent};

/// Between two frames on a terminal.
const FRAME_EVERY: Duration = Duration::from_millis(500);
/// Between two lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Before the first: by then there are shares to tell of.
const FIRST_LINE: Duration = Duration::from_secs(2);
/// Events that a frame shows.
const EVENTS: usize = 6;
/// Over which hashrates are measured: some hundred shares.
const WINDOW: Duration = Duration::from_secs(15);

/// Where the demo is shown.
#[derive(Debug)]
pub(super) struct Screen {
    manner: Manner,
    limit_watts: f64,
    speeches: Speeches,
    intro: [String; 2],
    look_at: [String; 2],
    events: VecDeque<(Duration, String)>,
    samples: VecDeque<(Duration, u128, u128)>,
    drawn: Option<Duration>,
    height: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Frames,
    Lines,
    Silent,
}

impl Screen {
    /// Says what is simulated, what is real, and where to look.
    pub(super) fn new(site: &Site, power: &PowerStory, silent: bool) -> Self {
        let manner = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Manner::Silent,
            (_, true) => Manner::Frames,
            (_, false) => Manner::Lines,
        };
        let api = format!("http://{}", site.api);
        // As it was called, so that the line can be pasted.
        let program = std::env::args().next();
        let program = program.unwrap_or_else(|| "sluice".to_owned());
        let screen = Self {
            manner,
            limit_watts: site.layout.limit_watts,
            speeches: site.speeches,
            intro: [
                "  real       the proxy, its sockets, hashes, verdicts, plans, commands, proofs"
                    .to_owned(),
                "  simulated  machines with firmware, pools, GPU hall, meter; lab difficulty"
                    .to_owned(),
            ],
            look_at: [
                format!("  try        export SLUICE_TOKEN={OPERATOR} A={api}"),
                format!("             {program} curtail status --api $A"),
            ],
            events: VecDeque::new(),
            samples: VecDeque::new(),
            drawn: None,
            height: 0,
        };
        if manner == Manner::Lines {
            write(&format!(
                "Sluice demo: {} machines ({}) -> the proxy on {} -> pool A ({}), pool B ({}) if A is down\n{}\n{}\n",
                site.layout.machines.machines,
                site.speeches,
                site.listener,
                site.pools[0].speech(),
                site.pools[1].speech(),
                screen.intro.join("\n"),
                screen.look_at.join("\n"),
            ));
            write(&format!(
                "             {program} curtail cap 400kW --for 20s --api $A      (or preview, log, miners, pools)\n"
            ));
        }
        screen.lab_times(power);
        // Above the frames, which redraw their own lines only: it is longer than they are wide.
        screen.say(&format!(
            "  V2 miners  {}  (the key is of this run)",
            site.url_v2
        ));
        screen
    }

    /// What would take longer on a farm.
    fn lab_times(&self, power: &PowerStory) {
        if self.manner == Manner::Lines && !power.is_over() {
            write(
                "  shortened  a machine stays off 8 s and on 8 s, and room must last 3 s before any is started;\n             \
                 on a farm 5 min, 10 min and 30 s\n",
            );
        }
    }

    /// Something has happened.
    pub(super) fn event(&mut self, elapsed: Duration, event: &impl Display) {
        if self.manner == Manner::Lines {
            write(&format!("{} * {event}\n", at(elapsed)));
        }
        self.events.push_back((elapsed, event.to_string()));
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    /// A word outside the table.
    pub(super) fn say(&self, text: &str) {
        if self.manner != Manner::Silent {
            write(&format!("{text}\n"));
        }
    }

    /// Shows the site, if it is time to.
    pub(super) fn tick(&mut self, look: &Look) {
        let (first, every) = match self.manner {
            Manner::Frames => (Duration::ZERO, FRAME_EVERY),
            Manner::Lines => (FIRST_LINE, LINE_EVERY),
            Manner::Silent => return,
        };
        let due = self.drawn.map_or(first, |drawn| drawn + every);
        if look.elapsed >= due {
            self.draw(look);
        }
    }

    /// Shows the site.
    pub(super) fn draw(&mut self, look: &Look) {
        self.drawn = Some(look.elapsed);
        let rates = self.rates(look);
        match self.manner {
            Manner::Frames => {
                let lines = self.frame(look, rates);
                write(&redraw(&lines, self.height));
                self.height = lines.len();
            }
            Manner::Lines => write(&self.line(look, rates)),
            Manner::Silent => {}
        }
    }

    /// Hashes per second by the shares that the proxy accepted, and by those that the pools did.
    fn rates(&mut self, look: &Look) -> (f64, f64) {
        let up = look.counted.iter().map(|pool| pool.accepted_hashes).sum();
        let newest = (look.elapsed, look.fleet.accepted_hashes, up);
        self.samples.push_back(newest);
        while self.samples.len() > 2 && self.samples[0].0 + WINDOW < look.elapsed {
            self.samples.pop_front();
        }
        let oldest = self.samples[0];
        let seconds = (newest.0 - oldest.0).as_secs_f64().max(0.1);
        let rate = |newest: u128, oldest: u128| newest.saturating_sub(oldest) as f64 / seconds;
        (rate(newest.1, oldest.1), rate(newest.2, oldest.2))
    }

    fn frame(&self, look: &Look, (down, up): (f64, f64)) -> Vec<String> {
        let fleet = &look.fleet;
        let mut lines = vec![format!(
            "Sluice demo   {} miners -> proxy -> pool A, or B if A is down {}",
            self.speeches,
            at(look.elapsed)
        )];
        lines.extend(self.intro.clone());
        lines.push(String::new());
        lines.extend(self.watts(look));
        lines.push(format!(
            "  shares     {} sent, {} accepted, {} refused{}, 99 % answered within {}",
            count(fleet.submitted),
            count(fleet.accepted),
            count(fleet.rejected_total()),
            stale(fleet),
            p99(fleet),
        ));
        lines.push(format!(
            "  hashrate   {} by shares here, {} by shares at the pools",
            units::show_hashrate(down),
            units::show_hashrate(up)
        ));
        lines.push(String::new());
        lines.push(
            "  POOL  KIND  STATE    MINERS  DIFFICULTY  SENT UP  ACCEPTED  REFUSED  UNKNOWN"
                .to_owned(),
        );
        lines.extend(look.pools.iter().map(pool_row));
        lines.push(String::new());
        let told = |(elapsed, text): &(Duration, String)| format!("{} {text}", at(*elapsed));
        lines.extend(self.events.iter().map(told));
        lines.push(String::new());
        lines.extend(self.look_at.clone());
        lines
    }
}

impl Screen {
    /// The power: all of it, and what mining may have of it.
    fn watts(&self, look: &Look) -> [String; 2] {
        let view = &look.view;
        let limit = view
            .limit_watts
            .map_or_else(|| "-".to_owned(), |w| kw(w.0 as f64));
        [
            format!(
                "  site       {} of {}: mining {}, GPUs {}, other {}",
                kw(look.truth.site_watts),
                kw(self.limit_watts),
                kw(look.truth.mining_watts),
                kw(look.truth.hall_watts),
                kw(look.truth.site_watts - look.truth.mining_watts - look.truth.hall_watts),
            ),
            format!(
                "  mining     may draw {limit} ({}), {} machines hash, {} reserved",
                view.bound_by.as_deref().unwrap_or("no limit"),
                look.hashing,
                kw(view.reserved_watts.0 as f64),
            ),
        ]
    }

    fn line(&self, look: &Look, rates: (f64, f64)) -> String {
        let [site, _] = self.watts(look);
        format!("{}  {}\n", at(look.elapsed), site.trim_start()) + &line(look, rates)
    }
}

fn pool_row(pool: &telemetry::view::Pool) -> String {
    let hashes = |difficulty: f64| (difficulty * telemetry::view::HASHES_PER_DIFFICULTY) as u128;
    format!(
        "  {:4}  {:4}  {:7}  {:>6}  {:>10}  {:>7}  {:>8}  {:>7}  {:>7}",
        pool.name,
        Speech::of_url(&pool.url).to_string(),
        match (pool.up, pool.leases) {
            (false, _) => "DOWN",
            (true, 0) => "standby",
            (true, _) => "mining",
        },
        pool.leases,
        pool.difficulty
            .map_or_else(|| "-".to_owned(), |d| units::show_hashes(hashes(d))),
        count(pool.submitted.shares),
        count(pool.accepted.shares),
        count(pool.rejected.shares),
        count(pool.unknown.shares),
    )
}

fn line(look: &Look, (down, up): (f64, f64)) -> String {
    let fleet = &look.fleet;
    let leases = look
        .pools
        .iter()
        .map(|pool| format!("{} {}", pool.name, pool.leases));
    format!(
        "{}   {} mining ({}), {} shares accepted, {} refused, {} down, {} up, 99 % of replies within {}\n",
        at(look.elapsed),
        fleet.mining,
        leases.collect::<Vec<_>>().join(", "),
        count(fleet.accepted),
        count(fleet.rejected_total()),
        units::show_hashrate(down),
        units::show_hashrate(up),
        p99(fleet),
    )
}

fn stale(fleet: &MinerStats) -> String {
    let sent = fleet.accepted + fleet.rejected_total();
    match (fleet.rejected_total(), fleet.stale()) {
        (0, _) => String::new(),
        (all, stale) => format!(" ({}, {stale} of them stale)", percent(all, sent)),
    }
}

fn p99(fleet: &MinerStats) -> String {
    let edge = fleet.latency.quantile(0.99);
    edge.map_or_else(|| "-".to_owned(), units::show_duration)
}

fn at(elapsed: Duration) -> String {
    format!("{:7.1} s ", elapsed.as_secs_f64())
}

/// Over the last frame: up by its height, each line cleared behind its text, what is left of it cleared.
fn redraw(lines: &[String], height: usize) -> String {
    let up = match height {
        0 => String::new(),
        n => format!("\x1b[{n}A\r"),
    };
    let text: String = lines.iter().map(|l| format!("{l}\x1b[K\n")).collect();
    format!("{up}{text}\x1b[J")
}

/// A closed error stream is nobody's loss.
fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::redraw;

    #[test]
    fn a_frame_is_drawn_over_the_last_one_and_the_first_where_the_cursor_is() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(redraw(&lines, 0), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert!(redraw(&lines, 3).starts_with("\x1b[3A\ra"));
    }
}
