//! CPU time of threads of this process by their names, and the processor's own name: read from /proc, so Linux only.
//!
//! Not a profiler. Invariant: a figure covers user and system time of every living thread with such a name.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time so far of the threads whose name passes, in nanosecond steps where the kernel keeps schedstat.
///
/// # Errors
/// Where there is no /proc with per-thread accounts.
pub(super) fn of_threads(named: impl Fn(&str) -> bool) -> io::Result<Duration> {
    let mut total_ns = 0;
    let mut found = false;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let Ok(name) = fs::read_to_string(task.join("comm")) else {
            continue; // it has ended meanwhile
        };
        if named(name.trim_end()) {
            found = true;
            total_ns += run_time_ns(&fs::read_to_string(task.join("schedstat"))?)?;
        }
    }
    match found {
        true => Ok(Duration::from_nanos(total_ns)),
        false => Err(io::Error::other("the threads to be measured have ended")),
    }
}

/// The first of the three numbers of a schedstat: time on a CPU (proc(5)).
fn run_time_ns(schedstat: &str) -> io::Result<u64> {
    let field = schedstat.split_whitespace().next();
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("this kernel keeps no CPU time per thread (schedstat)"))
}

/// As the system calls it, if it does.
pub(super) fn model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
