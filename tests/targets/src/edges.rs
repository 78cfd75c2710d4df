//! Both edges, each with a device and the other edge that a script plays.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::time::timeout;
use twinmask_codec::{Counter, RoundId};
use twinmask_edge::{Config, Edge, Limits, Role};
use twinmask_kernels::default_kernel;
use twinmask_transport::{CloseReason, Connection, Role as Certified, memory_pair, memory_pair_for};
use twinmask_wire::message::{
    Claim, Correction, Credit, DropCorrections, End, Infer, Open, Prefetch, Prf, RelayOpen, Rest, Round, Secret,
};
use twinmask_wire::{CloseCode, CodecChoice, FrameType, frame};

use crate::lines::{Line, play, runtime, turns};
use crate::scene::{DEVICE, MODEL, scene};
use crate::script::{At, Payloads, Script, steps};
use crate::seeds::{Seed, bad, good};

// What happens without the script's doing, by bits of its first byte.
const OPENED: u8 = 1;
const TICKET: u8 = 2;
const LINKED: u8 = 4;
const INTRODUCED: u8 = 8;

const SESSION: [u8; 16] = [1; 16];
const TICKET_BYTES: [u8; 32] = [9; 32];
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    runtime: Runtime,
    edge: Arc<Edge>,
    role: Role,
    /// Uploads of all rounds, then answers.
    payloads: Payloads,
}

impl Stage {
    fn new(role: Role) -> Stage {
        let ms = Duration::from_millis;
        let limits = Limits {
            max_in_flight: 3,
            stall: ms(1000),
            handshake: ms(1000),
            claim: ms(1),
            // What is not there is missed at once: nothing hangs on a clock.
            relay_grace: Duration::ZERO,
            // Less than eight inferences of the network take, so that scripts run out of it.
            relay_session: 100_000,
            ahead_device: 100_000,
            ..Limits::default()
        };
        let name = if role == Role::A { "edge-a" } else { "edge-b" };
        let config = Config { threads: 1, limits, ..Config::new(scene().edge_dir(name), role) };
        let runtime = runtime();
        let edge = Edge::load(&config, role, default_kernel()).expect("a good folder");
        Stage { runtime, edge, role, payloads: payloads() }
    }

    fn open(&self, how: u8) -> Open {
        let codecs = [CodecChoice::Auto, CodecChoice::Packed, CodecChoice::Zstd, CodecChoice::Raw];
        Open {
            session: SESSION,
            digest: scene().digest,
            seed: (self.role == Role::A).then_some(Secret([3; 32])),
            prfs: vec![Prf::ChaCha20],
            codec: codecs[usize::from(how >> 4 & 3)],
            ticket: (how & TICKET != 0).then_some(Secret(TICKET_BYTES)),
        }
    }

    /// The other edge's end of a connection to this one.
    fn link(&self) -> Line {
        let (at_a, at_b) = memory_pair(Certified::EdgeA, Certified::EdgeB);
        let edge = Arc::clone(&self.edge);
        if self.role == Role::A {
            tokio::spawn(async move { edge.connected(&at_a).await });
            Line::accepting(at_b)
        } else {
            tokio::spawn(edge.serve(at_b));
            Line::opening(at_a)
        }
    }

    fn run(&self, data: &[u8]) -> bool {
        let Some((&how, script)) = data.split_first() else { return false };
        self.runtime.block_on(self.scripted(how, script))
    }

    async fn scripted(&self, how: u8, script: &[u8]) -> bool {
        let certified = if self.role == Role::A { Certified::EdgeA } else { Certified::EdgeB };
        let (ours, theirs) = memory_pair_for(Certified::device(DEVICE).expect("a name"), &[MODEL], certified);
        let serving = tokio::spawn(Arc::clone(&self.edge).serve(theirs));
        let mut lines = [Line::opening(ours), self.link()];
        if how & LINKED == 0 {
            lines[1].connection.close(0, "");
        }
        turns().await;
        if how & OPENED != 0 {
            lines[0].send(0, &frame::encode(FrameType::Open, &self.open(how))).await;
            turns().await;
        }
        if how & INTRODUCED != 0 {
            let first = if self.role == Role::A {
                frame::encode(FrameType::Credit, &Credit { bytes: 50_000 })
            } else {
                frame::encode(FrameType::RelayOpen, &introduction())
            };
            lines[1].send(0, &first).await;
            turns().await;
        }
        play(&mut lines, steps(script, &self.payloads)).await;
        timeout(PATIENCE, serving).await.expect("a session ends with its connection").expect("no panic");
        let [device, link] = &lines;
        for connection in [&device.connection, &link.connection] {
            check_words(connection);
        }
        let answered = device.seen.answers() >= scene().plan().rounds().len();
        drop(lines);
        self.await_empty().await;
        answered
    }

