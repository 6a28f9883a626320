//! Two ends of a pipe, one of them sometimes by hand. What Noise itself refuses is tested with `stratum::v2::noise`.

use super::*;
use crate::stratum::v2::noise::{Authority, CertificateError, OpenError};
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpStream;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn frames_pass_both_ways_through_a_pipe_narrower_than_a_frame() {
    let (mut miner, mut pool) = connected(7).await;
    let frames = [frame(0, 1), frame(1500, 2), frame(3, 3)].concat();
    let (sent, came) = tokio::join!(
        async {
            miner.write_all(&frames).await?;
            miner.flush().await
        },
        read(&mut pool, frames.len()),
    );
    sent.expect("taken");
    assert!(came == frames);
    let (sent, came) = tokio::join!(
        async {
            pool.write_all(&frames).await?;
            pool.flush().await
        },
        read(&mut miner, frames.len()),
    );
    sent.expect("taken");
    assert!(came == frames);
    assert_eq!((miner.held_bytes(), pool.held_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_frame_may_be_written_byte_by_byte_and_read_so() {
    let (mut miner, mut pool) = connected(1 << 16).await;
    let frames = [frame(40, 1), frame(0, 2), frame(1, 3)].concat();
    for byte in &frames {
        miner.write_all(&[*byte]).await.expect("taken");
    }
    for byte in &frames {
        assert_eq!(pool.read_u8().await.expect("comes"), *byte);
    }
    assert_eq!((miner.held_bytes(), pool.held_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_read_before_the_protocol_was_known_are_used() {
    let issuer = issuer();
    let (initiator, hello) = Initiator::new(issuer.public(), &[1; 64]);
    for known in [0, 1, 63, 64] {
        let (mut ours, theirs) = duplex(1024);
        ours.write_all(&hello[known..]).await.expect("taken");
        let stream = respond(theirs, &hello[..known], &issuer).await;
        stream.expect("a hello");
    }
    let (_ours, theirs) = duplex(1024);
    let error = respond(theirs, &[&hello[..], &[0]].concat(), &issuer).await;
    assert!(matches!(error, Err(HandshakeFailed::Chatter)), "{error:?}");
    drop(initiator);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_its_whole_time_is_taken_and_one_a_moment_longer_is_not() {
    let issuer = issuer();
    for (wait, taken) in [
        (HANDSHAKE - Duration::from_millis(1), true),
        (HANDSHAKE + Duration::from_millis(1), false),
    ] {
        let (mut ours, theirs) = duplex(1024);
        let (result, ()) = tokio::join!(respond(theirs, &[7], &issuer), async {
            tokio::time::sleep(wait).await;
            let _ = ours.write_all(&[7; 63]).await;
        });
        assert_eq!(result.is_ok(), taken);
        if let Err(error) = result {
            assert!(matches!(error, HandshakeFailed::Slow), "{error}");
        }
    }
    let (_ours, theirs) = duplex(1024);
    let error = initiate(theirs, issuer.public()).await;
    assert!(matches!(error, Err(HandshakeFailed::Slow)), "{error:?}");
}

// sv2: 4 a pool is spoken to through Noise, and is the one its authority certifies
#[tokio::test(start_paused = true)]
async fn a_server_of_another_authority_is_refused() {
    let issuer = issuer();
    let (miner, pool) = duplex(1024);
    let other = Authority::new([9; 32]).public();
    let (refused, _) = tokio::join!(initiate(miner, other), respond(pool, &[], &issuer));
    let signature = HandshakeError::Certificate(CertificateError::Signature);
    assert!(matches!(refused, Err(HandshakeFailed::Refused(why)) if why == signature));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_full_socket_is_one_write_and_no_more_is_taken() {
    let (mut miner, mut pool) = connected(64).await;
    let frames = frame(1000, 1).repeat(100);
    let first = poll_once(|cx| Pin::new(&mut miner).poll_write(cx, &frames));
    let Poll::Ready(Ok(taken)) = first else {
        panic!("the first write is taken");
    };
    assert!(taken <= WRITE && taken % 1006 == 0, "{taken}");
    let held = miner.held_bytes();
    assert!(held <= WRITE + WRITE / 20, "{held}");
    for _ in 0..3 {
        let more = poll_once(|cx| Pin::new(&mut miner).poll_write(cx, &frames[taken..]));
        assert!(more.is_pending());
        assert!(poll_once(|cx| Pin::new(&mut miner).poll_flush(cx)).is_pending());
    }
    assert_eq!(miner.held_bytes(), held);
    let (flushed, came) = tokio::join!(miner.flush(), read(&mut pool, taken));
    flushed.expect("all left");
    assert!(came == frames[..taken]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_leaves_while_its_writer_only_reads() {
    let (mut miner, mut pool) = connected(64).await;
    let sent = frame(1000, 1);
    let taken = poll_once(|cx| Pin::new(&mut miner).poll_write(cx, &sent));
    assert!(matches!(taken, Poll::Ready(Ok(1006))));
    let reading = async { miner.read_u8().await };
    tokio::select! {
        came = read(&mut pool, sent.len()) => assert!(came == sent),
        byte = reading => panic!("nothing was sent: {byte:?}"),
    }
}

// sv2: 4.5 a failure to decrypt ends the session
#[tokio::test(start_paused = true)]
async fn frames_before_a_changed_byte_are_read_and_then_the_connection_ends() {
    let (miner, mut pool) = connected(1 << 16).await;
    let NoiseStream {
        mut socket,
        mut transport,
        ..
    } = miner;
    let mut sealed = Vec::new();
    transport.seal(&frame(20, 1), &mut sealed).expect("sealed");
    let good = sealed.len();
    transport.seal(&frame(20, 2), &mut sealed).expect("sealed");
    sealed[good + 25] ^= 1;
    socket.write_all(&sealed).await.expect("taken");
    assert!(read(&mut pool, 26).await == frame(20, 1));
    for _ in 0..2 {
        let error = pool.read_u8().await.expect_err("for good");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let inner = error.into_inner().expect("a reason");
        assert_eq!(inner.downcast_ref(), Some(&OpenError::Tag));
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_between_frames_is_an_end_and_within_one_an_error() {
    let (mut miner, mut pool) = connected(1 << 16).await;
    miner.write_all(&frame(20, 1)).await.expect("taken");
    miner.shutdown().await.expect("left");
    assert!(read(&mut pool, 26).await == frame(20, 1));
    assert_eq!(pool.read(&mut [0; 9]).await.expect("an end"), 0);

    let (miner, mut pool) = connected(1 << 16).await;
    let NoiseStream {
        mut socket,
        mut transport,
        ..
    } = miner;
    let mut sealed = Vec::new();
    transport.seal(&frame(20, 1), &mut sealed).expect("sealed");
    socket.write_all(&sealed[..30]).await.expect("taken");
    drop(socket);
    let error = pool.read(&mut [0; 9]).await.expect_err("cut off");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_idle_connection_has_half_a_kilobyte() {
    let bytes = size_of::<NoiseStream<TcpStream>>();
    assert!(bytes <= 512, "{bytes}");
}

async fn connected(pipe: usize) -> (NoiseStream<DuplexStream>, NoiseStream<DuplexStream>) {
    let issuer = issuer();
    let (miner, pool) = duplex(pipe);
    let (miner, pool) = tokio::join!(
        initiate(miner, issuer.public()),
        respond(pool, &[], &issuer)
    );
    (miner.expect("believed"), pool.expect("a hello"))
}

fn issuer() -> Issuer {
    Issuer::new(Authority::new([3; 32]), DAY)
}

async fn read(stream: &mut NoiseStream<DuplexStream>, len: usize) -> Vec<u8> {
    let mut came = vec![0; len];
    stream.read_exact(&mut came).await.expect("it comes");
    came
}

fn poll_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// A frame with `len` bytes of payload.
fn frame(len: usize, fill: u8) -> Vec<u8> {
    let length = &u32::try_from(len).expect("24 bits").to_le_bytes()[..3];
    [&[0, 0x80, 0x1f], length, &vec![fill; len]].concat()
}
