//! The proxy as a process of its own, for what is the process's: its memory, its descriptors, its log.
//!
//! Invariant: the process ends with its `Proxy`, and its standard error is read all the time.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tempfile::NamedTempFile;

/// A running `sluice run`.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) api: SocketAddr,
    log: Option<JoinHandle<String>>,
    _config: NamedTempFile,
}

impl Proxy {
    /// Starts it, with at most so many file descriptors.
    pub(crate) fn start(config: &str, descriptors: Option<u32>) -> Self {
        let mut file = NamedTempFile::with_suffix(".toml").expect("a temporary file");
        // At `warn` it would not say where it listens.
        let config = config.replace("filter = \"warn\"", "filter = \"info\"");
        file.write_all(config.as_bytes()).expect("room for it");
        let limit = descriptors.map_or(String::new(), |most| format!("ulimit -n {most}; "));
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{limit}exec \"$0\" run -c \"$1\""))
            .arg(env!("CARGO_BIN_EXE_sluice"))
            .arg(file.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let stderr = BufReader::new(child.stderr.take().expect("asked for"));
        let (said_tx, said_rx) = mpsc::channel();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines() {
                let line = line.expect("the log is UTF-8");
                let _ = said_tx.send(line.clone()); // nobody listens after the start
                log += &line;
                log.push('\n');
            }
            log
        });
        let told = |before: &str| -> SocketAddr {
            loop {
                let line = said_rx.recv().expect("it says where it is before it ends");
                if let Some((_, address)) = line.split_once(before) {
                    return address.trim().parse().expect("an address");
                }
            }
        };
        let address = told("address=");
        let api = told("url=http://");
        Self {
            child,
            address,
            api,
            log: Some(log),
            _config: file,
        }
    }

    /// Resident memory, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().nth(1));
        figure.and_then(|kib| kib.parse().ok()).expect("a figure")
    }

    /// Drains it; its whole log.
    pub(crate) fn end(&mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it is ours");
        let log = self.log.take().expect("ended once");
        let log = log.join().expect("the reader is well");
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already, unless the test fails
        let _ = self.child.wait();
    }
}
