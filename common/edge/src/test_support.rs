//! A small model, an edge's folder, edges in memory and a hand-driven device for tests.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::time::timeout;
use twinmask_codec::{Counter, GroupId, LayerId, Part, RoundId};
use twinmask_kernels::{Kernel, default_kernel, naive};
use twinmask_layer::{Conv, Fc, Geometry};
use twinmask_model::bundle::{Digest, EdgeBundle};
use twinmask_model::plan::{GroupParts, LayerParts, Plan, PlanParts};
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::prf::Algorithm;
use twinmask_testkit::{Gate, Hook, Layer, uniform, weights, wrapped};
use twinmask_transport::frame_io::{Frame, read_frame, write_frame};
use twinmask_transport::mask_key::MASK_KEY_FILE;
use twinmask_transport::owner_key::OWNER_FILE;
use twinmask_transport::{CloseReason, Connection, RecvHalf, SendHalf, memory_pair, memory_pair_for};
use twinmask_wire::message::{Answer, Claim, Claimed, End, Infer, Open, Opened, Prf, Round, Secret};
use twinmask_wire::{CloseCode, Codec, CodecChoice, FrameType, payload};

use crate::edge::IDENTITY_DIR;
use crate::{Config, Edge, Limits, Role};

/// Bounds every wait of a test.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const SEED: [u8; 32] = [0x5e; 32];
/// Edge A's master key.
const MASTER: [u8; 32] = [0x3a; 32];
/// Name of devices that have no other.
pub(crate) const DEVICE: &str = "cam";

/// The keys of a session of a device under [`SEED`].
pub(crate) fn keys(name: &str, serial: &[u8], nonce: &[u8; 32]) -> SessionKeys {
    SessionKeys::new(&MaskKey::new(MASTER).of_device(name, serial), &SEED, nonce)
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("must not hang")
}

/// Two sibling convolutions in round 0, a layer of two rows in round 1, one of one row in round 2.
pub(crate) fn bundle() -> EdgeBundle {
    let conv = |c_out, kernel, pad| Geometry::Conv(Conv { w: 7, ..Conv::square([3, c_out], 9, kernel, 1, pad) });
    let fc = |rows, inputs, outputs| Geometry::Fc(Fc { rows, inputs, outputs });
    let geometries = [(conv(5, 3, 1), 0), (conv(4, 1, 0), 0), (fc(2, 20, 6), 1), (fc(1, 33, 10), 2)];
    let layer = |i: usize| {
        let (geometry, group) = geometries[i];
        LayerParts { name: format!("layer{i}"), geometry, group: GroupId::new(group), w_bits: 8, bound: 50_000 }
    };
    let ids = |layers: &[u32]| layers.iter().map(|&l| LayerId::new(l)).collect();
    let group = |len, k, layers: &[u32]| GroupParts { len, k, x_bits: 8, signed: false, layers: ids(layers) };
    let parts = PlanParts {
        layers: (0..4).map(layer).collect(),
        groups: vec![group(3 * 9 * 7, 24, &[0, 1]), group(40, 20, &[2]), group(33, 32, &[3])],
        rounds: (0..3).map(|r| vec![GroupId::new(r)]).collect(),
    };
    let plan = Plan::new(parts).expect("valid");
    let weights = (0..4).map(|i| weights(plan.layers()[i].name(), plan.layers()[i].geometry().weight_len())).collect();
    EdgeBundle { model: "tiny".into(), version: 1, plan, weights }
}

/// A model whose answers are far larger than what a stream takes unread: 60 rounds of 50 kB.
pub(crate) fn long_bundle() -> EdgeBundle {
    const OUTPUTS: u32 = 12_500;
    let geometry = Geometry::Fc(Fc { rows: 1, inputs: 1, outputs: OUTPUTS });
    let layer = |i| {
        let (name, group) = (format!("wide{i}"), GroupId::new(i));
        LayerParts { name, geometry, group, w_bits: 8, bound: 50_000 }
    };
    let group = |i| GroupParts { len: 1, k: 32, x_bits: 8, signed: false, layers: vec![LayerId::new(i)] };
    let parts = PlanParts {
        layers: (0..60).map(layer).collect(),
        groups: (0..60).map(group).collect(),
        rounds: (0..60).map(|r| vec![GroupId::new(r)]).collect(),
    };
    let plan = Plan::new(parts).expect("valid");
    let weights = plan.layers().iter().map(|l| weights(l.name(), OUTPUTS as usize)).collect();
    EdgeBundle { model: "long".into(), version: 1, plan, weights }
}

