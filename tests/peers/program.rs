//! A program of somebody else's: started with a configuration of ours, its log kept, killed when dropped.
//!
//! It knows nothing of what the program is. Invariant: no program outlives the test that started it, and one that ends
//! by itself fails the test with its last words.

use crate::lab::PATIENCE;
use crate::wait::within;
use std::cell::RefCell;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Ports below those that the system deals out (32768 and up), so that nobody gets one of ours meanwhile.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// Running.
pub struct Program {
    name: &'static str,
    child: RefCell<Child>,
    folder: TempDir,
}

impl Program {
    /// Starts it with this text as its configuration file.
    pub fn start(name: &'static str, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, config).expect("an empty folder");
        let log = File::create(folder.path().join("log")).expect("an empty folder");
        let both = log.try_clone().expect("an open file");
        let child = Command::new(binary(name))
            .arg("-c")
            .arg(&path)
            .current_dir(folder.path())
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(both)
            .spawn();
        Self {
            name,
            child: RefCell::new(child.unwrap_or_else(|e| panic!("{name}: {e}"))),
            folder,
        }
    }

    /// Every line so far in which all these words stand.
    pub fn said(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        let lines = log.lines();
        let hits = lines.filter(|line| words.iter().all(|word| line.contains(word)));
        hits.map(str::to_owned).collect()
    }

    /// Waits for such a line.
    pub fn says(&self, words: &[&str]) -> String {
        within(PATIENCE, &format!("{} says {words:?}", self.name), || {
            self.alive();
            self.said(words).into_iter().next()
        })
    }

    /// Waits until it is no more.
    pub fn ends(&self) {
        within(PATIENCE, &format!("{} ends", self.name), || {
            let ended = self.child.borrow_mut().try_wait();
            ended.expect("a child of ours").map(drop)
        });
    }

    /// Fails the test, with its last words, if it is no more.
    pub fn alive(&self) {
        let ended = self.child.borrow_mut().try_wait();
        if let Ok(Some(status)) = ended {
            panic!("{} has ended: {status}", self.name);
        }
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).expect("its log");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        // It may be gone already.
        drop(child.kill());
        drop(child.wait());
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = lines.len().saturating_sub(60);
            eprintln!("--- the end of {}'s log", self.name);
            lines[last..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// An address that nobody listens on.
pub fn free_address() -> SocketAddr {
    // Every test is a process: each begins elsewhere.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = std::process::id().wrapping_mul(37).wrapping_add(step);
        let port = PORTS.start + at % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("below 32,000");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("it is bound");
        }
    }
}

fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("SLUICE_PEERS").map(PathBuf::from);
    // Beside the folder that cargo gives tests: target/tmp.
    let built = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers");
    let binary = folder.unwrap_or_else(built).join(name);
    assert!(
        binary.exists(),
        "{} is not there: run tests/peers/install",
        binary.display()
    );
    binary
}
