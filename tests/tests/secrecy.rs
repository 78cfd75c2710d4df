//! What really crosses the links, from the operating system's randomness on, held to the statistics that
//! `common/masking/src/secrecy_tests.rs` tries on broken masks.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinmask_codec::{Part, RoundId};
use twinmask_device::engine::DeviceDir;
use twinmask_device::{CodecChoice, Device, Mode, Tensor};
use twinmask_model::plan::Plan;
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::prf::Key;
use twinmask_testkit::secrecy::{Class, Finding, Seen, Statistic, examine, less_likely};
use twinmask_testkit::wire::{Recorder, tapped};
use twinmask_testkit::{InMemory, numbers};
use twinmask_tests::networks;
use twinmask_transport::frame_io::Frame;
use twinmask_transport::{Identity, Role};
use twinmask_wire::message::{Correction, Open, Opened};
use twinmask_wire::{FrameType, payload};

const SESSIONS: usize = 20;
const INFERENCES: usize = 5;
/// Under ideal masks one of the few hundred tests of a run is below this with 1e-12, and less than 1e-9 of the runs
/// fail even if the approximations of these tests are off by a thousand out there. Broken masks are below 1e-30.
const NEVER: f64 = 1e-15;

const SHAPE: [u32; 4] = [1, 3, 8, 8];

/// All zeros, all of the largest value, and what is neither.
fn input(name: &str) -> Tensor {
    let len = SHAPE.iter().product::<u32>() as usize;
    let data = match name {
        "zeros" => vec![0.0; len],
        "largest" => vec![1.0; len],
        _ => numbers("a real input", len),
    };
    Tensor::new(SHAPE, data).expect("fits")
}

/// What the links of one session carried.
struct Session {
    /// By link: device to edge A, device to edge B, edge A to edge B.
    links: [Vec<(bool, Frame)>; 3],
}

impl Session {
    /// The key of T, for who has the device's key and all that went over the link to edge A.
    fn t(&self, key: &MaskKey, c: u64) -> Key {
        let of = |kind| self.links[0].iter().find(|(_, f)| f.header.kind == kind).map(|(_, f)| f).expect("a session");
        let open: Open = of(FrameType::Open).body().expect("a body");
        let opened: Opened = of(FrameType::Opened).body().expect("a body");
        let (seed, part) = (open.seed.as_ref().expect("for edge A"), opened.part.as_ref().expect("of edge A"));
        SessionKeys::new(key, &seed.0, &part.nonce).answers(opened.prf.algorithm(), c)
    }

    /// Payloads of the frames of `kind` that went `up` (or down) on a link, in the order of the inferences and rounds.
    fn payloads(&self, link: usize, up: bool, kind: FrameType) -> Vec<&[u8]> {
        let of = |(_, frame): &(bool, Frame)| frame.header.kind == kind;
        let frames = self.links[link].iter().filter(|f| f.0 == up && of(f));
        let mut payloads: Vec<(Option<Correction>, &[u8])> = frames
            .map(|(_, f)| {
                let correction = (kind == FrameType::Correction).then(|| f.body().expect("a body"));
                (correction, f.payload.as_slice())
            })
            .collect();
        // Edge A works ahead: corrections come in any order.
        payloads.sort_by_key(|(correction, _)| correction.as_ref().map(|c| (c.counter, c.round)));
        payloads.into_iter().map(|(_, payload)| payload).collect()
    }
}

/// Elements of every part of every round of inference `c`.
fn elements(plan: &Plan, payloads: &[&[u8]], c: usize, what: &str, parts: impl Fn(RoundId) -> Vec<Part>) -> Vec<Seen> {
    let rounds = plan.rounds().len();
    let of_round = |r: RoundId| {
        let parts = parts(r);
        let decoded = payload::decode(payloads[c * rounds + r.index()], twinmask_wire::Codec::Packed, &parts);
        let seen = move |((i, part), elements): ((usize, &Part), Vec<u32>)| {
            Seen::new(format!("{what} of round {r}, {i}"), part.bits, elements)
        };
        parts.iter().enumerate().zip(decoded.expect("packed")).map(seen).collect::<Vec<_>>()
    };
    plan.round_ids().flat_map(of_round).collect()
}

/// The element-wise sum of what is seen at two places each.
fn sums(of: &str, one: &[Seen], other: &[Seen]) -> Vec<Seen> {
    let sum = |(a, b): (&Seen, &Seen)| {
        let keep = twinmask_ring::mask(a.bits);
        let elements = a.elements.iter().zip(&b.elements).map(|(a, b)| a.wrapping_add(*b) & keep).collect();
        Seen::new(format!("{of}: {}", a.name), a.bits, elements)
    };
    one.iter().zip(other).map(sum).collect()
}

/// Runs inferences in `mode` and records all links.
struct Scene {
    plan: Plan,
    /// What the device shares with edge A.
    key: MaskKey,
    classes: BTreeMap<&'static str, Vec<Session>>,
}

