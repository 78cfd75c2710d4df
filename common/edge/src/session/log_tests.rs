//! What the log says of how sessions end, as a person or a log store reads it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use twinmask_kernels::default_kernel;
use twinmask_transport::sever;
use twinmask_wire::message::{Open, RelayOpen, Secret};
use twinmask_wire::{CloseCode, FrameType};

use crate::test_support::*;
use crate::{Limits, Role};

/// The log of this thread's tasks, as a service writes it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Log, DefaultGuard) {
        // With no other log anywhere, a line that a thread without a log comes to first would be off for all.
        static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| Dispatch::new(NoSubscriber::default()));
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE);
        let lines = lines.with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(lines))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }

    /// Waits for a line that says all of `words`; then none may be written as Rust's `Debug` does.
    async fn says(&self, words: &[&str]) {
        let said = || self.text().lines().any(|line| words.iter().all(|word| line.contains(word)));
        for _ in 0..1000 {
            if said() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let text = self.text();
        for line in text.lines() {
            for debug in ["Some(", "None", "Ok(", "Err(", "Peer {", " { ", "TimedOut", "Local"] {
                assert!(!line.contains(debug), "{debug} in {line}");
            }
        }
        assert!(said(), "{words:?} in {text}");
    }
}

#[tokio::test]
async fn a_session_that_its_device_closes() {
    let (log, _guard) = Log::start();
    let edge = TestEdge::new(Role::A);
    edge.device().await.connection.close(CloseCode::Failed as u32, "enough");
    log.says(&["session opened", "\"cam\"", "tiny v1"]).await;
    log.says(&["session ended", "device/cam", "closed by the peer with code 11: enough"]).await;
}

#[tokio::test]
async fn a_session_whose_network_goes() {
    let (log, _guard) = Log::start();
    let edge = TestEdge::new(Role::B);
    let device = edge.device().await;
    assert!(sever(&device.connection));
    log.says(&["session ended", "nothing heard from the peer any more"]).await;
}

#[tokio::test]
async fn devices_that_take_too_long() {
    let (log, _guard) = Log::start();
    let limits = Limits {
        handshake: Duration::from_millis(50),
        stall: Duration::from_millis(50),
        claim: Duration::from_millis(50),
        ..Limits::default()
    };
    let edge = TestEdge::with(Role::B, bundle(), limits, default_kernel());
    let silent = edge.connect();
    closed_with(&silent, CloseCode::Limit).await;
    log.says(&["no OPEN in time"]).await;
    let device = edge.device().await;
    let _inference = device.infer(0).await;
    log.says(&["a device stalled in an inference"]).await;
}

#[tokio::test]
async fn sessions_that_are_refused() {
    let (log, _guard) = Log::start();
    let edge = TestEdge::new(Role::A);
    for (open, code, words) in [
        (Open { digest: [7; 32], ..edge.open_frame() }, CloseCode::UnknownModel, "not hold model 0707"),
        (
            Open { prfs: Vec::new(), ..edge.open_frame() },
            CloseCode::Protocol,
            "OPEN offers the PRFs none, and this edge has",
        ),
    ] {
        let connection = edge.connect();
        let (mut send, _recv) = connection.open_bi().await.expect("connected");
        write(&mut send, FrameType::Open, &open).await;
        closed_with(&connection, code).await;
        log.says(&["session closed", code.name(), words]).await;
    }
    log.says(&["asks for a model that is not here", "0707070707070707", "tiny v1"]).await;
    let stranger = edge.connect_as(twinmask_transport::Role::EdgeB);
    closed_with(&stranger, CloseCode::Role).await;
    log.says(&["session closed", "\"Role\"", "you are edge-b"]).await;
}

/// If this fails, a device that was broken into fills its edges' disks with the log.
#[tokio::test]
async fn a_device_that_is_refused_again_and_again_gets_few_lines() {
    let (log, _guard) = Log::start();
    let edge = TestEdge::new(Role::A);
    for _ in 0..60 {
        let connection = edge.connect();
        let (mut send, _recv) = connection.open_bi().await.expect("connected");
        write(&mut send, FrameType::Open, &Open { digest: [7; 32], ..edge.open_frame() }).await;
        closed_with(&connection, CloseCode::UnknownModel).await;
    }
    let lines = |words: &str| log.text().lines().filter(|line| line.contains(words)).count();
    for words in ["session closed", "a model that is not here"] {
        // Ten at once, and one a second on a machine that is slow.
        assert!((10..30).contains(&lines(words)), "{} lines: {words}", lines(words));
    }
    let counted = edge.edge.metrics().lines().any(|l| l.contains("UnknownModel") && l.ends_with(" 60"));
    assert!(counted, "all of them count: {}", edge.edge.metrics());
    // Another device is heard of all the same.
    closed_with(&edge.connect_as(twinmask_transport::Role::EdgeB), CloseCode::Role).await;
    log.says(&["session closed", "you are edge-b"]).await;
}

#[tokio::test]
async fn the_other_edge_breaks_the_rules_and_goes() {
    let (log, _guard) = Log::start();
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let edge = TestEdge::with(Role::B, bundle(), limits, default_kernel());
    let other = edge.connect_as(twinmask_transport::Role::EdgeA);
    let (mut send, _recv) = other.open_bi().await.expect("connected");
    let ticket = Secret([1; 32]);
    let open = RelayOpen { session: [9; 16], device: "cam".to_owned(), digest: edge.digest, ticket };
    write(&mut send, FrameType::RelayOpen, &open).await;
    log.says(&["edge-a is connected"]).await;
    log.says(&["broke the rules of relay", "Protocol", "a session of cam that is not here"]).await;
    assert!(sever(&other));
    log.says(&["edge-a is no longer connected", "nothing heard from the peer any more"]).await;
}
