//! Asks a Stratum V2 pool whether it is there: name, TCP, Noise with the authority of its URL, and (if wanted) a channel.
//!
//! It never mines and never submits. Invariant: as [`super`]'s: over within its time limits, whatever the pool does.

use super::LOGIN;
use crate::config::Pool;
use crate::proxy::link::Identity;
use crate::stratum::v2::frame::{Frame, Frames, MAX_UP};
use crate::stratum::v2::message::{
    self, FromPool, MINING, Numbers, OpenExtendedMiningChannel, OpenExtendedMiningChannelSuccess,
    RequestExtensions, SetupConnection, VERSION, WORKER_HASHRATE,
};
use crate::stratum::v2::noise::AuthorityPublic;
use crate::tasks::net::{self, Stream};
use crate::work::target::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes of extranonce to ask for first, and what can just be shared among miners (as a link does).
const WANTED: u16 = 8;
const LEAST: u16 = 4;
/// Frames before the channel has its work: a pool that chatters on is not waited for.
const MOST_FRAMES: usize = 1_000;

/// Connects, and opens a channel if wanted; what it gave, in words.
pub(super) fn check(
    pool: &Pool,
    authority: AuthorityPublic,
    login: bool,
) -> Result<Option<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| why.to_string())?;
    runtime.block_on(async {
        let stream = net::connect(&pool.host, pool.port, None, Some(authority)).await?;
        if !login {
            return Ok(None);
        }
        let mut talk = Talk::new(pool);
        let told = tokio::time::timeout(LOGIN, open(stream, &mut talk)).await;
        told.unwrap_or_else(|_| {
            Err(format!(
                "login: not complete after {} s: {}",
                LOGIN.as_secs(),
                talk.words()
            ))
        })?;
        match talk.opened.map(|opened| opened.1) {
            Some(size) if size < LEAST => Err(format!(
                "its extranonce of {size} bytes is too short to share among miners ({LEAST} are needed)"
            )),
            _ => Ok(Some(format!("opened a channel: {}", talk.words()))),
        }
    })
}

async fn open(mut stream: Stream, talk: &mut Talk) -> Result<(), String> {
    let (mut frames, mut chunk) = (Frames::new(MAX_UP), vec![0; 16 * 1024]);
    let mut left = MOST_FRAMES;
    while !talk.is_whole() {
        let wrote = stream.write_all(&std::mem::take(&mut talk.out)).await;
        wrote.map_err(|why| format!("login: {why}"))?;
        let read = stream.read(&mut chunk).await;
        let read = match read.map_err(|why| format!("login: {why}"))? {
            0 => return Err("login: the pool closed the connection".to_owned()),
            read => read,
        };
        let mut rest = &chunk[..read];
        while let Some(frame) = frames.next(&mut rest) {
            let frame = frame.map_err(|why| format!("login: {why}"))?;
            left -= 1;
            if left == 0 {
                return Err("login: much was said and no channel opened".to_owned());
            }
            talk.hear(&frame)?;
        }
        frames.keep(rest);
    }
    Ok(())
}

/// The conversation, and what came of it.
struct Talk {
    user: String,
    asks_extensions: bool,
    out: Vec<u8>,
    asked: u16,
    /// Prefix and extranonce, in bytes, and difficulty.
    opened: Option<(usize, u16, f64)>,
    /// Whether the pool takes a worker's name with each share.
    names: bool,
    /// Whether its job lets versions be rolled.
    rolling: Option<bool>,
    prev_hash: bool,
}

impl Talk {
    fn new(pool: &Pool) -> Self {
        let mut talk = Self {
            user: pool.link.user.replace("{worker}", "check"),
            asks_extensions: pool.link.identity == Identity::Worker,
            out: Vec::new(),
            asked: 0,
            opened: None,
            names: false,
            rolling: None,
            prev_hash: false,
        };
        let setup = SetupConnection {
            protocol: MINING,
            min_version: VERSION,
            max_version: VERSION,
            flags: 0,
            endpoint_host: message::clip(&pool.host),
            endpoint_port: pool.port,
            vendor: b"sluice",
            hardware_version: b"check",
            firmware: concat!("sluice/", env!("CARGO_PKG_VERSION")).as_bytes(),
            device_id: b"",
        };
        setup.write(&mut talk.out);
        talk
    }

    fn is_whole(&self) -> bool {
        self.opened.is_some() && self.rolling.is_some() && self.prev_hash
    }

    fn hear(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let refused =
            |what: &str, code: &[u8]| Err(format!("{what} refused: {:?}", message::text(code)));
        let message = FromPool::parse(frame)
            .map_err(|why| format!("login: the pool sent something else: {why}"))?;
        match message {
            Some(FromPool::SetupConnectionSuccess(_)) if self.asked == 0 => self.set_up(),
            Some(FromPool::SetupConnectionError(told)) => return refused("login", told.error_code),
            Some(FromPool::RequestExtensionsSuccess(told)) => {
                let granted = told.supported_extensions.iter();
                self.names |= granted.take(64).any(|one| one == WORKER_HASHRATE);
            }
            Some(FromPool::OpenMiningChannelError(_)) if self.asked > LEAST => self.ask(LEAST),
            Some(FromPool::OpenMiningChannelError(told)) => {
                return refused("a channel was", told.error_code);
            }
            Some(FromPool::OpenExtendedMiningChannelSuccess(told)) => self.opened(&told),
            Some(FromPool::NewExtendedMiningJob(job)) => {
                self.rolling = Some(job.version_rolling_allowed);
            }
            Some(FromPool::SetNewPrevHash(_)) => self.prev_hash = true,
            _ => {}
        }
        Ok(())
    }