    /// Waits until nothing is held for a session any more.
    async fn await_empty(&self) {
        const HELD: [&str; 4] =
            ["twinmask_sessions{", "twinmask_inferences_in_flight{", "twinmask_ahead_bytes{", "twinmask_relay_bytes{"];
        let begun = Instant::now();
        loop {
            turns().await;
            let metrics = self.edge.metrics();
            let held: Vec<&str> =
                metrics.lines().filter(|l| HELD.iter().any(|m| l.starts_with(m)) && !l.ends_with(" 0")).collect();
            if held.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "still held after the session's end: {held:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// An edge may end a connection for what came, never because something broke inside it.
fn check_words(connection: &Connection) {
    if let Some(CloseReason::Peer { code, text }) = connection.close_reason() {
        assert!(code != CloseCode::Internal as u32, "{text}");
    }
}

fn payloads() -> Payloads {
    let plan = scene().plan();
    let up = plan.round_ids().map(|r| plan.upload_parts(r));
    Payloads::new(up.chain(plan.round_ids().map(|r| plan.answer_parts(r))))
}

fn introduction() -> RelayOpen {
    RelayOpen { session: SESSION, device: DEVICE.into(), digest: scene().digest, ticket: Secret(TICKET_BYTES) }
}

/// A session at edge A: its first byte says what goes before the script, whose first line is the device's and whose
/// second is edge B's.
pub(crate) fn edge_a(data: &[u8]) -> bool {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::new(Role::A)).run(data)
}

/// The same at edge B, where the second line is edge A's.
pub(crate) fn edge_b(data: &[u8]) -> bool {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::new(Role::B)).run(data)
}

const CONTROL: At = At::first(0);
const LINK: At = At::second(0);

fn c(counter: u64) -> Counter {
    Counter::new(counter)
}

fn infer(counter: u64, relay: bool) -> Infer {
    Infer { counter: c(counter), exact: true, relay }
}

impl Script {
    fn claim(self, counter: u64) -> Script {
        self.frame(CONTROL, FrameType::Claim, &Claim { counter: c(counter) })
    }

    fn begin(self, stream: usize, infer: &Infer) -> Script {
        self.frame(At::first(stream), FrameType::Infer, infer)
    }

    fn end(self, stream: usize) -> Script {
        self.frame(At::first(stream), FrameType::End, &End {})
    }

    /// All uploads, one after the other.
    fn uploads(mut self, stream: usize, codec: u8) -> Script {
        for r in 0..scene().plan().rounds().len() as u32 {
            let body = Round { round: RoundId::new(r) };
            self = self.round(At::first(stream), FrameType::Round, &body, r, codec).wait();
        }
        self
    }

