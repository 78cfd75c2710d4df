//! Daemons over QUIC on loopback, with identities made here.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use twinmask_codec::RoundId;
use twinmask_kernels::default_kernel;
use twinmask_testkit::{Gate, Hook, Layer, wrapped};
use twinmask_transport::{Client, Connection, Identity, TransportError, TransportLimits, model_uri};
use twinmask_wire::message::{End, Open, Prf, Secret};
use twinmask_wire::{CloseCode, Codec, CodecChoice, FrameType};

use crate::test_support::*;
use crate::{Config, Daemon, Limits, Role, StartError};

pub(super) type Certified = twinmask_transport::Role;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority(Issuer::new(params, key), pem)
    }

    /// Writes a revocation list with `identity` on it to the identity folder `dir`.
    pub(super) fn revoke(&self, identity: &Identity, dir: &Path) {
        self.list(1, 2036, &[identity], dir);
    }

    /// Writes the revocation list `number`, to be replaced in `next_year`, to the identity folder `dir`.
    pub(super) fn list(&self, number: u64, next_year: i32, revoked: &[&Identity], dir: &Path) {
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from_slice(identity.serial()),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(next_year, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("a list").pem().expect("PEM");
        std::fs::write(dir.join("crl.pem"), list).expect("writes");
    }

    /// Writes the identity folder `dir` of `role`, whose certificate names `models`.
    pub(super) fn issue(&self, role: &Certified, models: &[&str], dir: &Path) {
        self.issue_for(DAY, role, models, dir);
    }

    /// The same, valid for so long.
    pub(super) fn issue_for(&self, lasts: Duration, role: &Certified, models: &[&str], dir: &Path) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + lasts;
        let uris = [role.uri()].into_iter().chain(models.iter().map(|m| model_uri(m)));
        params.subject_alt_names = uris.map(|uri| SanType::URI(uri.try_into().expect("ASCII"))).collect();
        params.subject_alt_names.extend(role.dns_name().map(|n| SanType::DnsName(n.try_into().expect("ASCII"))));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let cert = params.signed_by(&key, &self.0).expect("a certificate").pem();
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir).expect("makes a folder");
        for (name, text) in [("cert.pem", cert), ("key.pem", key.serialize_pem()), ("ca.pem", self.1.clone())] {
            let mut open = std::fs::OpenOptions::new();
            let mut file =
                open.write(true).create(true).mode(0o600).truncate(true).open(dir.join(name)).expect("opens");
            std::io::Write::write_all(&mut file, text.as_bytes()).expect("writes");
        }
    }
}

impl Authority {
    /// The identity of a device that may use `models`, valid for so long.
    pub(super) fn device(&self, name: &str, models: &[&str], lasts: Duration) -> Identity {
        let folder = Folder::new();
        let dir = folder.path().join("identity");
        self.issue_for(lasts, &Certified::device(name).expect("a good name"), models, &dir);
        Identity::load(&dir).expect("own identity")
    }
}

/// Two edges' folders with one model, and two devices' identities.
pub(super) struct Deployment {
    pub(super) authority: Authority,
    pub(super) a: Folder,
    pub(super) b: Folder,
    pub(super) device: Identity,
    pub(super) other: Identity,
    pub(super) digest: [u8; 32],
}

impl Deployment {
    pub(super) fn new() -> Deployment {
        let (authority, a, b) = (Authority::new(), Folder::new(), Folder::new());
        authority.issue(&Certified::EdgeA, &[], &a.path().join("identity"));
        a.add_mask_key();
        authority.issue(&Certified::EdgeB, &[], &b.path().join("identity"));
        let device = |name| authority.device(name, &["tiny"], DAY);
        let (device, other) = (device("cam"), device("other"));
        let digest = a.add("tiny", &bundle());
        b.add("tiny", &bundle());
        Deployment { authority, a, b, device, other, digest }
    }

    pub(super) fn config(&self, role: Role) -> Config {
        let folder = match role {
            Role::A => &self.a,
            Role::B => &self.b,
        };
        Config { threads: 2, ..Config::new(folder.path(), role).on_loopback() }
    }

    pub(super) async fn start(&self, role: Role) -> Daemon {
        Daemon::start(self.config(role), role, default_kernel()).await.expect("a good folder")
    }

    pub(super) async fn dial(&self, daemon: &Daemon, role: Role) -> Connection {
        debug_assert_eq!(role, daemon.edge().role);
        self.dial_as(daemon, &self.device).await.expect("connects")
    }