/// A model whose first round travels in stripes, of siblings with different kernels and steps; a small round follows.
pub(crate) fn striped_bundle() -> EdgeBundle {
    let conv = |c_out, kernel, stride, pad| Conv { w: 120, ..Conv::square([3, c_out], 160, kernel, stride, pad) };
    let geometries = [
        (Geometry::Conv(conv(5, 3, 1, 1)), 0),
        (Geometry::Conv(conv(12, 5, 2, 2)), 0),
        (Geometry::Fc(Fc { rows: 1, inputs: 20, outputs: 6 }), 1),
    ];
    let layer = |(i, &(geometry, group)): (usize, &(Geometry, u32))| LayerParts {
        name: format!("layer{i}"),
        geometry,
        group: GroupId::new(group),
        w_bits: 8,
        bound: 50_000,
    };
    let ids = |layers: &[u32]| layers.iter().map(|&l| LayerId::new(l)).collect();
    let group = |len, k, layers: &[u32]| GroupParts { len, k, x_bits: 8, signed: false, layers: ids(layers) };
    let parts = PlanParts {
        layers: geometries.iter().enumerate().map(layer).collect(),
        groups: vec![group(3 * 160 * 120, 25, &[0, 1]), group(20, 24, &[2])],
        rounds: (0..2).map(|r| vec![GroupId::new(r)]).collect(),
    };
    let plan = Plan::new(parts).expect("valid");
    assert!(plan.stripes(RoundId::new(0)) > 3 && plan.stripes(RoundId::new(1)) == 1);
    let weights = plan.layers().iter().map(|l| weights(l.name(), l.geometry().weight_len())).collect();
    EdgeBundle { model: "striped".into(), version: 1, plan, weights }
}

/// What the edge must answer in round `r`, by the oracle.
pub(crate) fn expected(bundle: &EdgeBundle, r: usize, shares: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut answers = Vec::new();
    for (&g, share) in bundle.plan.round(RoundId::at(r)).iter().zip(shares) {
        let group = bundle.plan.group(g);
        for &l in group.layers() {
            let geometry = bundle.plan.layer(l).geometry();
            let y = naive::apply(geometry, &bundle.weights[l.index()], share);
            answers.push(y.into_iter().map(|e| e & twinmask_ring::mask(group.k())).collect());
        }
    }
    answers
}

/// What edge A must answer in round `r` of `counter`, by the oracle: `W·R + T`.
pub(crate) fn of_edge_a(keys: &SessionKeys, bundle: &EdgeBundle, r: usize, counter: u64) -> Vec<Vec<u32>> {
    let key = keys.answers(Algorithm::ChaCha20, counter);
    let mut sums = expected(bundle, r, &masks(keys, &bundle.plan, r, counter));
    let (layers, parts) = (bundle.plan.round_layers(RoundId::at(r)), bundle.plan.answer_parts(RoundId::at(r)));
    for ((l, z), part) in layers.zip(&mut sums).zip(parts) {
        let t = key.elements(l.into(), part.bits, part.len);
        z.iter_mut().zip(t).for_each(|(z, t)| *z = z.wrapping_add(t) & twinmask_ring::mask(part.bits));
    }
    sums
}

/// The masks `R` of round `r` of `counter`.
pub(crate) fn masks(keys: &SessionKeys, plan: &Plan, r: usize, counter: u64) -> Vec<Vec<u32>> {
    let key = keys.masks(Algorithm::ChaCha20, counter);
    let expand = |(&g, part): (&GroupId, Part)| key.elements(g.into(), part.bits, part.len);
    plan.round(RoundId::at(r)).iter().zip(plan.upload_parts(RoundId::at(r))).map(expand).collect()
}

/// Some shares of round `r`.
pub(crate) fn shares(plan: &Plan, r: usize, label: &str) -> Vec<Vec<u32>> {
    let parts = plan.upload_parts(RoundId::at(r)).into_iter().enumerate();
    parts.map(|(i, part)| uniform(&format!("{label} {r} {i}"), part.len, part.bits)).collect()
}

