//! Bytes that nobody should send: a wire that flips bits, and clients that talk rubbish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use twinmask_device::engine::infer;
use twinmask_device::engine::{Session, SessionOptions};
use twinmask_device::{DeviceError, Model};
use twinmask_edge::{Config, Edge, Limits};
use twinmask_masking::Integrity;
use twinmask_testkit::{numbers, pester};
use twinmask_tests::flipper::{Flip, Part, wire};
use twinmask_tests::networks::{save, tiny};
use twinmask_tests::{Deployment, Pair, kernels};
use twinmask_transport::{Client, Connection, Identity, Role, TransportLimits, memory_pair_as};
use twinmask_wire::CodecChoice;

/// Longest wait of a device for an answer that a flipped length has made impossible.
const PATIENCE: Duration = Duration::from_secs(2);
/// Inferences at a time.
const LANES: usize = 24;

/// Counts panics of any task or thread from now on.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    &PANICS
}

/// Two edges in memory and a device that checks every output: 4096 samples of at most 96 miss one with 1e-18.
struct Scene {
    a: Arc<Edge>,
    b: Arc<Edge>,
    network: Arc<Model>,
    identity: Identity,
}

/// Which wire a flip is on.
#[derive(Debug, Clone, Copy)]
enum Wire {
    A,
    B,
}

impl Scene {
    fn new() -> Scene {
        let deployment = Deployment::new();
        let file = save(&tiny(), &deployment.scratch("tiny.onnx"));
        deployment.add("tiny", &["--onnx", &file]);
        let edge = |name: &str, role| {
            let limits = Limits { stall: PATIENCE, claim: PATIENCE, handshake: PATIENCE, ..Limits::default() };
            // For all at once; `max_sessions` is as always, since sessions must not outlast their devices for long.
            let limits = Limits { max_sessions_per_device: 10 * LANES, ..limits };
            let config = Config { limits, ..Config::new(deployment.path(name), role) };
            Edge::load(&config, role, twinmask_kernels::default_kernel()).expect("a good folder")
        };
        let (a, b) = (edge("edge-a", twinmask_edge::Role::A), edge("edge-b", twinmask_edge::Role::B));
        let every: Integrity = "sample:4096".parse().expect("a check");
        let network = Arc::new(Model::new(deployment.bundle("tiny"), every).expect("a network"));
        Scene { a, b, network, identity: deployment.identity() }
    }

    fn input() -> Vec<f32> {
        numbers("input", 32)
    }

    /// An inference with a flip on one of the wires: its outputs, the frames on both wires, and whether it was flipped.
    async fn infer(&self, flip: Option<(Wire, Flip)>) -> (Result<Vec<f32>, DeviceError>, [usize; 2], bool) {
        let on = |w: fn(&Wire) -> bool| flip.filter(|(wire, _)| w(wire)).map(|(_, flip)| flip);
        let (to_a, at_a, passed_a) = wire(|| memory_pair_as(&self.identity, Role::EdgeA), on(|w| matches!(w, Wire::A)));
        let (to_b, at_b, passed_b) = wire(|| memory_pair_as(&self.identity, Role::EdgeB), on(|w| matches!(w, Wire::B)));
        tokio::spawn(Arc::clone(&self.a).serve(at_a));
        tokio::spawn(Arc::clone(&self.b).serve(at_b));
        let result = self.infer_over(to_a, to_b).await;
        let flipped = passed_a.flipped() || passed_b.flipped();
        (result, [passed_a.frames(), passed_b.frames()], flipped)
    }

    async fn infer_over(&self, a: Connection, b: Connection) -> Result<Vec<f32>, DeviceError> {
        let options = SessionOptions { codec: CodecChoice::Packed, timeout: PATIENCE, ..SessionOptions::default() };
        let session = Session::over(Arc::clone(&self.network), self.identity.mask_key()?, a, b, options).await?;
        let mut remote = session.begin().await?;
        let mut values = self.network.values();
        let outcome = infer(&self.network, &mut values, &[Self::input()], &mut remote).await?;
        remote.finish().await?;
        // Gives the ends of both streams the time to pass.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(outcome.outputs.into_iter().next().expect("one output").tensor.to_f32())
    }
}

