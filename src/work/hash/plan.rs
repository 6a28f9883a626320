//! Which kernel takes how many shares: the choice for this machine, and the plan that every batch is cut by.
//!
//! Not a measurement of its own: whoever starts the program brings the clock. The invariant: a plan names kernels of this
//! machine only, and there is always one ([`plan`]), chosen by expectation until [`select`] has measured.

use super::kernel::KNOWN;
use super::{Kernel, Lane, Layout, Prepared, Share, WIDEST, kernels, prove};
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times that each kernel is tried in a calibration, in turns, least counts: all together about a millisecond.
const TRIALS: usize = 16;

/// The plan in force, 0 for none yet. All that is shared is this one number, so no order is needed.
static IN_FORCE: AtomicU64 = AtomicU64::new(0);

/// Which kernel comes first for 1, 2, ... 16 shares together.
///
/// | bits 0-3 | 4-7 | ... | 60-63 |
/// |---|---|---|---|
/// | place of the kernel for 1 share, plus one | for 2 | | for 16 and more |
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plan(u64);

/// What was chosen, and why.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The plan, now in force.
    pub plan: Plan,
    /// What a full batch of each kernel took; empty if the choice was forced or the clock stood still.
    pub measured: Vec<(Kernel, Duration)>,
}

/// Why a kernel cannot be forced.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KernelError {
    /// No kernel has this name.
    #[error("there is no hash kernel `{0}`; this machine has {all}, or say auto", all = names())]
    Unknown(Box<str>),
    /// The machine lacks its instructions.
    #[error("this machine lacks the instructions of the hash kernel `{0}`; it has {all}, or say auto", all = names())]
    Missing(&'static str),
}

/// Chooses for all threads, from now on: a kernel by name, or for `None` and `auto` the best by a calibration of about a
/// millisecond on the clock `now`.
///
/// # Errors
/// A name that no kernel has, or none on this machine; the choice stays as it was.
pub fn select(forced: Option<&str>, now: impl FnMut() -> Instant) -> Result<Selected, KernelError> {
    let selected = match forced {
        None | Some("auto") => calibrate(now),
        Some(name) => Selected {
            plan: Plan::forced(find(name)?),
            measured: Vec::new(),
        },
    };
    IN_FORCE.store(selected.plan.0, Ordering::Relaxed);
    Ok(selected)
}

/// The plan in force.
pub fn plan() -> Plan {
    match IN_FORCE.load(Ordering::Relaxed) {
        0 => {
            let plan = Plan::expected();
            IN_FORCE.store(plan.0, Ordering::Relaxed);
            plan
        }
        set => Plan(set),
    }
}

impl Plan {
    /// This kernel for everything, also where another would be better.
    pub fn only(kernel: Kernel) -> Self {
        Self::cut(&[(kernel, 1)])
    }

    /// This kernel for whatever fills it, its narrower kin for the rest.
    pub fn forced(kernel: Kernel) -> Self {
        let costs: Vec<_> = kernel.family().map(|k| (k, k.cycles().into())).collect();
        let mut plan = Self::cut(&costs);
        for n in kernel.width()..=WIDEST {
            plan.set(n, kernel);
        }
        plan
    }

    /// The best by what was measured elsewhere.
    pub fn expected() -> Self {
        let costs: Vec<_> = kernels()
            .filter(|k| k.worth_trying())
            .map(|k| (k, k.cycles().into()))
            .collect();
        Self::cut(&costs)
    }

    /// The cheapest cut of every batch into full or part-filled runs, by what a run of each kernel costs.
    fn cut(costs: &[(Kernel, u64)]) -> Self {
        let mut plan = Self(0);
        let mut best = [0; WIDEST + 1];
        for n in 1..=WIDEST {
            let total =
                |(kernel, cost): &(Kernel, u64)| cost + best[n.saturating_sub(kernel.width())];
            let first = costs.iter().min_by_key(|run| total(run));
            let first = first.expect("there is at least the portable kernel");
            plan.set(n, first.0);
            best[n] = total(first);
        }
        plan
    }

    fn set(&mut self, n: usize, kernel: Kernel) {
        let shift = 4 * (n - 1);
        self.0 &= !(0xf << shift);
        self.0 |= (kernel.place() as u64 + 1) << shift;
    }

    /// The kernel for `n` (at least 1) shares, and how many of them it takes.
    #[inline]
    pub fn next(self, n: usize) -> (Kernel, usize) {
        let place = self.0 >> (4 * (n.clamp(1, WIDEST) - 1)) & 0xf;
        let kernel = Kernel::at(place as usize - 1).expect("a plan names kernels of this machine");
        (kernel, n.min(kernel.width()))
    }
}

/// Times every kernel that may be the best.
fn calibrate(mut now: impl FnMut() -> Instant) -> Selected {
    let branch = [[0x5a; 32]; 12];
    let job = Prepared::new((&[1; 110], &[2; 182]), Layout::WIDE, &branch, (&[3; 32], 4));
    let mut measured: Vec<_> = kernels()
        .filter(|kernel| kernel.worth_trying())
        .map(|kernel| (kernel, Duration::MAX))
        .collect();
    for _ in 0..TRIALS {
        for (kernel, least) in &mut measured {
            let start = now();
            run(*kernel, &job);
            *least = (*least).min(now().saturating_duration_since(start));
        }
    }
    if measured.iter().any(|(_, time)| time.is_zero()) {
        measured.clear();
    }
    let costs: Vec<_> = measured
        .iter()
        .map(|(kernel, time)| {
            (
                *kernel,
                u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 32),
            )
        })
        .collect();
    Selected {
        plan: if costs.is_empty() {
            Plan::expected()
        } else {
            Plan::cut(&costs)
        },
        measured,
    }
}

/// One full batch.
fn run(kernel: Kernel, job: &Prepared) {
    let share = Share {
        en2: [3; 8],
        ntime: 1,
        nonce: 2,
        version: 3,
    };
    let claims = [(Lane(7), share); WIDEST];
    prove(
        Plan::only(kernel),
        job,
        &claims[..kernel.width()],
        |_, root, hash| {
            black_box((root, hash));
        },
    );
}

fn find(name: &str) -> Result<Kernel, KernelError> {
    let present = kernels().find(|kernel| kernel.name() == name);
    let known = KNOWN.iter().find(|code| code.name == name);
    present.ok_or_else(|| match known {
        Some(code) => KernelError::Missing(code.name),
        None => KernelError::Unknown(name.into()),
    })
}

fn names() -> String {
    let names: Vec<_> = kernels().map(Kernel::name).collect();
    names.join(", ")
}

/// As `1 sha-ni, 2 sha-ni-x2, 3-16 sha-ni-x3`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut n = 1;
        while n <= WIDEST {
            let (kernel, _) = self.next(n);
            let end = (n..=WIDEST)
                .take_while(|m| self.next(*m).0 == kernel)
                .count()
                + n
                - 1;
            let comma = if n == 1 { "" } else { ", " };
            match end {
                last if last == n => write!(f, "{comma}{n} {kernel}")?,
                last => write!(f, "{comma}{n}-{last} {kernel}")?,
            }
            n = end + 1;
        }
        Ok(())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({self})")
    }
}
