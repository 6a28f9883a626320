//! What a process costs, read from /proc; and the descriptor limit of our own.
//!
//! Not a profiler. Invariant: a figure covers all threads of the process, user and system.

use std::fs;
use std::io;
use std::time::Duration;

/// Ticks per second of /proc/PID/stat: USER_HZ is 100 on every Linux that Rust runs on.
const TICKS_PER_S: u64 = 100;

/// CPU time so far of all living threads, in nanosecond steps where the kernel keeps schedstat,
/// else in ticks of 10 ms.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    match cpu_schedstat(pid) {
        Ok(time) => Ok(time),
        Err(_) => cpu_ticks(pid),
    }
}

fn cpu_schedstat(pid: u32) -> io::Result<Duration> {
    let mut total_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        total_ns += number(text.split_whitespace().next())?;
    }
    Ok(Duration::from_nanos(total_ns))
}

fn cpu_ticks(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces: count fields after it (proc(5): 14 and 15).
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(11);
    let ticks = number(fields.next())? + number(fields.next())?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_S))
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    number(line.and_then(|line| line.split_whitespace().nth(1)))
}

/// Raises the soft descriptor limit to the hard one, which children inherit; returns it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

fn number(field: Option<&str>) -> io::Result<u64> {
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("a field of /proc is not as documented"))
}
