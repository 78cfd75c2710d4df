//! The same tests over real QUIC on loopback and over the in-memory twin.
#![allow(clippy::unwrap_used)]

mod authority;

use std::time::{Duration, Instant};

use authority::{Authority, PATIENCE, device, listen, quick};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use twinmask_transport::{Client, CloseReason, Connection, Role, StreamError, TransportError, memory_pair, sever};

/// Two connected ends, and a way to kill the edge without a word.
struct Pair {
    device: Connection,
    edge: Connection,
    /// QUIC: where the edge's endpoint runs.
    host: Option<Runtime>,
}

impl Pair {
    fn in_memory() -> Pair {
        let (device, edge) = memory_pair(device(), Role::EdgeA);
        Pair { device, edge, host: None }
    }

    async fn over_quic() -> Pair {
        let authority = Authority::new("owner");
        let (edge, own) = (authority.issue(&Role::EdgeA), authority.issue(&device()));
        let host = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tell, address) = tokio::sync::oneshot::channel();
        let accepted = host.spawn(async move {
            let (mut server, address) = listen(edge, quick()).await;
            tell.send(address).unwrap();
            server.accept().await.unwrap().unwrap()
        });
        let device = Client::connect(&address.await.unwrap(), &Role::EdgeA, &own, &quick(), PATIENCE).await.unwrap();
        Pair { device, edge: accepted.await.unwrap(), host: Some(host) }
    }

    fn kill_edge(&mut self) {
        match self.host.take() {
            Some(host) => host.shutdown_background(),
            None => assert!(sever(&self.edge)),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            host.shutdown_background();
        }
    }
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod quic {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let pair = super::Pair::over_quic().await;
                tokio::time::timeout(super::PATIENCE, super::$name(pair)).await.expect("the test hangs");
            })*
        }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                tokio::time::timeout(super::PATIENCE, super::$name(super::Pair::in_memory())).await.expect("the test hangs");
            })*
        }
    };
}

on_both! {
    peers_are_known
    a_megabyte_comes_back
    streams_do_not_mix
    both_sides_open_streams
    close_code_and_text_arrive
    what_a_peer_says_cannot_reach_a_terminal
    dropping_all_handles_closes
    reset_and_stop_codes_arrive
    finishing_twice_is_an_error
    a_cancelled_accept_loses_nothing
    a_killed_edge_is_noticed
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|i| ((i * 31) ^ (i >> 8) ^ (seed * 97)) as u8).collect()
}

/// Sends back all that comes on every stream, last byte first.
async fn mirror(edge: Connection) {
    while let Ok((mut send, mut recv)) = edge.accept_bi().await {
        tokio::spawn(async move {
            let mut data = Vec::new();
            recv.read_to_end(&mut data).await.unwrap();
            data.reverse();
            send.write_all(&data).await.unwrap();
            send.finish().unwrap();
        });
    }
}