    /// Who has no extensions may stay silent, so the channel is asked for in the same breath.
    fn set_up(&mut self) {
        if self.asks_extensions {
            let request = RequestExtensions {
                request_id: 1,
                requested_extensions: Numbers(&[WORKER_HASHRATE.to_le_bytes()]),
            };
            request.write(&mut self.out);
        }
        self.ask(WANTED);
    }

    fn ask(&mut self, size: u16) {
        self.asked = size;
        let open = OpenExtendedMiningChannel {
            request_id: size.into(),
            user_identity: message::clip(&self.user),
            nominal_hash_rate: 0.0,
            max_target: [0xff; 32],
            min_extranonce_size: size,
        };
        open.write(&mut self.out);
    }

    fn opened(&mut self, told: &OpenExtendedMiningChannelSuccess<'_>) {
        self.opened = Some((
            told.extranonce_prefix.len(),
            told.extranonce_size,
            Target::from_le_bytes(&told.target).difficulty(),
        ));
    }

    fn words(&self) -> String {
        let Some((prefix, size, difficulty)) = self.opened else {
            return match self.asked {
                0 => "SetupConnection is not answered".to_owned(),
                _ => "no channel was opened".to_owned(),
            };
        };
        let mut words = format!("extranonce {prefix} + {size} bytes, difficulty {difficulty}");
        words += match (self.rolling, self.prev_hash) {
            (Some(true), true) => "",
            (Some(false), true) => ", no version rolling",
            _ => ", and no work yet",
        };
        words += match (self.asks_extensions, self.names) {
            (false, _) => "",
            (true, true) => ", takes the names of workers (extension 0x0002)",
            (true, false) => {
                ", takes no names with shares: each worker will have a channel of its own"
            }
        };
        words
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use crate::config::{Config, Pool};
    use crate::sim::v2::{self, Extensions, PoolConfigV2, pool::PoolHandleV2};
    use std::net::Ipv4Addr;
    use tokio::sync::oneshot;

    #[test]
    fn a_pool_with_the_authority_of_its_url_is_silent_and_one_with_another_is_found() {
        let (_running, sim) = serve(PoolConfigV2::default());
        assert_eq!(found(&pool(&sim.url()), false), [""; 0]);
        let (_other, other) = serve(PoolConfigV2 {
            seed: 2,
            ..PoolConfigV2::default()
        });
        let wrong = format!("stratum2+tcp://{}/{}", sim.address(), other.authority());
        let found = found(&pool(&wrong), false);
        let start = "pool.127.0.0.1.url: the Noise handshake: ";
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    }

    #[test]
    fn a_login_tells_what_the_channel_has() {
        let config = PoolConfigV2 {
            difficulty: 1024.0,
            ..PoolConfigV2::default()
        };
        let (_running, sim) = serve(config.clone());
        let told = "note: pool.127.0.0.1.url: opened a channel: extranonce 4 + 8 bytes, difficulty 1024, takes";
        let names = format!("{told} the names of workers (extension 0x0002)");
        assert_eq!(found(&pool(&sim.url()), true), [names]);
        let (_running, silent) = serve(PoolConfigV2 {
            extensions: Extensions::Silent,
            ..config
        });
        let found = found(&pool(&silent.url()), true);
        assert!(
            found[0].starts_with(&format!("{told} no names")),
            "{found:?}"
        );
    }

    #[test]
    fn a_refusal_is_found_in_the_pools_words() {
        let (_running, sim) = serve(PoolConfigV2 {
            refuses_users: Some("check".to_owned()),
            ..PoolConfigV2::default()
        });
        assert_eq!(
            found(&pool(&sim.url()), true),
            ["pool.127.0.0.1.url: a channel was refused: \"unknown-user\""]
        );
    }

    #[test]
    fn four_bytes_of_extranonce_suffice_and_three_do_not() {
        let of = |extranonce_size| {
            let (_running, sim) = serve(PoolConfigV2 {
                extranonce_size,
                ..PoolConfigV2::default()
            });
            found(&pool(&sim.url()), true).concat()
        };
        let (four, three) = (of(4), of(3));
        assert!(four.contains("extranonce 4 + 4 bytes"), "{four}");
        assert!(three.contains("refused"), "{three}");
    }

    /// A pool on a thread of its own, until the first of the pair is dropped.
    fn serve(config: PoolConfigV2) -> (oneshot::Sender<()>, PoolHandleV2) {
        let (sim_tx, sim_rx) = std::sync::mpsc::channel();
        let (end_tx, end_rx) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let any = (Ipv4Addr::LOCALHOST, 0).into();
                let sim = v2::pool::start(any, config).expect("loopback has a free port");
                sim_tx.send(sim).expect("the test waits for it");
                let _ = end_rx.await;
            });
        });
        (end_tx, sim_rx.recv().expect("it started"))
    }

    fn pool(url: &str) -> Pool {
        let text = format!("[[pool]]\nurl = \"{url}\"\nuser = \"a.{{worker}}\"\n");
        let config = Config::from_toml("x", &text, &|_| None).expect("valid");
        config.pools.into_iter().next().expect("one")
    }

    fn found(pool: &Pool, login: bool) -> Vec<String> {
        check(pool, login).iter().map(ToString::to_string).collect()
    }
}
