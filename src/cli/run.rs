//! `sluice run`: the proxy, until a signal. SIGTERM and Ctrl-C drain; a second one exits at once.

use super::exit;
use crate::app::{App, Running};
use crate::config::{Config, Listener};
use crate::telemetry::log;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// Where a configuration is looked for when nothing is said.
pub(super) const DEFAULT_FILE: &str = "sluice.toml";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sluice run -c farm.toml\n  sluice run --pool stratum+tcp://pool.example.com:3333 --user account.{worker}\n\nWithout -c and --pool, ./sluice.toml is read. Stop with Ctrl-C or SIGTERM (drains); a second one exits at once."
)]
pub struct Args {
    /// Configuration file (TOML); every key is in config/example.toml
    #[arg(short, long, value_name = "FILE", conflicts_with = "pool")]
    config: Option<PathBuf>,
    /// A pool: stratum+tcp://HOST:PORT, stratum+ssl://HOST:PORT or stratum2+tcp://HOST:PORT/KEY; give it again for a failover
    #[arg(long, value_name = "URL", requires = "user")]
    pool: Vec<String>,
    /// User name at the pool; {worker} stands for the miner's own worker name
    #[arg(long, value_name = "NAME", requires = "pool")]
    user: Option<String>,
    /// Password at the pool
    #[arg(long, value_name = "TEXT", requires = "pool")]
    password: Option<String>,
    /// Where miners connect [default: 0.0.0.0:3333]
    #[arg(long, value_name = "ADDRESS", requires = "pool")]
    listen: Option<SocketAddr>,
}

/// Runs the proxy.
#[expect(
    clippy::needless_pass_by_value,
    reason = "every verb takes its arguments whole"
)]
pub fn main(args: Args) -> ExitCode {
    let loaded = match &args.user {
        Some(user) => Config::from_flags(&args.pool, user, args.password.as_deref(), args.listen),
        None => Config::load(args.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE))),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(findings) => {
            eprintln!("{findings}");
            if args.config.is_none() && args.user.is_none() {
                eprintln!(
                    "Name a file with -c FILE, or give --pool URL --user NAME. `sluice run --help` has examples."
                );
            }
            return ExitCode::from(exit::CONFIG);
        }
    };
    if let Err(error) = log::init(&config.log.filter, config.log.json) {
        eprintln!("sluice: {error}");
        return ExitCode::from(exit::CONFIG);
    }
    warn_of_plaintext(&config);
    warn_of_passwords(&config);
    match App::build(config).and_then(App::start) {
        Ok(running) => supervise(running),
        Err(error) => {
            eprintln!("sluice: {error}");
            ExitCode::from(exit::ENVIRONMENT)
        }
    }
}

fn warn_of_plaintext(config: &Config) {
    for pool in config
        .pools
        .iter()
        .filter(|pool| pool.tls.is_none() && pool.authority.is_none())
    {
        warn!(pool = %pool.link.name, "this pool is reached in plain text: whoever is on the way can redirect the hashrate; prefer stratum2+tcp:// or stratum+ssl://");
    }
}

fn warn_of_passwords(config: &Config) {
    let closed = |listener: &&Listener| listener.session.password.is_some();
    for listener in config.listeners.iter().filter(closed) {
        if config.v2.authority.is_some() {
            warn!(listener = %listener.name, "this listener has a password, for which Stratum V2 has no word: V2 miners get no channel on it");
        }
    }
}

fn supervise(running: Running) -> ExitCode {
    for address in &running.listeners {
        info!(%address, "miners may connect");
        if let Some(key) = running.authority {
            // An address of all interfaces is none that a miner can be given.
            let host = match address.ip() {
                ip if ip.is_unspecified() => "THIS_HOST".to_owned(),
                ip => SocketAddr::new(ip, 0)
                    .to_string()
                    .trim_end_matches(":0")
                    .to_owned(),
            };
            let url = format!("stratum2+tcp://{host}:{}/{key}", address.port());
            info!(%url, "Stratum V2 miners: paste this");
        }
    }
    if running.authority.is_none() {
        info!(
            "Stratum V2 miners are turned away: no authority key (`sluice keys` makes one, `v2.authority_key` names it)"
        );
    }
    if let Some(api) = running.api {
        info!(url = %format_args!("http://{api}"), "API and metrics");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sluice: the system refuses: {error}");
            return ExitCode::from(exit::ENVIRONMENT);
        }
    };
    let (failed, mut signals) = runtime.block_on(async {
        let mut signals = Signals::listen();
        let failed = tokio::select! {
            () = signals.stop_asked() => false,
            () = running.failed() => true,
        };
        (failed, signals)
    });
    if failed {
        error!(
            "a part of the proxy has failed; ending (this is a bug, please report it with the lines above)"
        );
        std::process::exit(70);
    }
    info!("draining; a second signal exits at once");
    std::thread::spawn(move || {
        runtime.block_on(signals.stop_asked());
        std::process::exit(130);
    });
    let board = running.board.clone();
    let clean = running.drain();
    info!("{}", board.log_line(std::time::Instant::now()));
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// SIGTERM and Ctrl-C, listened to once and for all: a second signal right behind the first is not missed.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn listen() -> Self {
        let terminate = signal(SignalKind::terminate()).ok();
        Self(terminate.zip(signal(SignalKind::interrupt()).ok()))
    }

    async fn stop_asked(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else {
            // Without handlers the default action ends the process: nothing to wait for.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
