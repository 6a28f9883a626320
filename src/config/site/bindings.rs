//! Which machine belongs to which group: by the address its firmware answers on, or else by its worker's name.
//!
//! Addresses come first because they say where a machine is wired; names are what someone typed into it. Invariant: no
//! address is in the ranges of two groups.

use crate::curtail::site::GroupId;
use std::net::IpAddr;

/// All bindings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bindings {
    /// One per group, at its index.
    pub of_groups: Vec<Binding>,
    /// First and last address of each range with its group, sorted.
    sorted: Vec<(IpAddr, IpAddr, GroupId)>,
}

/// How the machines of one group are found and spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Where its machines' firmware answers: the only addresses that anything may be written to.
    pub machines: Vec<Range>,
    /// Patterns of worker names, `*` for any characters and `?` for one.
    pub workers: Vec<String>,
    /// Index in `SiteConfig::models`: what a machine is taken for whose firmware does not say.
    pub model: Option<usize>,
    /// What its machines run.
    pub firmware: Firmware,
    /// Most machines that are counted in it: names and addresses beyond are nobody's.
    pub most_machines: usize,
}

/// What the machines of a group run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// Each is asked once, family by family.
    Auto,
    /// This family, by the name of its driver.
    Family(&'static str),
    /// Nothing that can be spoken to: only their work can be withdrawn.
    None,
}

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: IpAddr,
    /// How many bits they share.
    pub prefix: u8,
}

impl Range {
    /// The first address that shares `prefix` bits with this one.
    pub(in crate::config) fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
        match address {
            IpAddr::V4(v4) => IpAddr::from((u32::from(v4) & !host_v4(prefix)).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from((u128::from(v6) & !host_v6(prefix)).to_be_bytes()),
        }
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(v4) => IpAddr::from((u32::from(v4) | host_v4(self.prefix)).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from((u128::from(v6) | host_v6(self.prefix)).to_be_bytes()),
        }
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last()).contains(&address)
    }
}

/// The bits behind the prefix.
fn host_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

fn host_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

impl Bindings {
    /// Sorts the ranges. Those of two groups must not overlap.
    pub(super) fn new(of_groups: Vec<Binding>) -> Self {
        let ranges = (0..).map(GroupId).zip(&of_groups);
        let mut sorted: Vec<_> = ranges
            .flat_map(|(group, binding)| {
                let ends = move |range: &Range| (range.first, range.last(), group);
                binding.machines.iter().map(ends)
            })
            .collect();
        // A range within one before it (of the same group, then) adds nothing: the rest lie side by side.
        sorted.sort_unstable_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
        sorted.dedup_by(|(_, last, _), (_, before, _)| *last <= *before);
        Self { of_groups, sorted }
    }

    /// The group of a machine: that of its address, or else the first (in the order of the file) one of whose patterns
    /// its worker name fits.
    pub fn group_of(&self, address: IpAddr, worker: &str) -> Option<GroupId> {
        self.group_at(address).or_else(|| self.group_named(worker))
    }

    /// The group that an address is in.
    pub fn group_at(&self, address: IpAddr) -> Option<GroupId> {
        let address = address.to_canonical();
        let before = self.sorted.partition_point(|(first, ..)| *first <= address);
        let (_, last, group) = self.sorted[..before].last()?;
        (address <= *last).then_some(*group)
    }

    /// The first group whose patterns a worker name fits.
    pub fn group_named(&self, worker: &str) -> Option<GroupId> {
        let fits = |binding: &Binding| binding.workers.iter().any(|glob| fits(glob, worker));
        let at = self.of_groups.iter().position(fits)?;
        u16::try_from(at).ok().map(GroupId)
    }

    /// Every address that may be spoken to: the ranges of all groups whose machines have firmware to speak to.
    pub fn allowed(&self) -> impl Iterator<Item = Range> {
        let spoken = self
            .of_groups
            .iter()
            .filter(|b| b.firmware != Firmware::None);
        spoken.flat_map(|binding| binding.machines.iter().copied())
    }

    /// How the machines of a group are spoken to.
    pub fn of(&self, group: GroupId) -> Option<&Binding> {
        self.of_groups.get(usize::from(group.0))
    }
}

/// Whether a name fits a pattern. Steps: at most the product of both lengths.
fn fits(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Behind the last star: where the pattern goes on, and what the star has taken so far.
    let mut star = None;
    while of < name.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at + 1, of));
                at += 1;
            }
            Some(c) if *c == b'?' || *c == name[of] => {
                (at, of) = (at + 1, of + 1);
            }
            _ => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, of) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|c| *c == b'*')
}
