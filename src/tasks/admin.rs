//! The API on a thread and a runtime of its own: a browser can take no time from shares. Also the heartbeat, which
//! says in the log how the site is. Invariant: nothing here is on the path of a share or a job.

mod bounded;

use crate::api::{self, Api};
use crate::config;
use crate::telemetry::Board;
use bounded::{Bounded, Times};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How long answers under way may take at the end; a scrape takes milliseconds.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often the heartbeat looks: waves are told by the minute.
const BEAT: Duration = Duration::from_secs(60);
/// Every so many beats the site is put into one line: 144 lines a day.
const BEATS_PER_LINE: u64 = 10;

/// Binds, then serves on a thread until cancelled; `site` is the control channel, where one is configured. The address is the one bound (port 0 becomes a real one).
///
/// # Errors
/// The address cannot be bound, and what to do; or no thread can be had.
pub fn spawn(
    config: &config::Api,
    board: Arc<Board>,
    site: Option<api::Site>,
    cancel: CancellationToken,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(config.address).map_err(|e| explain(config.address, &e))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let api = Api {
        board,
        worker_metrics: config.worker_metrics,
        bound: address.ip(),
        site,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(run(listener, api, cancel)))?;
    Ok((address, thread))
}

fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the API address {address} is taken: another program, or another Sluice, listens there; \
             stop it or choose another address under [api], or in SLUICE__API__LISTEN"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "the API address {address} is not allowed for this user; choose a port above 1023 under [api]"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "the API address {address} is not an address of this machine; choose 127.0.0.1 under [api]"
        ),
        _ => format!("the API cannot listen on {address}: {error}"),
    };
    io::Error::new(error.kind(), text)
}

async fn run(listener: TcpListener, api: Api, cancel: CancellationToken) {
    let beat = heartbeat(api.board.clone());
    tokio::select! {
        () = serve(listener, api, cancel.clone()) => {}
        () = beat => {}
        () = goodbye(&cancel) => {}
    }
}

async fn goodbye(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GOODBYE).await;
}

async fn serve(listener: TcpListener, api: Api, cancel: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => Bounded::new(listener, Times::default()),
        Err(error) => return error!(%error, "the API cannot be served"),
    };
    let served = axum::serve(listener, api::router(api))
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await;
    if let Err(error) = served {
        error!(%error, "the API has ended");
    }
}

/// Says how the site is: every minute what needs a look (waves, pools that disagree with us), every ten in one line.
/// [`spawn`] runs it; whoever has no API runs it alone. Ends never.
pub async fn heartbeat(board: Arc<Board>) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.tick().await;
    for beat in 1_u64.. {
        beats.tick().await;
        say(&board, beat, Instant::now());
    }
}

fn say(board: &Board, beat: u64, now: Instant) {
    if let Some(wave) = board.wave() {
        info!("{wave}");
    }
    if !beat.is_multiple_of(BEATS_PER_LINE) {
        return;
    }
    info!("{}", board.log_line(now));
    if !board.conserves() {
        error!("the sums of shares do not add up (I6): please report this with your version");
    }
    // As often as the window is long, twice: an alarm that lasts is not news every minute.
    for (link, pool) in board.pool_names() {
        if let Some(part) = board.divergence(link, now) {
            let percent = part * 100.0;
            warn!(
                pool,
                "rejects {percent:.1} % of the work that we accepted over the last 5 minutes; see `sluice pools`"
            );
        }
    }
}

#[cfg(test)]
mod tests;