    pub(super) async fn dial_as(&self, daemon: &Daemon, device: &Identity) -> Result<Connection, TransportError> {
        let (address, role) = (daemon.addr().to_string(), daemon.edge().role.certified());
        Client::connect(&address, &role, device, &TransportLimits::lan(), SOON).await
    }

    pub(super) fn open(&self, role: Role) -> Open {
        Open {
            session: [1; 16],
            digest: self.digest,
            seed: (role == Role::A).then_some(Secret(SEED)),
            prfs: vec![Prf::ChaCha20],
            codec: CodecChoice::Auto,
            ticket: None,
        }
    }

    pub(super) async fn session(&self, daemon: &Daemon, role: Role) -> Device {
        let device = Device::open(self.dial(daemon, role).await, &self.open(role)).await;
        Device { serial: self.device.serial().to_vec(), ..device }
    }
}

/// Status and body of an administration page.
pub(super) async fn get(daemon: &Daemon, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(daemon.admin_addr()).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    (head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_edges_answer_over_quic_and_tell_how_they_are() {
    let deployment = Deployment::new();
    for role in [Role::A, Role::B] {
        let daemon = deployment.start(role).await;
        let mut device = deployment.session(&daemon, role).await;
        for counter in 0..3 {
            device.infer_honestly(&bundle(), counter).await;
        }
        assert_eq!(get(&daemon, "/livez").await, (200, "ok\n".into()));
        assert_eq!(get(&daemon, "/readyz").await.0, 200);
        let (status, metrics) = get(&daemon, "/metrics").await;
        assert_eq!(status, 200);
        for name in ["sessions", "inferences_total", "rounds_total", "queue_wait_seconds_bucket", "compute_seconds_sum"]
        {
            assert!(metrics.contains(&format!("twinmask_{name}{{role=\"{role}\"")), "{name} in {metrics}");
        }
        soon(daemon.shutdown()).await;
        closed_with(&device.connection, CloseCode::Draining).await;
    }
}

/// If this fails, what certificates say of models is not what edges go by.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_a_certificate_for_other_models_is_refused() {
    let deployment = Deployment::new();
    let strangers = [&["large"][..], &[]].map(|models| deployment.authority.device("cam", models, DAY));
    for role in [Role::A, Role::B] {
        let daemon = deployment.start(role).await;
        for stranger in &strangers {
            let connection = deployment.dial_as(&daemon, stranger).await.expect("a device of this owner");
            let (mut send, _recv) = connection.open_bi().await.expect("connected");
            write(&mut send, FrameType::Open, &deployment.open(role)).await;
            let text = closed_with(&connection, CloseCode::Role).await;
            assert!(text.contains("cam does not name the model tiny"), "{text}");
        }
        deployment.session(&daemon, role).await.infer_honestly(&bundle(), 0).await;
    }
}

/// Holds up all that is computed.
struct Held(Arc<Gate>);

impl Hook for Held {
    fn load(&self, _: &Layer, _: &[&[u32]]) {
        self.0.pass();
    }
}

/// If this fails, connections that send what is not read take memory without bound.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_device_buffer_no_more_than_it_may() {
    const FIRST: usize = crate::daemon::config::FIRST_WINDOW as usize;
    const STEP: usize = 4 * 1024;
    let deployment = Deployment::new();
    let limits = Limits { buffers_device: 1_000_000, ..Limits::default() };
    let transport = TransportLimits { connection_window: 600_000, send_window: 300_000, ..TransportLimits::lan() };
    let config = Config { limits, transport, ..deployment.config(Role::B) };
    let gate = Arc::new(Gate::default());
    let kernel = wrapped(default_kernel(), Arc::new(Held(Arc::clone(&gate))));
    let daemon = Daemon::start(config, Role::B, kernel).await.expect("a good folder");
    let plan = bundle().plan;
    let mut held = Vec::new();
    // A first session gets all that one connection may have, a second one what is left of it for its device.
    for (device, room) in [(&deployment.device, 600_000), (&deployment.device, 66_666), (&deployment.other, 600_000)] {
        let connection = deployment.dial_as(&daemon, device).await.expect("connects");
        let session = Device::open(connection, &deployment.open(Role::B)).await;
        let (mut send, recv) = session.infer(0).await;
        upload(&mut send, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
        let mut taken = 0; // while the edge computes and does not read
        while let Ok(written) = timeout(Duration::from_millis(300), send.write(&[0; STEP])).await {
            taken += written.expect("the connection stands");
        }
        assert!((room..=room + FIRST).contains(&taken), "{taken} bytes taken");
        held.push((session, send, recv));
    }
    let metrics = daemon.edge().metrics();
    assert!(metrics.contains("twinmask_buffer_bytes{role=\"edge-b\"} 1900000"), "{metrics}");
    gate.open();
}

/// If this fails, a device that does not acknowledge the ends of its answers pins more the more often it asks.
#[test]
fn room_is_taken_until_the_device_has_its_answers() {
    let deployment = Deployment::new();
    let gate = Arc::new(Gate::default());
    let kernel = wrapped(default_kernel(), Arc::new(Held(Arc::clone(&gate))));
    let edges = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let starting = Daemon::start(deployment.config(Role::A), Role::A, kernel);
    let daemon = edges.block_on(starting).expect("a good folder");
    let is = |name: &str, value: u8| {
        daemon.edge().metrics().contains(&format!("twinmask_{name}{{role=\"edge-a\"}} {value}\n"))
    };
    let device = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    device.block_on(async {
        let mut device = deployment.session(&daemon, Role::A).await;
        device.claim(0).await;
        let (mut send, mut recv) = device.infer(0).await;
        until(|| !is("flight_bytes", 0)).await;
        // Nothing is acknowledged while this, the device's only thread, stands still.
        gate.open();
        let begun = std::time::Instant::now();
        while !is("inferences_total", 1) {
            assert!(begun.elapsed() < SOON, "nothing is answered");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(300));
        assert!(!is("flight_bytes", 0), "the answers are still there");
        let plan = bundle().plan;
        for r in 0..plan.rounds().len() {
            read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(r))).await;
        }
        write(&mut send, FrameType::End, &End {}).await;
        until(|| is("flight_bytes", 0)).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_finishes_what_runs() {
    let deployment = Deployment::new();
    let daemon = deployment.start(Role::B).await;
    let plan = bundle().plan;
    let device = deployment.session(&daemon, Role::B).await;
    let (mut send, mut recv) = device.infer(0).await;
    upload(&mut send, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
    read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;
    daemon.edge().drain();
    assert_eq!(get(&daemon, "/readyz").await, (503, "going down\n".into()));
    let down = tokio::spawn(daemon.shutdown());
    for r in 1..plan.rounds().len() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        upload(&mut send, &plan, r, &shares(&plan, r, "x"), Codec::Packed).await;
        read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(r))).await;
    }
    drop((send, recv));
    closed_with(&device.connection, CloseCode::Draining).await;
    soon(down).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_can_be_changed_while_it_runs() {
    let deployment = Deployment::new();
    let path = deployment.b.bundle_path("tiny");
    let good = std::fs::read(&path).expect("reads");
    std::fs::remove_file(&path).expect("removes");
    let daemon = deployment.start(Role::B).await;
    let (status, reason) = get(&daemon, "/readyz").await;
    assert!(status == 503 && reason.contains("no models"), "{reason}");

    std::fs::write(&path, &good).expect("writes");
    daemon.edge().reload().expect("a good bundle");
    assert_eq!(get(&daemon, "/readyz").await.0, 200);
    std::fs::write(&path, &good[1..]).expect("writes");
    assert!(daemon.edge().reload().expect_err("a bad bundle").to_string().contains("tiny.twm"));
    deployment.session(&daemon, Role::B).await.infer_honestly(&bundle(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let deployment = Deployment::new();
    let start = |config, role| async move {
        Daemon::start(config, role, default_kernel()).await.err().expect("must not start")
    };
    let swapped = start(deployment.config(Role::A), Role::B).await;
    assert!(matches!(swapped, StartError::WrongIdentity { .. }) && swapped.exit_code() == 3, "{swapped}");

    let running = deployment.start(Role::A).await;
    let taken = Config { listen: running.addr().to_string(), ..deployment.config(Role::A) };
    let taken = start(taken, Role::A).await;
    assert!(taken.exit_code() == 4 && taken.to_string().contains(&running.addr().to_string()), "{taken}");
    let taken = Config { admin: running.admin_addr().to_string(), ..deployment.config(Role::A) };
    assert_eq!(start(taken, Role::A).await.exit_code(), 4);

    std::fs::write(deployment.a.bundle_path("zz"), b"rubbish").expect("writes");
    let bad = start(deployment.config(Role::A), Role::A).await;
    assert!(bad.exit_code() == 3 && bad.to_string().contains("zz.twm"), "{bad}");
    std::fs::remove_file(deployment.a.bundle_path("zz")).expect("removes");
    let mask_key = |of: &Folder| of.path().join("identity/mask.key");
    std::fs::rename(mask_key(&deployment.a), mask_key(&deployment.b)).expect("moves");
    let without = start(deployment.config(Role::A), Role::A).await;
    assert!(without.exit_code() == 3 && without.to_string().contains("mask.key is missing"), "{without}");
    let with = start(deployment.config(Role::B), Role::B).await;
    assert!(with.exit_code() == 3 && with.to_string().contains("mask.key must not be here"), "{with}");
    let nowhere = start(Config::new("/nonexistent", Role::A).on_loopback(), Role::A).await;
    assert_eq!(nowhere.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_a_new_identity_and_shows_revoked_devices_out() {
    let deployment = Deployment::new();
    let identity = deployment.b.path().join("identity");
    let daemon = deployment.start(Role::B).await;
    let mut device = deployment.session(&daemon, Role::B).await;
    let mut other = Device::open(
        deployment.dial_as(&daemon, &deployment.other).await.expect("connects"),
        &deployment.open(Role::B),
    )
    .await;
    device.infer_honestly(&bundle(), 0).await;

    deployment.authority.issue(&Certified::EdgeB, &[], &identity);
    deployment.authority.revoke(&deployment.device, &identity);
    tokio::task::block_in_place(|| daemon.reload()).expect("good files");
    let text = closed_with(&device.connection, CloseCode::Role).await;
    assert!(text.contains("device/cam was revoked by the owner"), "{text}");
    let refused = deployment.dial_as(&daemon, &deployment.device).await.expect_err("revoked");
    assert!(refused.to_string().contains("was revoked by the owner"), "{refused}");
    other.infer_honestly(&bundle(), 0).await;
    let anew = deployment.dial_as(&daemon, &deployment.other).await.expect("connects");
    let new = Identity::load(&identity).expect("the new identity").fingerprint();
    assert_eq!(anew.peer().key_fingerprint, new);
    assert_ne!(other.connection.peer().key_fingerprint, new);

    // A bad file changes nothing.
    std::fs::write(identity.join("crl.pem"), "").expect("writes");
    let error = tokio::task::block_in_place(|| daemon.reload()).expect_err("no list");
    assert!(error.exit_code() == 3 && error.to_string().contains("crl.pem"), "{error}");
    other.infer_honestly(&bundle(), 1).await;
    assert!(deployment.dial_as(&daemon, &deployment.device).await.is_err(), "still revoked");
}

/// Edge A dials the edge B of its configuration, again when that was not there at first or has gone, and its sessions
/// get relay.
#[tokio::test(flavor = "multi_thread")]
async fn edge_a_keeps_a_connection_to_its_peer() {
    let deployment = Deployment::new();
    let b = deployment.start(Role::B).await;
    let config = Config { peer: Some(b.addr().to_string()), ..deployment.config(Role::A) };
    let a = Daemon::start(config, Role::A, default_kernel()).await.expect("a good folder");
    let connected = |edge: &crate::Edge| edge.metrics().contains("twinmask_peer_connected{role=\"edge-a\"} 1");
    until(|| connected(a.edge())).await;
    let open = |seed| Open {
        session: [7; 16],
        digest: deployment.digest,
        seed,
        prfs: vec![Prf::ChaCha20],
        codec: CodecChoice::Auto,
        ticket: Some(Secret([7; 32])),
    };
    let (dial_a, dial_b) = tokio::join!(deployment.dial(&a, Role::A), deployment.dial(&b, Role::B));
    let (for_a, for_b) = (open(Some(Secret(SEED))), open(None));
    let (at_a, at_b) = tokio::join!(Device::open(dial_a, &for_a), Device::open(dial_b, &for_b));
    assert!(at_a.opened.relay && at_b.opened.relay);
    let listen = b.addr().to_string();
    at_a.connection.close(0, "");
    at_b.connection.close(0, "");
    b.shutdown().await;
    until(|| !connected(a.edge())).await;
    let again = Config { listen, ..deployment.config(Role::B) };
    let starting = async {
        loop {
            match Daemon::start(again.clone(), Role::B, default_kernel()).await {
                Ok(daemon) => break daemon,
                // Its socket goes a moment after the edge has said that it is down.
                Err(StartError::Listen { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let _b = soon(starting).await;
    until(|| connected(a.edge())).await;
}

#[test]
fn only_edge_a_has_a_peer() {
    let settings =
        || crate::Settings { dir: Some("x".into()), peer: Some("b:7402".into()), ..crate::Settings::default() };
    assert!(settings().config(Role::B).expect_err("edge B dials nobody").to_string().contains("peer"));
    assert_eq!(settings().config(Role::A).expect("a good configuration").peer.as_deref(), Some("b:7402"));
}
