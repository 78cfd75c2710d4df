//! Connections that stand while certificates are revoked or end, and the line between the edges while it ages.

use std::time::Duration;

use twinmask_kernels::default_kernel;
use twinmask_transport::{Connection, Identity};
use twinmask_wire::message::{End, Open, Secret};
use twinmask_wire::{CloseCode, FrameType};

use super::daemon_tests::{Certified, Deployment, get};
use crate::relay::relay_tests::{infer, round};
use crate::test_support::*;
use crate::{Config, Daemon, Edge, Limits, Role, StartError};

fn value(edge: &Edge, name: &str) -> f64 {
    let metrics = edge.metrics();
    let line = metrics.lines().find(|l| l.starts_with(&format!("twinmask_{name}{{"))).expect("a metric of this name");
    line.rsplit(' ').next().and_then(|v| v.parse().ok()).expect("a value")
}

/// Edge B, and edge A that is connected to it.
async fn pair(deployment: &Deployment, limits: Limits) -> (Daemon, Daemon) {
    let b = Daemon::start(Config { limits: limits.clone(), ..deployment.config(Role::B) }, Role::B, default_kernel());
    let b = b.await.expect("a good folder");
    let config = Config { peer: Some(b.addr().to_string()), limits, ..deployment.config(Role::A) };
    let a = Daemon::start(config, Role::A, default_kernel()).await.expect("a good folder");
    until(|| value(a.edge(), "peer_connected") == 1.0 && value(b.edge(), "peer_connected") == 1.0).await;
    (a, b)
}

fn reload(daemon: &Daemon) -> Result<(), StartError> {
    tokio::task::block_in_place(|| daemon.reload())
}

/// A session in mode relay: its ends at both edges.
async fn relay(deployment: &Deployment, a: &Daemon, b: &Daemon, session: u8) -> (Device, Device) {
    let of = |role| Open { session: [session; 16], ticket: Some(Secret([session; 32])), ..deployment.open(role) };
    let (dial_a, dial_b) = tokio::join!(deployment.dial(a, Role::A), deployment.dial(b, Role::B));
    let (for_a, for_b) = (of(Role::A), of(Role::B));
    let (at_a, at_b) = tokio::join!(Device::open(dial_a, &for_a), Device::open(dial_b, &for_b));
    (Device { serial: deployment.device.serial().to_vec(), ..at_a }, at_b)
}