/// An edge's folder, with the owner that signs its bundles.
pub(crate) struct Folder(tempfile::TempDir, Ed25519KeyPair);

impl Folder {
    pub(crate) fn new() -> Folder {
        let dir = tempfile::tempdir().expect("temporary folder");
        let owner = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("seed of 32 bytes");
        let key: String = owner.public_key().as_ref().iter().map(|b| format!("{b:02x}")).collect();
        std::fs::write(dir.path().join(OWNER_FILE), key + "\n").expect("writes");
        std::fs::create_dir(dir.path().join("models")).expect("makes a folder");
        Folder(dir, owner)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes this the folder of an edge A.
    pub(crate) fn add_mask_key(&self) {
        let path = self.path().join(IDENTITY_DIR).join(MASK_KEY_FILE);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes a folder");
        std::fs::write(&path, MASTER.map(|b| format!("{b:02x}")).concat()).expect("writes");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("sets");
    }

    pub(crate) fn bundle_path(&self, name: &str) -> PathBuf {
        self.path().join(format!("models/{name}.twm"))
    }

    pub(crate) fn add(&self, name: &str, bundle: &EdgeBundle) -> Digest {
        let (bytes, digest) = bundle.write(&self.1);
        std::fs::write(self.bundle_path(name), bytes).expect("writes");
        digest
    }
}

/// An edge that serves connections in memory.
pub(crate) struct TestEdge {
    pub(crate) edge: Arc<Edge>,
    pub(crate) bundle: EdgeBundle,
    pub(crate) digest: Digest,
}

impl TestEdge {
    pub(crate) fn new(role: Role) -> TestEdge {
        Self::with(role, bundle(), Limits::default(), default_kernel())
    }

    pub(crate) fn with(role: Role, bundle: EdgeBundle, limits: Limits, kernel: Arc<dyn Kernel>) -> TestEdge {
        Self::on_threads(2, role, bundle, limits, kernel)
    }

    pub(crate) fn on_threads(
        threads: usize,
        role: Role,
        bundle: EdgeBundle,
        limits: Limits,
        kernel: Arc<dyn Kernel>,
    ) -> TestEdge {
        let folder = Folder::new();
        let digest = folder.add("model", &bundle);
        if role == Role::A {
            folder.add_mask_key();
        }
        let config = Config { threads, limits, ..Config::new(folder.path(), role) };
        let edge = Edge::load(&config, role, kernel).expect("a good folder");
        TestEdge { edge, bundle, digest }
    }

    /// As edge A and edge B that are connected, with the same model.
    pub(crate) fn pair(bundle: impl Fn() -> EdgeBundle, limits: &Limits) -> (TestEdge, TestEdge, Connection) {
        Self::pair_with(bundle, limits, &default_kernel())
    }

    pub(crate) fn pair_with(
        bundle: impl Fn() -> EdgeBundle,
        limits: &Limits,
        kernel: &Arc<dyn Kernel>,
    ) -> (TestEdge, TestEdge, Connection) {
        let edge = |role| TestEdge::with(role, bundle(), limits.clone(), Arc::clone(kernel));
        let (a, b) = (edge(Role::A), edge(Role::B));
        let (at_a, at_b) = memory_pair(twinmask_transport::Role::EdgeA, twinmask_transport::Role::EdgeB);
        tokio::spawn(Arc::clone(&b.edge).serve(at_b));
        a.meet(at_a.clone());
        (a, b, at_a)
    }

    /// Makes `connection` this edge A's to edge B.
    pub(crate) fn meet(&self, connection: Connection) {
        let edge = Arc::clone(&self.edge);
        edge.introduce_over(&connection);
        tokio::spawn(async move { edge.see_off(&connection).await });
    }

    /// The device's end of a connection that the edge serves.
    pub(crate) fn connect_as(&self, device: twinmask_transport::Role) -> Connection {
        self.connect_naming(device, &[&self.bundle.model])
    }

    /// As a peer whose certificate names these models.
    pub(crate) fn connect_naming(&self, device: twinmask_transport::Role, models: &[&str]) -> Connection {
        let (ours, edges) = memory_pair_for(device, models, self.edge.role.certified());
        tokio::spawn(Arc::clone(&self.edge).serve(edges));
        ours
    }

