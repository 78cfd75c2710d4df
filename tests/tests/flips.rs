//! Bits that are flipped anywhere: on the wires between a device and both edges, and on the one between the edges.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use twinmask_device::engine::{DeviceDir, Session, SessionOptions, infer};
use twinmask_device::{Device, DeviceError, Integrity, Mode, Model, Role, Tensor};
use twinmask_edge::{Edge, Limits};
use twinmask_ring::prf::Key;
use twinmask_testkit::{InMemory, numbers};
use twinmask_tests::flipper::{Flip, Hit, Part, wire};
use twinmask_tests::networks::tiny;
use twinmask_transport::{CloseReason, Identity, memory_pair, memory_pair_as};
use twinmask_wire::{CloseCode, CodecChoice, FrameType};

/// Flips that must really have happened.
const FLIPS: usize = 1000;
/// Inferences at a time, each with edges of its own.
const LANES: usize = 16;
/// Longest wait of anybody for what a flipped length has made impossible.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Wires: to edge A, to edge B, and between the two.
const WIRES: usize = 3;

/// Both edges and a device, connected over three wires.
struct Scene {
    a: Arc<Edge>,
    b: Arc<Edge>,
    model: Arc<Model>,
    identity: Identity,
}

/// What came of an inference.
struct Seen {
    outcome: Result<Vec<f32>, DeviceError>,
    /// Frames that passed each wire.
    frames: [usize; WIRES],
    /// What was flipped, if anything was.
    hit: Option<Hit>,
}

impl Scene {
    fn new(issued: &InMemory, model: &Arc<Model>) -> Scene {
        let limits = || Limits { stall: PATIENCE, claim: PATIENCE, handshake: PATIENCE, ..Limits::default() };
        let [a, b] = [twinmask_edge::Role::A, twinmask_edge::Role::B].map(|role| issued.edge(role, limits()));
        let identity = Identity::load(&issued.device_dir().join("identity")).expect("the device's identity");
        Scene { a, b, model: Arc::clone(model), identity }
    }