/// A whole inference in mode relay; the rounds that fell back.
async fn inference(a: &mut Device, b: &Device, counter: u64) -> usize {
    let (model, keys) = (bundle(), a.keys());
    a.claim(counter).await;
    let (mut at_a, mut at_b) = (infer(a, counter).await, infer(b, counter).await);
    let mut missed = 0;
    for r in 0..model.plan.rounds().len() {
        missed += usize::from(round(&mut at_b, &keys, &model, counter, r).await);
    }
    write(&mut at_a.0, FrameType::End, &End {}).await;
    write(&mut at_b.0, FrameType::End, &End {}).await;
    missed
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_a_lets_go_of_an_edge_b_that_is_revoked() {
    let deployment = Deployment::new();
    let (a, b) = pair(&deployment, Limits::default()).await;
    let identity_of_b = Identity::load(&deployment.b.path().join("identity")).expect("its identity");
    deployment.authority.list(1, 2036, &[&identity_of_b], &deployment.a.path().join("identity"));
    reload(&a).expect("good files");
    until(|| value(a.edge(), "peer_connected") == 0.0 && value(b.edge(), "peer_connected") == 0.0).await;
    tokio::time::sleep(Duration::from_millis(600)).await; // it is dialled again, and refused
    assert_eq!(value(b.edge(), "peer_connected"), 0.0);
    assert!(!relay(&deployment, &a, &b, 1).await.0.opened.relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_itself_revoked_serves_nobody() {
    let deployment = Deployment::new();
    let (a, b) = pair(&deployment, Limits::default()).await;
    let device = deployment.session(&a, Role::A).await;
    let folder = deployment.a.path().join("identity");
    let identity_of_a = Identity::load(&folder).expect("its identity");
    deployment.authority.list(1, 2036, &[&identity_of_a], &folder);
    let error = reload(&a).expect_err("revoked").to_string();
    assert!(error.contains("the certificate of edge-a was revoked"), "{error}");
    let text = closed_with(&device.connection, CloseCode::Role).await;
    assert!(text.contains("the certificate of edge-a was revoked by the owner"), "{text}");
    until(|| value(a.edge(), "peer_connected") == 0.0 && value(b.edge(), "peer_connected") == 0.0).await;
    let (status, reason) = get(&a, "/readyz").await;
    assert!(status == 503 && reason.contains("edge-a was revoked"), "{reason}");
    let late = match deployment.dial_as(&a, &deployment.device).await {
        Ok(late) => closed_with(&late, CloseCode::Role).await,
        Err(error) => error.to_string(),
    };
    assert!(late.contains("the certificate of edge-a was revoked"), "{late}");
    // Another certificate mends it, and the line comes back by itself.
    deployment.authority.issue(&Certified::EdgeA, &[], &folder);
    reload(&a).expect("good files");
    assert_eq!(get(&a, "/readyz").await.0, 200);
    until(|| value(a.edge(), "peer_connected") == 1.0).await;
    deployment.session(&a, Role::A).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_b_lets_go_of_an_edge_a_that_is_revoked() {
    let deployment = Deployment::new();
    let (a, b) = pair(&deployment, Limits::default()).await;
    let identity_of_a = Identity::load(&deployment.a.path().join("identity")).expect("its identity");
    deployment.authority.list(1, 2036, &[&identity_of_a], &deployment.b.path().join("identity"));
    reload(&b).expect("good files");
    until(|| value(a.edge(), "peer_connected") == 0.0 && value(b.edge(), "peer_connected") == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_or_none_takes_nothing_back() {
    let deployment = Deployment::new();
    let folder = deployment.b.path().join("identity");
    let daemon = deployment.start(Role::B).await;
    deployment.authority.list(7, 2036, &[&deployment.device], &folder);
    reload(&daemon).expect("good files");
    let revoked = async |daemon: &Daemon| deployment.dial_as(daemon, &deployment.device).await.is_err();
    assert!(revoked(&daemon).await);

    deployment.authority.list(6, 2036, &[], &folder);
    let error = reload(&daemon).expect_err("older").to_string();
    assert!(error.contains("number 6") && error.contains("has seen number 7"), "{error}");
    assert!(revoked(&daemon).await);
    std::fs::remove_file(folder.join("crl.pem")).expect("removes");
    let error = reload(&daemon).expect_err("gone").to_string();
    assert!(error.contains("crl.pem is gone"), "{error}");
    assert!(revoked(&daemon).await);
    daemon.shutdown().await;

    let start = || Daemon::start(deployment.config(Role::B), Role::B, default_kernel());
    let error = start().await.err().expect("must not start without the list");
    assert!(error.exit_code() == 3 && error.to_string().contains("crl.pem is gone"), "{error}");
    deployment.authority.list(8, 2036, &[&deployment.device], &folder);
    let daemon = start().await.expect("a good folder");
    assert!(revoked(&daemon).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_should_have_been_replaced_counts_and_is_said() {
    let deployment = Deployment::new();
    let folder = deployment.b.path().join("identity");
    deployment.authority.list(3, 2021, &[&deployment.device], &folder);
    let daemon = deployment.start(Role::B).await;
    let (status, text) = get(&daemon, "/readyz").await;
    assert_eq!(status, 200);
    assert!(text.contains("number 3 should have been replaced by 2021-01-01"), "{text}");
    assert_eq!(value(daemon.edge(), "revocation_list_next_update_seconds"), 1_609_459_200.0);
    assert!(deployment.dial_as(&daemon, &deployment.device).await.is_err(), "it counts");
    deployment.authority.list(4, 2036, &[], &folder);
    reload(&daemon).expect("good files");
    assert_eq!(get(&daemon, "/readyz").await, (200, "ready\n".to_owned()));
}

/// Connections end with the first of their two certificates, at either end and between the edges.
#[tokio::test(flavor = "multi_thread")]
async fn connections_end_when_a_certificate_does() {
    let deployment = Deployment::new();
    const SHORT: Duration = Duration::from_secs(6);
    deployment.authority.issue_for(SHORT, &Certified::EdgeA, &[], &deployment.a.path().join("identity"));
    let short = deployment.authority.device("cam", &["tiny"], SHORT);
    let (a, b) = pair(&deployment, Limits::default()).await;
    let open = async |daemon: &Daemon, identity: &Identity, role| {
        let connection = deployment.dial_as(daemon, identity).await.expect("valid");
        Device::open(connection, &deployment.open(role)).await
    };
    let ending = open(&b, &short, Role::B).await;
    let at_short = open(&a, &deployment.other, Role::A).await;
    let mut lasting = open(&b, &deployment.other, Role::B).await;
    let expired = async |connection: &Connection, whose: &str| {
        let text = closed_with(connection, CloseCode::Role).await;
        assert!(text.contains(&format!("the certificate of {whose} expired at")), "{text}");
    };
    expired(&ending.connection, "device/cam").await;
    expired(&at_short.connection, "edge-a").await;
    until(|| value(a.edge(), "peer_connected") == 0.0 && value(b.edge(), "peer_connected") == 0.0).await;
    let (status, reason) = get(&a, "/readyz").await;
    assert!(status == 503 && reason.contains("the certificate of edge-a expired"), "{reason}");
    lasting.infer_honestly(&bundle(), 0).await;
}

/// The line between the edges is replaced, and no inference notices: a session stays on the line that it began on.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_comes_of_age_gets_a_successor_and_no_inference_is_lost() {
    let deployment = Deployment::new();
    let patient = Duration::from_secs(8);
    let limits = Limits { line_age: Duration::from_millis(400), relay_grace: patient, ..Limits::default() };
    let (a, b) = pair(&deployment, limits).await;
    let (mut old_a, old_b) = relay(&deployment, &a, &b, 1).await;
    assert!(old_a.opened.relay && old_b.opened.relay);
    until(|| value(b.edge(), "peer_connected") == 2.0).await;
    let (mut new_a, new_b) = relay(&deployment, &a, &b, 2).await;
    assert!(new_a.opened.relay && new_b.opened.relay);
    for counter in 0..4 {
        assert_eq!(inference(&mut old_a, &old_b, counter).await, 0, "fell back");
        assert_eq!(inference(&mut new_a, &new_b, counter).await, 0, "fell back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(value(b.edge(), "peer_connected") >= 2.0, "lines end while sessions are on them");
    for device in [old_a, old_b, new_a, new_b] {
        device.connection.close(0, "");
    }
    // Each of them ends with its last session; the newest one stays.
    until(|| value(b.edge(), "peer_connected") <= 2.0 && value(a.edge(), "sessions") == 0.0).await;
    until(|| value(b.edge(), "peer_connected") == 1.0).await;
    assert_eq!(value(a.edge(), "peer_connected"), 1.0);
}