    pub(crate) fn connect(&self) -> Connection {
        self.connect_as(twinmask_transport::Role::device(DEVICE).expect("a good name"))
    }

    pub(crate) fn open_frame(&self) -> Open {
        Open {
            session: [1; 16],
            digest: self.digest,
            seed: (self.edge.role == Role::A).then_some(Secret(SEED)),
            prfs: vec![Prf::ChaCha20],
            codec: CodecChoice::Auto,
            ticket: None,
        }
    }

    pub(crate) async fn device(&self) -> Device {
        Device::open(self.connect(), &self.open_frame()).await
    }

    /// A whole honest inference, held against the oracle.
    pub(crate) async fn check_alive(&self) {
        let mut device = self.device().await;
        device.infer_honestly(&self.bundle, 0).await;
        device.connection.close(0, "");
    }
}

/// A device that is driven frame by frame.
pub(crate) struct Device {
    pub(crate) connection: Connection,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    pub(crate) opened: Opened,
    /// Of the device's certificate; none in memory.
    pub(crate) serial: Vec<u8>,
    pub(crate) name: &'static str,
}

impl Device {
    pub(crate) async fn open(connection: Connection, open: &Open) -> Device {
        let (mut send, mut recv) = connection.open_bi().await.expect("connected");
        write(&mut send, FrameType::Open, open).await;
        let opened = read(&mut recv, FrameType::Opened, &[]).await.body().expect("OPENED");
        Device { connection, send, recv, opened, serial: Vec::new(), name: DEVICE }
    }

    /// The keys of this session at edge A, of [`DEVICE`].
    pub(crate) fn keys(&self) -> SessionKeys {
        let part = self.opened.part.as_ref().expect("edge A's part");
        let keys = keys(self.name, &self.serial, &part.nonce);
        assert!(part.proves(&keys), "edge A has other keys");
        keys
    }

    pub(crate) async fn claim(&mut self, counter: u64) {
        write(&mut self.send, FrameType::Claim, &Claim { counter: Counter::new(counter) }).await;
        let claimed: Claimed = read(&mut self.recv, FrameType::Claimed, &[]).await.body().expect("CLAIMED");
        assert_eq!(claimed.counter, Counter::new(counter));
    }

    /// A stream with `INFER{counter}` on it.
    pub(crate) async fn infer(&self, counter: u64) -> (SendHalf, RecvHalf) {
        let (mut send, recv) = self.connection.open_bi().await.expect("connected");
        write(&mut send, FrameType::Infer, &Infer { counter: Counter::new(counter), exact: true, relay: false }).await;
        (send, recv)
    }