    /// Corrections that edge B has taken so far.
    fn corrections(&self) -> usize {
        let metrics = self.b.metrics();
        let line = metrics.lines().find(|l| l.starts_with("twinmask_corrections_total{"));
        line.and_then(|l| l.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    /// Waits until edge B has the corrections of the next inference. They may never come: then both edges answer.
    async fn await_corrections(&self, before: usize) {
        let rounds = self.model.plan().rounds().len();
        let coming = async {
            while self.corrections() < before + rounds {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE / 4, coming).await;
    }

    /// An inference in this mode, with a flip on one of the wires.
    async fn infer(&self, mode: Mode, flip: Option<(usize, Flip)>) -> Seen {
        let on = |wire| flip.filter(|(w, _)| *w == wire).map(|(_, flip)| flip);
        let (to_a, at_a, passed_a) = wire(|| memory_pair_as(&self.identity, Role::EdgeA), on(0));
        let (to_b, at_b, passed_b) = wire(|| memory_pair_as(&self.identity, Role::EdgeB), on(1));
        let (link_a, link_b, passed_link) = wire(|| memory_pair(Role::EdgeA, Role::EdgeB), on(2));
        let (a, link) = (Arc::clone(&self.a), link_a.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { a.connected(&link).await });
        for (edge, connection) in [(&self.a, at_a), (&self.b, at_b), (&self.b, link_b)] {
            serving.spawn(Arc::clone(edge).serve(connection));
        }
        let before = self.corrections();
        tokio::task::yield_now().await;
        let options = SessionOptions {
            codec: CodecChoice::Packed,
            timeout: PATIENCE,
            relay: mode == Mode::Relay,
            ..Default::default()
        };
        let inference = async {
            let session =
                Session::over(Arc::clone(&self.model), self.identity.mask_key()?, to_a, to_b, options).await?;
            if mode == Mode::Relay {
                self.await_corrections(before).await;
            }
            let mut remote = session.begin().await?;
            let outcome = infer(&self.model, &mut self.model.values(), &[numbers("input", 32)], &mut remote).await?;
            remote.finish().await?;
            // Gives the ends of all streams the time to pass.
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(outcome.outputs.into_iter().next().expect("one output").tensor.to_f32())
        };
        let outcome = inference.await;
        link_a.close(0, "");
        while let Some(ended) = serving.join_next().await {
            ended.expect("no panic");
        }
        let passed = [passed_a, passed_b, passed_link];
        Seen { outcome, frames: passed.each_ref().map(|p| p.frames()), hit: passed.iter().find_map(|p| p.hit()) }
    }
}

/// Seeded flips on all wires in both modes: any byte of any frame that passed an honest wire.
fn flips(frames: [[usize; WIRES]; 2]) -> impl Iterator<Item = (Mode, usize, Flip)> {
    let key = Key::derive("flips", &[]);
    (0..).map(move |i| {
        let [mode, wire, frame, byte, bit] = key.elements(i, 32, 5)[..] else { unreachable!("five were asked for") };
        let (mode, wire) = (mode as usize % 2, wire as usize % WIRES);
        // Without relay nothing passes between the edges.
        let wire = if frames[mode][wire] == 0 { wire % 2 } else { wire };
        let flip =
            Flip { frame: frame as usize % frames[mode][wire], part: Part::Any(byte as usize), bit: (bit % 8) as u8 };
        ([Mode::Split, Mode::Relay][mode], wire, flip)
    })
}

/// If this fails, whoever can alter one bit of what devices and edges send each other gets a wrong result through, or
/// takes one of them down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_flips_anywhere_never_give_a_wrong_result() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    let issued = InMemory::onnx(&tiny(), &[]);
    let bundle = DeviceDir::open(&issued.device_dir()).and_then(|dir| dir.load(None)).expect("a good folder");
    let model = Arc::new(Model::new(bundle, Integrity::default()).expect("a good model"));
    let mut free: Vec<Scene> = (0..LANES).map(|_| Scene::new(&issued, &model)).collect();
    let mut honest = Vec::new();
    for mode in [Mode::Split, Mode::Relay] {
        honest.push(free[0].infer(mode, None).await);
    }
    let expected = honest[0].outcome.as_ref().expect("honest wires").clone();
    assert_eq!(honest[1].outcome.as_ref().expect("honest wires"), &expected);
    let frames = [honest[0].frames, honest[1].frames];
    assert!(frames[1].iter().all(|&n| n >= 4) && frames[0][0] >= 6 && frames[0][1] >= 6, "{frames:?}");

    let (mut flips, mut running) = (flips(frames), JoinSet::new());
    let (mut hits, mut caught) = ([0; WIRES], [0; WIRES]);
    while hits.iter().sum::<usize>() < FLIPS || !running.is_empty() {
        while hits.iter().sum::<usize>() < FLIPS
            && let Some(scene) = free.pop()
        {
            let (mode, wire, flip) = flips.next().expect("they never end");
            running.spawn(async move {
                let seen = scene.infer(mode, Some((wire, flip))).await;
                (scene, mode, wire, flip, seen)
            });
        }
        let done = running.join_next().await.expect("some run");
        let (scene, mode, wire, flip, Seen { outcome, hit, .. }) = done.expect("no panic");
        free.push(scene);
        // Fewer frames than an honest wire may pass where nothing is flipped: corrections that came late, say.
        let Some(hit) = hit else {
            assert_eq!(outcome.expect("an honest wire"), expected);
            continue;
        };
        hits[wire] += 1;
        let what = format!("{mode:?}, wire {wire}, {flip:?}, {hit:?}");
        match outcome {
            Ok(outputs) => {
                assert_eq!(outputs, expected, "{what} has changed the result");
                let used = [FrameType::Round as u8, FrameType::Answer as u8].contains(&hit.kind);
                assert!(!(used && hit.payload), "{what} has altered a share or an answer, and nobody noticed");
            }
            Err(error) => {
                caught[wire] += 1;
                assert!((4..=6).contains(&error.exit_code()), "{what}: {error}");
            }
        }
    }
    println!("flips on the wires to A, to B, between them: {hits:?}, of which ended the inference: {caught:?}");
    assert!(
        hits.iter().all(|&n| n > FLIPS / 10) && caught[0] > 100 && caught[1] > 100 && caught[2] > 0,
        "{hits:?}, {caught:?}"
    );
    for mode in [Mode::Split, Mode::Relay] {
        for scene in &free {
            assert_eq!(scene.infer(mode, None).await.outcome.expect("all edges still serve"), expected);
        }
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked on the way");
}

/// If this fails, an edge sees why the device gave up, or that it did so for another reason than last time: more than
/// one bit on what its lie did (docs/security-argument.md, L6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_looks_alike_to_both_edges() {
    let issued = InMemory::onnx(&tiny(), &[]);
    let limits = || Limits { ahead_total: 0, ..Limits::default() };
    let edges = [twinmask_edge::Role::A, twinmask_edge::Role::B].map(|role| issued.edge(role, limits()));
    let identity = Identity::load(&issued.device_dir().join("identity")).expect("the device's identity");
    let mut failures = [0; 2];
    for (lying, frame) in [0, 1].into_iter().flat_map(|lying| (0..12).map(move |frame| (lying, frame))) {
        for part in [Part::Payload(0), Part::Payload(999), Part::Body(0), Part::Header(5), Part::Header(12)] {
            let ends = Arc::new(Mutex::new(Vec::new()));
            let (edges, seen, identity) = (edges.clone(), Arc::clone(&ends), identity.clone());
            let dial = move |role: Role| {
                let i = usize::from(role == Role::EdgeB);
                let flip = (i == lying).then_some(Flip { frame, part, bit: 1 });
                let (ours, theirs, passed) = wire(|| memory_pair_as(&identity, role.clone()), flip);
                tokio::spawn(Arc::clone(&edges[i]).serve(theirs.clone()));
                seen.lock().expect("no panic").push((theirs, passed));
                ours
            };
            let device = Device::builder(issued.device_dir()).edges_in_memory(dial).timeout(PATIENCE).open();
            let Ok(device) = device.await else { continue };
            let input = Tensor::new([1, 2, 4, 4], numbers("input", 32)).expect("as many");
            let outcome = device.run(input).await;
            let ends = std::mem::take(&mut *ends.lock().expect("no panic"));
            let answer = |hit: Hit| hit.kind == FrameType::Answer as u8;
            if !ends.iter().any(|(_, passed)| passed.hit().is_some_and(answer)) {
                continue;
            }
            outcome.expect_err("an answer was altered");
            failures[lying] += 1;
            for (end, _) in ends {
                let ended = tokio::time::timeout(10 * PATIENCE, end.closed()).await.expect("both edges are told");
                let alike = CloseReason::Peer { code: CloseCode::Failed as u32, text: String::new() };
                assert_eq!(ended, alike, "edge {lying} lied in frame {frame}, {part:?}");
            }
        }
    }
    assert!(failures.iter().all(|&n| n >= 8), "{failures:?}");
}
