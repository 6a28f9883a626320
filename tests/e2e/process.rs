//! The `sluice` binary as a child process: what it says, how it ends. Killed when dropped.

use crate::lab::{PATIENCE, within};
use crate::wait::looking;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// The binary with these arguments, in no surroundings of ours.
pub fn sluice(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Output {
    sluice(args).output().expect("the binary starts")
}

/// Standard error and standard output as text.
pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

impl Process {
    pub fn start(args: &[&str]) -> Self {
        let mut command = sluice(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().expect("piped"), lines.clone());
        collect(child.stderr.take().expect("piped"), lines.clone());
        Self { child, lines }
    }

    /// Waits for a line with these words in it.
    pub fn says(&self, words: &str) -> String {
        let what = || format!("{words:?} in {:?}", self.said());
        looking(Duration::from_millis(5), PATIENCE, what, || {
            self.said().into_iter().find(|line| line.contains(words))
        })
    }

    pub fn said(&self) -> Vec<String> {
        self.lines.lock().expect("plain pushes").clone()
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("our own child");
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Waits for its end; the exit code.
    pub fn ends(&mut self, limit: Duration) -> i32 {
        let status = within(limit, "the process ends", || {
            self.child.try_wait().expect("our own child")
        });
        status.code().expect("it was not killed")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // gone already is as good
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().expect("plain pushes").push(line);
        }
    });
}
