//! What an idle V2 connection and one more channel on it keep resident in a proxy of its own process. Its clients and
//! its pool are here.

use crate::usage;
use sluice::sim::PoolConfig;
use sluice::sim::pool::Pool;
use sluice::stratum::v2::message::{MINING, OpenExtendedMiningChannel, SetupConnection, VERSION};
use sluice::stratum::v2::noise::{Authority, AuthorityPublic};
use sluice::tasks::noise::{self, NoiseStream};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Channels that are opened beside the first on a part of the connections.
const MORE: usize = 15;
const SECRET: [u8; 32] = [1; 32];
const FRAME_OF_JOB: usize = 100;

type Client = NoiseStream<TcpStream>;

pub(crate) fn report(connections: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system allows it");
    let _ = usage::raise_descriptor_limit();
    runtime.block_on(measure(connections));
}

async fn measure(connections: usize) {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let pool = Pool::start(any, PoolConfig::default(), None).expect("loopback has a free port");
    let (mut proxy, address) = proxy(pool.address());
    let authority = Authority::new(SECRET).public();
    // What only the first ones bring (threads' buffers, tables) is not theirs.
    let warm = open(address, authority, connections / 10 + 1).await;
    settle().await;
    let before = usage::resident_kib(proxy.id()).expect("it runs");
    let mut clients = open(address, authority, connections).await;
    settle().await;
    let idle = usage::resident_kib(proxy.id()).expect("it runs");
    let each = (idle - before) as f64 / connections as f64;
    println!("KiB per idle V2 connection with one channel: {each:.2} (must: 32)");
    let part = connections.div_ceil(4);
    for client in &mut clients[..part] {
        for request in 0..MORE {
            let mut bytes = Vec::new();
            channel(2 + request as u32).write(&mut bytes);
            client.write_all(&bytes).await.expect("it is read");
            client.flush().await.expect("it is read");
            hear(client, FRAME_OF_JOB).await;
        }
    }
    settle().await;
    let more = usage::resident_kib(proxy.id()).expect("it runs");
    let each = (more - idle) as f64 / (part * MORE) as f64;
    println!("KiB per further channel: {each:.2} (must: 2)");
    drop((clients, warm));
    let _ = proxy.kill();
    let _ = proxy.wait();
}

/// Long enough for what was freed to be counted; nothing is timed.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

async fn open(address: SocketAddr, authority: AuthorityPublic, connections: usize) -> Vec<Client> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let socket = TcpStream::connect(address).await.expect("it listens");
        let mut client = noise::initiate(socket, authority).await.expect("its key");
        client.set_max(192 << 10);
        let mut bytes = Vec::new();
        SetupConnection {
            protocol: MINING,
            min_version: VERSION,
            max_version: VERSION,
            flags: 0,
            endpoint_host: b"localhost",
            endpoint_port: 3333,
            vendor: b"bench",
            hardware_version: b"",
            firmware: b"",
            device_id: b"",
        }
        .write(&mut bytes);
        channel(1).write(&mut bytes);
        client.write_all(&bytes).await.expect("it is read");
        client.flush().await.expect("it is read");
        hear(&mut client, FRAME_OF_JOB).await;
        clients.push(client);
    }
    clients
}

fn channel(request_id: u32) -> OpenExtendedMiningChannel<'static> {
    OpenExtendedMiningChannel {
        request_id,
        user_identity: b"account.rig",
        nominal_hash_rate: 1e14,
        max_target: [0xff; 32],
        min_extranonce_size: 4,
    }
}

/// Until so many bytes have come: the answers, and the beginning of a job.
async fn hear(client: &mut Client, least: usize) {
    let mut buf = [0; 4096];
    let mut heard = 0;
    while heard < least {
        let read = client.read(&mut buf).await.expect("it speaks");
        assert!(read > 0, "it stays");
        heard += read;
    }
}

fn proxy(pool: SocketAddr) -> (Child, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let file = folder.join("sluice.toml");
    let key = Authority::new(SECRET).secret_text();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[pool]]\nurl = \"stratum+tcp://{pool}\"\nuser = \"acct\"\n\
         [v2]\nauthority_key = \"{key}\"\n[api]\nenabled = false\n[run]\nshards = 1\n[log]\nformat = \"json\"\n\
         [limits]\nothers_per_second = 1000\nother_burst = 1000\n"
    );
    std::fs::write(&file, text).expect("it can be written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["run", "-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = lines
        .find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            let fields = &line["fields"];
            let is_it = fields["message"] == "miners may connect";
            is_it
                .then(|| fields["address"].as_str()?.parse().ok())
                .flatten()
        })
        .expect("it says where it listens");
    // Its log must be read, or it waits.
    std::thread::spawn(move || lines.for_each(drop));
    let _ = std::fs::remove_dir_all(folder);
    (child, address)
}