    /// One inference, in order, at the edge that this session is with.
    pub(crate) async fn infer_honestly(&mut self, bundle: &EdgeBundle, counter: u64) {
        let plan = &bundle.plan;
        let at_a = self.connection.peer().role == twinmask_transport::Role::EdgeA;
        if at_a {
            self.claim(counter).await;
        }
        let (mut send, mut recv) = self.infer(counter).await;
        for r in 0..plan.rounds().len() {
            let wanted = if at_a {
                of_edge_a(&self.keys(), bundle, r, counter)
            } else {
                let shares = shares(plan, r, &format!("{counter}"));
                upload(&mut send, plan, r, &shares, Codec::Packed).await;
                expected(bundle, r, &shares)
            };
            let answers = if at_a {
                let parts = plan.answer_stripes(RoundId::at(r), true);
                arrived(plan, r, &[decoded(&mut recv, r, &parts).await])
            } else {
                answers(&mut recv, plan, r).await
            };
            assert!(answers == wanted, "round {r} of {counter}");
        }
        write(&mut send, FrameType::End, &End {}).await;
    }
}

/// Holds up the threads that compute ahead of time, as on a machine that has no time left for them.
struct Starved(Arc<Gate>);

impl Hook for Starved {
    fn load(&self, _: &Layer, _: &[&[u32]]) {
        if std::thread::current().name().is_some_and(|name| name.starts_with("ahead")) {
            self.0.pass();
        }
    }
}

/// A kernel that never gets done on those threads, until the gate is opened.
pub(crate) fn starved() -> (Arc<dyn Kernel>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    (wrapped(default_kernel(), Arc::new(Starved(Arc::clone(&gate)))), gate)
}

/// A metric of the edge without labels of its own.
pub(crate) fn gauge(edge: &TestEdge, name: &str) -> f64 {
    let metrics = edge.edge.metrics();
    let line = metrics.lines().find(|l| l.starts_with(&format!("{name}{{"))).expect("a metric of this name");
    line.rsplit(' ').next().and_then(|v| v.parse().ok()).expect("a value")
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(polling).await;
}

/// Waits until no inference runs.
pub(crate) async fn idle(edge: &TestEdge) {
    until(|| gauge(edge, "twinmask_inferences_in_flight") == 0.0).await;
}

/// Uploads all stripes of round `r`.
pub(crate) async fn upload(send: &mut SendHalf, plan: &Plan, r: usize, shares: &[Vec<u32>], codec: Codec) {
    for j in 0..plan.stripes(RoundId::at(r)) {
        let payload = stripe(plan, r, j, shares, codec);
        let round = Round { round: RoundId::at(r) };
        soon(write_frame(send, FrameType::Round, &round, codec, &payload)).await.expect("writes");
    }
}

/// Stripe `j` of an upload of round `r`.
pub(crate) fn stripe(plan: &Plan, r: usize, j: usize, shares: &[Vec<u32>], codec: Codec) -> Vec<u8> {
    let of = |(&g, share): (&GroupId, &Vec<u32>)| plan.input_order(g).gather(j, share).flatten().copied().collect();
    let stripes: Vec<Vec<u32>> = plan.round(RoundId::at(r)).iter().zip(shares).map(of).collect();
    let parts = stripes.iter().zip(plan.upload_stripe(RoundId::at(r), j));
    payload::encode(&parts.map(|(s, part)| (s.as_slice(), part.bits)).collect::<Vec<_>>(), codec)
}

/// What edge B answers in round `r`.
pub(crate) async fn answers(recv: &mut RecvHalf, plan: &Plan, r: usize) -> Vec<Vec<u32>> {
    let mut stripes = Vec::new();
    for j in 0..plan.stripes(RoundId::at(r)) {
        stripes.push(decoded(recv, r, &plan.answer_stripe(RoundId::at(r), j, true)).await);
    }
    arrived(plan, r, &stripes)
}

/// An answer to round `r` of these parts.
pub(crate) async fn decoded(recv: &mut RecvHalf, r: usize, parts: &[Part]) -> Vec<Vec<u32>> {
    let frame = read(recv, FrameType::Answer, parts).await;
    assert_eq!(frame.body::<Answer>().expect("ANSWER").round, RoundId::at(r));
    payload::decode(&frame.payload, frame.header.codec, parts).expect("decodes")
}

/// The answers to round `r` by layer, of what came in its stripes.
pub(crate) fn arrived(plan: &Plan, r: usize, stripes: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    let mut parts = stripes.concat().into_iter();
    let layers: Vec<LayerId> = plan.round_layers(RoundId::at(r)).collect();
    let mut answers: Vec<Vec<u32>> = layers.iter().map(|&l| vec![0; plan.answer_part(l).len]).collect();
    for j in 0..plan.stripes(RoundId::at(r)) {
        for (&l, answer) in layers.iter().zip(&mut answers) {
            let order = plan.output_order(l);
            let part = parts.next().expect("a part for each layer and stripe");
            order.runs(order.stripe(j)).flatten().zip(part).for_each(|(i, z)| answer[i] = z);
        }
    }
    answers
}

pub(crate) async fn write<T: serde::Serialize>(send: &mut SendHalf, kind: FrameType, body: &T) {
    soon(write_frame(send, kind, body, Codec::Packed, &[])).await.expect("writes");
}

pub(crate) async fn read(recv: &mut RecvHalf, kind: FrameType, parts: &[Part]) -> Frame {
    soon(read_frame(recv, |h| h.expect(kind, parts, "the test's frame"))).await.expect("the frame that is due")
}

/// Waits until the edge has closed the connection with `code`; gives its words.
pub(crate) async fn closed_with(connection: &Connection, code: CloseCode) -> String {
    match soon(connection.closed()).await {
        CloseReason::Peer { code: found, text } if found == code as u32 => text,
        other => panic!("{other} where {code:?} was due"),
    }
}