/// One bit in each field of a frame's header, and some of its body and payload.
fn parts() -> Vec<Part> {
    let header = (0..16).map(Part::Header);
    let body = [0, 1, 3, 4, 9, 17, 40, 70].map(Part::Body);
    let payload = [0, 60, 130, 210, 300, 400, 500, 610, 730, 860, 950, 1000].map(Part::Payload);
    header.chain(body).chain(payload).collect()
}

/// If this fails, whoever can alter what an edge or a device sends gets a wrong result through, or takes one down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flipped_bit_never_gives_a_wrong_result() {
    let panics = count_panics();
    let scene = Arc::new(Scene::new());
    let (expected, frames, _) = scene.infer(None).await;
    let expected = expected.expect("an honest wire");
    let mut flips = Vec::new();
    for (wire, frames) in [(Wire::A, frames[0]), (Wire::B, frames[1])] {
        assert!(frames >= 8, "{frames} frames have passed");
        for frame in 0..frames {
            flips.extend(
                parts()
                    .into_iter()
                    .enumerate()
                    .map(|(i, part)| (wire, Flip { frame, part, bit: ((i + frame) % 8) as u8 })),
            );
        }
    }
    let (mut refused, mut harmless, mut payloads) = (0, 0, 0);
    let mut running = JoinSet::new();
    let mut flips = flips.into_iter();
    loop {
        while running.len() < LANES
            && let Some(flip) = flips.next()
        {
            let scene = Arc::clone(&scene);
            running.spawn(async move { (flip, scene.infer(Some(flip)).await) });
        }
        let Some(done) = running.join_next().await else { break };
        let (flip, (result, _, flipped)) = done.expect("no panic");
        payloads += usize::from(flipped && matches!(flip.1.part, Part::Payload(_)));
        match result {
            Ok(outputs) => {
                assert_eq!(outputs, expected, "{flip:?} has changed the result");
                let altered = flipped && matches!(flip.1.part, Part::Payload(_));
                assert!(!altered, "{flip:?} has altered a share or an answer, and nobody noticed");
                harmless += 1;
            }
            Err(error) => {
                assert!(flipped, "{flip:?} flipped nothing, and yet: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 200 && payloads > 50, "{refused} refused, {harmless} harmless, {payloads} in payloads");
    let (after, _, _) = scene.infer(None).await;
    assert_eq!(after.expect("both edges still serve"), expected);
    assert_eq!(panics.load(Ordering::SeqCst), 0, "something panicked on the way");
}

/// If this fails, one device that was broken into takes an edge down for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_from_a_known_device() {
    let deployment = Deployment::lenet();
    let identity = deployment.identity();
    let digest = deployment.bundle("lenet").model.digest;
    for kernel in kernels() {
        let mut pair: Pair = deployment.edges(kernel);
        for (address, role) in [(&pair.a.address, Role::EdgeA), (&pair.b.address, Role::EdgeB)] {
            let mut running = JoinSet::new();
            for i in 0..72 {
                let (address, role, identity) = (address.clone(), role.clone(), identity.clone());
                running.spawn(async move {
                    let limits = TransportLimits::lan();
                    let connected = Client::connect(&address, &role, &identity, &limits, Duration::from_secs(10)).await;
                    if let Ok(connection) = connected {
                        pester(&connection, i, i % 2 == 1, digest, Duration::from_millis(150)).await;
                        return true;
                    }
                    false
                });
                while running.len() >= 6 {
                    assert!(running.join_next().await.expect("some run").expect("no panic"), "no connection");
                }
            }
            while let Some(done) = running.join_next().await {
                assert!(done.expect("no panic"), "no connection");
            }
        }
        deployment.device(&pair, &["bench", "--runs", "3"]).expect_ok();
        for edge in [&mut pair.a, &mut pair.b] {
            assert!(edge.is_alive() && edge.metric("twinmask_refused_total") > 20.0, "{}", edge.get("/metrics").1);
            assert!(!edge.log().contains("panicked"), "{}", edge.log());
        }
    }
}