async fn ask(connection: &Connection, question: &[u8]) -> Vec<u8> {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let ask = async {
        send.write_all(question).await.unwrap();
        send.finish().unwrap();
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(ask, recv.read_to_end(&mut answer));
    read.unwrap();
    answer
}

async fn peers_are_known(pair: Pair) {
    assert_eq!(pair.device.peer().role, Role::EdgeA);
    assert_eq!(pair.edge.peer().role, device());
    assert_ne!(pair.device.peer().key_fingerprint, pair.edge.peer().key_fingerprint);
    assert_eq!((pair.device.close_reason(), pair.edge.close_reason()), (None, None));
}

async fn a_megabyte_comes_back(pair: Pair) {
    tokio::spawn(mirror(pair.edge.clone()));
    let question = pattern(1 << 20, 1);
    let mut expected = question.clone();
    expected.reverse();
    assert!(ask(&pair.device, &question).await == expected);
    let (sent, received) = pair.device.udp_bytes();
    assert!(sent >= 1 << 20 && received >= 1 << 20, "{sent} sent, {received} received");
    assert!(sent < 2 << 20 && received < 2 << 20, "{sent} sent, {received} received");
}

async fn streams_do_not_mix(pair: Pair) {
    tokio::spawn(mirror(pair.edge.clone()));
    let mut asking = tokio::task::JoinSet::new();
    for seed in 0..12 {
        let device = pair.device.clone();
        asking.spawn(async move {
            let question = pattern(1 + seed * 9_999, seed);
            let mut expected = question.clone();
            expected.reverse();
            assert!(ask(&device, &question).await == expected, "stream {seed}");
        });
    }
    assert_eq!(asking.join_all().await.len(), 12);
}

async fn both_sides_open_streams(pair: Pair) {
    tokio::spawn(mirror(pair.device.clone()));
    assert_eq!(ask(&pair.edge, b"abc").await, b"cba");
}

async fn close_code_and_text_arrive(pair: Pair) {
    let (mut send, mut recv) = pair.device.open_bi().await.unwrap();
    send.write_all(b"?").await.unwrap();
    let (_their_send, mut their_recv) = pair.edge.accept_bi().await.unwrap();
    assert_eq!(their_recv.read_u8().await.unwrap(), b'?');

    let reading = tokio::spawn(async move { recv.read_u8().await.unwrap_err() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    pair.edge.close(4711, "unknown model");
    pair.edge.close(1, "only the first counts");

    let seen = CloseReason::Peer { code: 4711, text: "unknown model".to_owned() };
    assert_eq!(pair.device.closed().await, seen);
    assert_eq!(pair.device.close_reason().as_ref(), Some(&seen));
    assert_eq!(pair.edge.closed().await, CloseReason::Local);
    assert_eq!(StreamError::of(&reading.await.unwrap()), Some(&StreamError::Connection(seen.clone())));
    let refused = pair.device.open_bi().await.err().unwrap();
    assert!(matches!(&refused, TransportError::Closed { reason, .. } if *reason == seen), "{refused}");
    assert!(refused.to_string().contains("edge-a at 127.0.0.1") && refused.to_string().contains("4711: unknown model"));
    let refused = pair.edge.accept_bi().await.err().unwrap();
    assert!(matches!(&refused, TransportError::Closed { reason: CloseReason::Local, .. }), "{refused}");
}

async fn what_a_peer_says_cannot_reach_a_terminal(pair: Pair) {
    pair.edge.close(5, "\x1b[2Jgone\r\n\u{202e}\u{200b}");
    let reason = pair.device.closed().await.to_string();
    assert!(reason.ends_with(r"5: \u{1b}[2Jgone\u{d}\u{a}\u{202e}\u{200b}"), "{reason}");
}

async fn dropping_all_handles_closes(mut pair: Pair) {
    let (unused, _) = memory_pair(device(), Role::EdgeB);
    let clone = std::mem::replace(&mut pair.device, unused);
    let other = clone.clone();
    drop(clone);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pair.edge.close_reason(), None);
    drop(other);
    assert_eq!(pair.edge.closed().await, CloseReason::Peer { code: 0, text: String::new() });
}

async fn reset_and_stop_codes_arrive(pair: Pair) {
    let (mut send, mut recv) = pair.device.open_bi().await.unwrap();
    send.write_all(b"?").await.unwrap();
    let (mut their_send, mut their_recv) = pair.edge.accept_bi().await.unwrap();
    their_recv.stop(7).unwrap();
    assert_eq!(their_recv.stop(7), Err(StreamError::Finished));
    their_send.reset(8).unwrap();
    assert_eq!(their_send.reset(8), Err(StreamError::Finished));

    let error = recv.read_u8().await.unwrap_err();
    assert_eq!(StreamError::of(&error), Some(&StreamError::Reset(8)));
    let error = loop {
        match send.write_all(&[0; 1000]).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(StreamError::of(&error), Some(&StreamError::Stopped(7)));
    assert_eq!(pair.device.close_reason(), None);
}

async fn finishing_twice_is_an_error(pair: Pair) {
    let (mut send, _recv) = pair.device.open_bi().await.unwrap();
    send.set_priority(3).unwrap();
    send.finish().unwrap();
    assert_eq!(send.finish(), Err(StreamError::Finished));
    assert_eq!(StreamError::of(&send.write_u8(0).await.unwrap_err()), Some(&StreamError::Finished));
}

async fn a_cancelled_accept_loses_nothing(pair: Pair) {
    for _ in 0..20 {
        let waiting = tokio::time::timeout(Duration::from_micros(200), pair.edge.accept_bi());
        assert!(waiting.await.is_err());
    }
    tokio::spawn(mirror(pair.edge.clone()));
    assert_eq!(ask(&pair.device, b"xy").await, b"yx");
}

async fn a_killed_edge_is_noticed(mut pair: Pair) {
    let (mut send, mut recv) = pair.device.open_bi().await.unwrap();
    send.write_all(b"?").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let killed = Instant::now();
    pair.kill_edge();
    let error = recv.read_u8().await.unwrap_err();
    assert_eq!(StreamError::of(&error), Some(&StreamError::Connection(CloseReason::TimedOut)));
    assert_eq!(pair.device.closed().await, CloseReason::TimedOut);
    assert!(killed.elapsed() < Duration::from_secs(8), "noticed after {:?}", killed.elapsed());
}