    fn corrections(mut self, counter: u64) -> Script {
        let rounds = scene().plan().rounds().len() as u32;
        for r in 0..rounds {
            let body = Correction { counter: c(counter), round: RoundId::new(r) };
            self = self.round(LINK, FrameType::Correction, &body, rounds + r, 0);
        }
        self
    }
}

/// Scripts that end a session, or not, at either edge.
fn common_seeds(role: Role) -> Vec<Seed> {
    let opened = || Script::new(OPENED);
    let stage_open = |digest, seed: bool| Open {
        session: SESSION,
        digest,
        seed: seed.then_some(Secret([3; 32])),
        prfs: vec![Prf::ChaCha20],
        codec: CodecChoice::Zstd,
        ticket: None,
    };
    let at_a = role == Role::A;
    let open = |open: &Open| Script::new(0).frame(CONTROL, FrameType::Open, open).wait();
    let none = Open { prfs: vec![], ..stage_open(scene().digest, at_a) };
    let max = u64::MAX;
    vec![
        bad("nothing", opened().bytes()),
        bad("unknown-model", open(&stage_open([0; 32], at_a)).bytes()),
        bad("swapped", open(&stage_open(scene().digest, !at_a)).bytes()),
        bad("no-prf", open(&none).bytes()),
        bad("rubbish", opened().raw(At::first(1), b"TWMK").burst(At::first(1), 3, 0xa5).bytes()),
        bad("greatest-counter", opened().claim(max).begin(1, &infer(max, false)).wait().bytes()),
        bad("far-counter", opened().begin(1, &infer(1 << 62, false)).wait().claim(64).bytes()),
        bad("relay-without-ticket", opened().begin(1, &infer(0, true)).wait().bytes()),
        bad("claim-with-payload", opened().announced(CONTROL, FrameType::Claim, &Claim { counter: c(0) }).bytes()),
        bad("closed-by-the-device", opened().claim(0).close(CONTROL, 11, "\u{1b}[31m").bytes()),
        bad("half-a-frame", opened().claim(0).begin(1, &infer(0, false)).raw(At::first(1), b"TWMK\x02").bytes()),
        bad("given-up", opened().claim(0).begin(1, &infer(0, false)).reset(At::first(1)).stop(At::first(1)).bytes()),
    ]
}

pub(crate) fn edge_a_seeds() -> Vec<Seed> {
    let relay = || Script::new(OPENED | TICKET | LINKED | INTRODUCED);
    let mut seeds = common_seeds(Role::A);
    for (i, codec) in ["auto", "packed", "zstd", "raw"].into_iter().enumerate() {
        let script = Script::new(OPENED | (i as u8) << 4).claim(0).begin(1, &infer(0, false)).wait().end(1);
        seeds.push(good(format!("split-{codec}"), script.bytes()));
    }
    let rounds = scene().plan().rounds().len() as u32;
    let mut asked = relay().claim(0).begin(1, &infer(0, true));
    for r in 0..rounds {
        asked = asked.frame(At::first(1), FrameType::Round, &Round { round: RoundId::new(r) }).wait();
    }
    let prefetch = |counter| Prefetch { counter: c(counter) };
    let crowd = (1..6).fold(Script::new(OPENED), |s, i| s.claim(i as u64).begin(i, &infer(i as u64, false)));
    let credit = |bytes| Credit { bytes };
    // Held open: relay inferences that ask for nothing, and room for less than one correction at edge B.
    let little = Script::new(OPENED | TICKET | LINKED).frame(LINK, FrameType::Credit, &credit(1)).wait();
    let full = (1..4).fold(little, |s, i| s.claim(i as u64).begin(i, &infer(i as u64, true)));
    seeds.extend([
        good("relay-asked", asked.end(1).bytes()),
        good(
            "prefetched",
            Script::new(OPENED)
                .frame(CONTROL, FrameType::Prefetch, &prefetch(0))
                .begin(1, &infer(0, false))
                .wait()
                .bytes(),
        ),
        good("crowd", crowd.wait().bytes()),
        bad("crowd-and-far-counter", full.begin(4, &infer(1 << 62, false)).wait().claim(4).wait().bytes()),
        bad("claimed-twice", Script::new(OPENED).claim(0).claim(0).bytes()),
        bad("credit-without-end", relay().frame(LINK, FrameType::Credit, &credit(u32::MAX)).wait().bytes()),
        bad("more-credit", relay().frame(LINK, FrameType::Credit, &credit(1)).claim(0).wait().bytes()),
        bad(
            "no-credit",
            Script::new(OPENED | TICKET | LINKED).frame(LINK, FrameType::Credit, &credit(0)).wait().bytes(),
        ),
        bad("rubbish-from-b", relay().raw(LINK, b"rubbish").wait().stop(LINK).bytes()),
        bad("b-goes", relay().wait().reset(LINK).wait().close(LINK, 0, "").claim(0).wait().bytes()),
    ]);
    seeds
}

pub(crate) fn edge_b_seeds() -> Vec<Seed> {
    let relay = || Script::new(OPENED | TICKET | LINKED | INTRODUCED);
    let mut seeds = common_seeds(Role::B);
    for (i, codec) in ["packed", "zstd", "raw"].into_iter().enumerate() {
        let script = Script::new(OPENED | (i as u8 + 1) << 4).begin(1, &infer(0, false)).uploads(1, i as u8).end(1);
        seeds.push(good(format!("split-{codec}"), script.bytes()));
    }
    let corrected = relay().corrections(0).wait().begin(1, &infer(0, true)).uploads(1, 0).end(1);
    let missed = relay().begin(1, &infer(0, true)).uploads(1, 0).end(1);
    let crowd = (1..6).fold(Script::new(OPENED), |s, i| s.begin(i, &infer(i as u64, false)));
    let first = Round { round: RoundId::new(0) };
    let correction = Correction { counter: c(0), round: RoundId::new(0) };
    let dropped = DropCorrections { counter: c(0) };
    let mut stranger = introduction();
    stranger.ticket = Secret([8; 32]);
    let linked = || Script::new(OPENED | TICKET | LINKED);
    let begun = || Script::new(OPENED).begin(1, &infer(0, false));
    seeds.extend([
        good("relay-corrected", corrected.bytes()),
        good("relay-missed", missed.bytes()),
        good("crowd", crowd.uploads(1, 0).bytes()),
        bad("short-upload", begun().short(At::first(1), FrameType::Round, &first).finish(At::first(1)).bytes()),
        bad(
            "another-round",
            begun().round(At::first(1), FrameType::Round, &Round { round: RoundId::new(1) }, 0, 0).bytes(),
        ),
        bad("withdrawn", relay().corrections(0).frame(LINK, FrameType::Drop, &dropped).wait().bytes()),
        bad("rested", relay().corrections(0).frame(LINK, FrameType::Rest, &Rest {}).wait().corrections(1).bytes()),
        bad("corrected-twice", relay().corrections(0).corrections(0).wait().bytes()),
        bad("announced-correction", relay().announced(LINK, FrameType::Correction, &correction).wait().bytes()),
        bad("far-correction", relay().corrections(1 << 62).wait().bytes()),
        bad("stranger", linked().frame(LINK, FrameType::RelayOpen, &stranger).wait().bytes()),
        bad("introduced-twice", relay().frame(At::second(1), FrameType::RelayOpen, &introduction()).wait().bytes()),
        bad("a-goes", relay().corrections(0).close(LINK, 6, "going down").begin(1, &infer(0, true)).wait().bytes()),
    ]);
    seeds
}