impl Scene {
    async fn record(mode: Mode) -> Scene {
        let deployment = InMemory::onnx(&networks::tower(2), &[]);
        let bundle = DeviceDir::open(&deployment.device_dir()).and_then(|d| d.load(None)).expect("the device's bundle");
        let [to_a, to_b, between] = [(); 3].map(|()| Arc::new(Recorder::default()));
        if mode == Mode::Relay {
            deployment.link(|connection| tapped(connection, Arc::clone(&between))).await;
        }
        let (dial, taps) = (deployment.dial(), [Arc::clone(&to_a), Arc::clone(&to_b)]);
        let dial = move |role: Role| {
            let tap = &taps[usize::from(role == Role::EdgeB)];
            tapped(dial(role), Arc::clone(tap))
        };
        let builder = Device::builder(deployment.device_dir()).edges_in_memory(dial);
        let device = builder.mode(mode).codec(CodecChoice::Packed).build().expect("a device");
        let mut classes = BTreeMap::new();
        for name in ["zeros", "largest", "picture"] {
            let mut sessions = Vec::new();
            for _ in 0..SESSIONS {
                for _ in 0..INFERENCES {
                    let done = device.run(input(name)).await.expect("an inference");
                    assert_eq!((done.mode, done.fallbacks), (mode, 0));
                }
                device.close().await;
                sessions.push(Session { links: [&to_a, &to_b, &between].map(|tap| tap.take()) });
            }
            classes.insert(name, sessions);
        }
        let identity = Identity::load(&deployment.device_dir().join("identity")).expect("the device's identity");
        Scene { plan: bundle.model.plan, key: identity.mask_key().expect("a device's key").clone(), classes }
    }

    fn classes(&self, view: impl Fn(&Session, usize) -> Vec<Seen>) -> Vec<Class> {
        let views = |sessions: &[Session]| {
            sessions.iter().flat_map(|s| (0..INFERENCES).map(|c| view(s, c)).collect::<Vec<_>>()).collect()
        };
        self.classes.iter().map(|(&name, sessions)| Class { name, views: views(sessions) }).collect()
    }

    /// All that edge B gets, and the sums that it makes of it.
    fn edge_b(&self, mode: Mode) -> Vec<Class> {
        self.classes(|session, c| {
            let plan = &self.plan;
            let v = elements(plan, &session.payloads(1, true, FrameType::Round), c, "v", |r| plan.upload_parts(r));
            let answers = session.payloads(1, false, FrameType::Answer);
            let z = elements(plan, &answers, c, "what B answers", |r| plan.answer_parts(r));
            if mode == Mode::Split {
                return [v, z].concat();
            }
            let corrections = session.payloads(2, true, FrameType::Correction);
            let corrections = elements(plan, &corrections, c, "z_A + T", |r| plan.answer_parts(r));
            [v, z, corrections].concat()
        })
    }

    /// What edge A gets from the devices: a seed, an id and a ticket. Nothing else that it gets is random.
    fn edge_a(&self, mode: Mode) -> Vec<Class> {
        let views = |sessions: &[Session]| {
            let view = |session: &Session| {
                let (_, open) = session.links[0].iter().find(|(_, f)| f.header.kind == FrameType::Open).expect("OPEN");
                let open: Open = open.body().expect("a body");
                let mut seen = vec![
                    Seen::bytes("the session's id", &open.session),
                    Seen::bytes("the seed", &open.seed.as_ref().expect("for edge A").0),
                ];
                if mode == Mode::Relay {
                    seen.push(Seen::bytes("the ticket", &open.ticket.as_ref().expect("relay").0));
                }
                seen
            };
            sessions.iter().map(view).collect()
        };
        self.classes.iter().map(|(&name, sessions)| Class { name, views: views(sessions) }).collect()
    }

    /// What a network that has broken TLS on both links of a device in mode `split` adds up; with the device's key it
    /// can take T away.
    fn both_links(&self, key: Option<&MaskKey>) -> Vec<Class> {
        self.classes(|session, c| {
            let plan = &self.plan;
            let of = |link| session.payloads(link, false, FrameType::Answer);
            let [mut a, b] = [0, 1].map(|link| elements(plan, &of(link), c, "answers", |r| plan.answer_parts(r)));
            if let Some(key) = key {
                let t = session.t(key, c as u64);
                let layers = plan.round_ids().flat_map(|r| plan.round_layers(r));
                for (seen, l) in a.iter_mut().zip(layers) {
                    let t = t.elements(l.into(), seen.bits, seen.elements.len());
                    let keep = twinmask_ring::mask(seen.bits);
                    seen.elements.iter_mut().zip(t).for_each(|(z, t)| *z = z.wrapping_sub(t) & keep);
                }
            }
            sums("both edges' answers", &a, &b)
        })
    }
}

fn check(what: &str, classes: &[Class]) -> Vec<Finding> {
    let found = examine(classes);
    let least = found.iter().map(|f| f.p).fold(1.0, f64::min);
    let views = classes[0].views.len();
    println!("{what}: {} tests on {views} views of each input, least p {least:.1e}", found.len());
    found
}

/// If this fails, an edge learns of the data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statistic_tells_an_edge_what_it_gets() {
    for mode in [Mode::Split, Mode::Relay] {
        let scene = Scene::record(mode).await;
        for (edge, classes) in [("edge A", scene.edge_a(mode)), ("edge B", scene.edge_b(mode))] {
            let found = check(&format!("{mode}, {edge}"), &classes);
            let unlikely = less_likely(&found, NEVER);
            assert!(unlikely.is_empty(), "{mode}, {edge}: {unlikely:#?}");
        }
    }
}

/// What the masks of edge A's answers are for: without T their sum with those of edge B is `W·x + S_out`, the same
/// every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_t_convict() {
    let scene = Scene::record(Mode::Split).await;
    let masked = check("split, both links", &scene.both_links(None));
    let unlikely = less_likely(&masked, NEVER);
    assert!(unlikely.is_empty(), "{unlikely:#?}");
    let found = check("split, both links without T", &scene.both_links(Some(&scene.key)));
    let by: Vec<Statistic> = less_likely(&found, NEVER).iter().map(|f| f.statistic).collect();
    // Whether two inputs' sums spread alike as well hangs on where `S_out` of these sessions lies: mostly they do not.
    assert!(by.contains(&Statistic::Regression) && by.contains(&Statistic::Uniform), "{by:?}");
}
