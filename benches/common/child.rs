//! The processes of the benchmark and how they talk: one command line in, one JSON line out.
//!
//! Both ends are here: `serve` is what a child does, `Helper` is the parent's handle of one of
//! our own, `start_proxy` starts the server under test, which speaks no such protocol.
//! Invariant: a child lives no longer than its `Process`.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a proxy may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The child's side: says hello, then answers each command until standard input ends.
pub(crate) fn serve(hello: &Value, mut answer: impl FnMut(&[&str]) -> Value) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{hello}")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        writeln!(stdout, "{}", answer(&words))?;
    }
    Ok(())
}

/// A child process, ended when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Error if the process has ended by itself.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("the server ended: {status}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal(&self.child, rustix::process::Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts the server under test on a configuration file. Its log goes to our standard error.
pub(crate) fn start_proxy(config: &Path, environment: &[(String, String)]) -> io::Result<Process> {
    let child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["run", "-c"])
        .arg(config)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Process { child })
}

/// One of our own processes: this same executable with a hidden sub-command.
pub(crate) struct Helper {
    process: Process,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) hello: Value,
}

impl Helper {
    pub(crate) fn start(role: &[&str]) -> io::Result<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).args(role))
    }

    /// The same, where the caller has a say in how this executable is started.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = child.stdout.take().expect("stdout was asked for");
        let mut helper = Self {
            process: Process { child },
            stdin,
            stdout: BufReader::new(stdout),
            hello: Value::Null,
        };
        helper.hello = helper.read()?;
        Ok(helper)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The port it said it listens on.
    pub(crate) fn port(&self) -> u16 {
        let port = self.hello["port"].as_u64().expect("servers say their port");
        u16::try_from(port).expect("a port has 16 bits")
    }

    /// Sends a command and waits for its answer; an answer that is an `error` is one.
    pub(crate) fn ask(&mut self, command: &str) -> io::Result<Value> {
        writeln!(self.stdin, "{command}")?;
        let answer = self.read()?;
        match answer["error"].as_str() {
            Some(error) => Err(io::Error::other(format!("{command}: {error}"))),
            None => Ok(answer),
        }
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a helper process ended"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// A figure in a helper's answer.
pub(crate) fn number(answer: &Value, key: &str) -> io::Result<f64> {
    answer[key]
        .as_f64()
        .ok_or_else(|| io::Error::other(format!("no {key} in {answer}")))
}

/// Counts the system calls a process enters, with perf, where perf may.
pub(crate) struct CallCounter {
    perf: Child,
}

impl CallCounter {
    /// `None`: no perf, or not allowed; the figure is then left out.
    pub(crate) fn attach(pid: u32) -> Option<Self> {
        let perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p"])
            .arg(pid.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        // perf says nothing when it has attached; it takes a few tens of milliseconds.
        std::thread::sleep(Duration::from_millis(300));
        Some(Self { perf })
    }

    /// System calls since `attach`.
    pub(crate) fn stop(self) -> Option<u64> {
        signal(&self.perf, rustix::process::Signal::INT);
        let output = self.perf.wait_with_output().ok()?;
        let text = String::from_utf8(output.stderr).ok()?;
        let line = text.lines().find(|line| line.contains("sys_enter"))?;
        line.split(',').next()?.parse().ok()
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).expect("Linux process ids are below 2^22");
    let pid = rustix::process::Pid::from_raw(pid).expect("a child's id is not 0");
    // A child that has ended already needs no signal.
    let _ = rustix::process::kill_process(pid, signal);
}
