//! Random operations, legal and illegal ones in any order, on all that the two edges keep of a session: counters, what
//! is computed ahead, what is on its way to edge B, and what waits there. No I/O, no clock, fixed seeds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use tokio::task::unconstrained;
use twinmask_codec::{Counter, RoundId};
use twinmask_wire::message::{Infer, Prf, RelayOpen, Secret};
use twinmask_wire::session::WINDOW;
use twinmask_wire::{Codec, CodecChoice};

use crate::ahead::store::{Ahead, Task, Want};
use crate::budget::Device;
use crate::compute::queue::{ComputeError, Done};
use crate::edge::Edge;
use crate::models::Model;
use crate::relay::inbox::CorrectionInbox;
use crate::relay::outbox::{Outbox, Outgoing};
use crate::rounds::Rounds;
use crate::session::state::{Running, Session};
use crate::test_support::TestEdge;
use crate::{Limits, Role};

/// Entries that no set or map of a session exceeds, whatever its device and the other edge do: some windows of
/// counters, with their rounds.
const MOST_ENTRIES: usize = 8 * 2 * WINDOW as usize;
/// Inferences that run at a time.
const MOST_RUNNING: usize = 8;
/// Time after which a session rests.
const REST: Duration = Duration::from_secs(30);

/// Which counter, around one above the highest that was claimed.
#[derive(Debug, Clone, Copy)]
enum Pick {
    Above(u64),
    Below(u64),
    Any(u64),
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Done,
    Failed,
    GivenUp,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Claim(Pick),
    Prefetch(Pick),
    Begin {
        at: Role,
        pick: Pick,
        relay: bool,
        busy: bool,
    },
    /// What a device does: claims the next counter and begins it at both edges.
    Infer {
        relay: bool,
    },
    End {
        at: Role,
        which: usize,
    },
    /// The next round of an inference at edge B.
    Round(usize),
    /// The next answer of an inference at edge A.
    Answer(usize),
    /// Edge A looks for something to compute ahead.
    Look,
    Compute {
        started: bool,
        outcome: Outcome,
    },
    /// Edge A's next message to edge B leaves; it arrives; the same the other way.
    Send,
    Receive,
    Credit,
    Credited,
    /// All of that until nothing is left to do.
    Settle,
    /// Time passes without an inference.
    Wait,
    /// The edges lose each other.
    Cut,
    /// Edge A says what it must not.
    Hostile(Message),
    /// Edge B grants what comes to its mind.
    Grant(u32),
}

/// What a hostile edge A sends: a correction with bytes more than it should have, a withdrawal, or that it rests.
#[derive(Debug, Clone, Copy)]
enum Message {
    Correction(Pick, u32, usize),
    Drop(Pick),
    Rest,
}

fn pick() -> impl Strategy<Value = Pick> {
    let any = prop_oneof![any::<u64>(), Just(u64::MAX), Just(1 << 62), 0..200u64];
    prop_oneof![6 => (0..4u64).prop_map(Pick::Above), 4 => (0..6u64).prop_map(Pick::Below),
        1 => (4..200u64).prop_map(Pick::Above), 1 => (6..200u64).prop_map(Pick::Below), 1 => any.prop_map(Pick::Any)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::A), Just(Role::B)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![6 => Just(Outcome::Done), 1 => Just(Outcome::Failed), 1 => Just(Outcome::GivenUp)]
}

/// What devices, time and chance do.
fn op() -> impl Strategy<Value = Op> {
    let begin = (role(), pick(), any::<bool>(), any::<bool>());
    prop_oneof![
        2 => pick().prop_map(Op::Claim),
        1 => pick().prop_map(Op::Prefetch),
        3 => begin.prop_map(|(at, pick, relay, busy)| Op::Begin { at, pick, relay, busy }),
        3 => prop::bool::weighted(0.8).prop_map(|relay| Op::Infer { relay }),
        3 => (role(), 0..MOST_RUNNING).prop_map(|(at, which)| Op::End { at, which }),
        6 => (0..MOST_RUNNING).prop_map(Op::Round),
        3 => (0..MOST_RUNNING).prop_map(Op::Answer),
        6 => Just(Op::Look),
        6 => (any::<bool>(), outcome()).prop_map(|(started, outcome)| Op::Compute { started, outcome }),
        4 => Just(Op::Send),
        4 => Just(Op::Receive),
        2 => Just(Op::Credit),
        2 => Just(Op::Credited),
        2 => Just(Op::Settle),
        1 => Just(Op::Wait),
    ]
}

fn with(of: impl Strategy<Value = Op>, one_in: u32) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![one_in - 1 => op(), 1 => of], 1..150)
}

fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x7477_696e_6d61_736b);
    ProptestConfig { cases: 1500, rng_seed, failure_persistence: None, max_shrink_iters: 20_000, ..Default::default() }
}

/// What a future gives without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(unconstrained(future));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A payload that says what it is: `W·R + T` for edge B, or an answer for the device.
fn payload(want: Want, (c, r): (Counter, RoundId), len: usize) -> Vec<u8> {
    let mut bytes = vec![u8::from(want == Want::Relay)];
    bytes.extend(c.get().to_le_bytes());
    bytes.extend(r.get().to_le_bytes());
    assert!(len >= bytes.len(), "too short to say what it is");
    bytes.resize(len, 0);
    bytes
}

/// Both edges, which all cases use one after the other.
struct Edges {
    a: TestEdge,
    b: TestEdge,
}

impl Edges {
    fn new() -> Edges {
        let limits = || Limits { ahead_device: 9_000, relay_device: 10_000, rest: REST, ..Limits::default() };
        let edge =
            |role| TestEdge::with(role, crate::test_support::bundle(), limits(), twinmask_kernels::default_kernel());
        Edges { a: edge(Role::A), b: edge(Role::B) }
    }

    /// Runs `ops` on a new session whose corrections may take `room` bytes.
    fn run(&self, room: usize, ops: &[Op]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(unconstrained(async {
            let mut world = World::new(self, room);
            for &op in ops {
                world.step(op).await;
                world.check();
            }
            drop(world);
            for budget in [&self.a.edge.ahead, &self.b.edge.corrections] {
                assert_eq!(budget.granted(), 0, "something outlives its session");
            }
        }));
    }
}

/// A session at both edges, and what is on its way between them.
struct World {
    a: Arc<Session>,
    b: Arc<Session>,
    model: Arc<Model>,
    running: [Vec<(Running, Infer, RoundId)>; 2],
    task: Option<(Task, Arc<AtomicBool>)>,
    to_b: VecDeque<Outgoing>,
    to_a: VecDeque<u32>,
    /// Whether the edges are connected, and whether either is not what it should be.
    up: bool,
    hostile: bool,
    /// One above the highest counter that was claimed.
    next: u64,
    /// Corrections that edge A has sent since the session last rested, and those that edge B has taken.
    sent: HashSet<(Counter, RoundId)>,
    taken: HashMap<(Counter, RoundId), Vec<u8>>,
    /// What edge B has used, and what it has answered without.
    used: HashMap<(Counter, RoundId), bool>,
}

impl World {
    fn new(edges: &Edges, room: usize) -> World {
        let device = Device::from("cam");
        let facts =
            RelayOpen { session: [1; 16], device: device.to_string(), digest: edges.b.digest, ticket: Secret([1; 32]) };
        let model = |edge: &TestEdge| Arc::clone(edge.edge.models().get(&edge.digest).expect("it is loaded"));
        let session = |edge: &Arc<Edge>, model: &Arc<Model>, ahead, inbox| {
            let rounds = Rounds::new(edge, &device, Arc::clone(model), None, Prf::ChaCha20, CodecChoice::Packed);
            Arc::new(Session::new(rounds, ahead, inbox, true))
        };
        let (at_a, at_b) = (model(&edges.a), model(&edges.b));
        let lengths = at_b.lengths.iter().map(|l| l.correction).collect();
        let inbox = edges.b.edge.inboxes.open(facts.clone(), lengths, &edges.b.edge.corrections, room);
        let inbox = inbox.expect("no other session has this id");
        inbox.introduce(&facts).expect("they are its own");
        let ahead = Ahead::new(Some(Outbox::new(inbox.credit())), &device, &edges.a.edge.ahead, &at_a.lengths, REST);
        World {
            a: session(&edges.a.edge, &at_a, Some(ahead), None),
            b: session(&edges.b.edge, &at_b, None, Some(inbox)),
            model: at_a,
            running: Default::default(),
            task: None,
            to_b: VecDeque::new(),
            to_a: VecDeque::new(),
            up: true,
            hostile: false,
            next: 0,
            sent: HashSet::new(),
            taken: HashMap::new(),
            used: HashMap::new(),
        }
    }

    fn ahead(&self) -> &Ahead {
        self.a.ahead.as_ref().expect("edge A has it")
    }

    fn outbox(&self) -> &Outbox {
        self.ahead().outbox.as_ref().expect("this session has it")
    }

    fn inbox(&self) -> &Arc<CorrectionInbox> {
        self.b.inbox.as_ref().expect("edge B has it")
    }

    fn counter(&self, pick: Pick) -> Counter {
        Counter::new(match pick {
            Pick::Above(n) => self.next.saturating_add(n),
            Pick::Below(n) => self.next.saturating_sub(n),
            Pick::Any(n) => n,
        })
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Claim(pick) => {
                let c = self.counter(pick);
                if self.a.claim(c).is_ok() {
                    self.next = self.next.max(c.get().saturating_add(1));
                }
            }
            Op::Prefetch(pick) => drop(self.a.prefetch(self.counter(pick))),
            Op::Begin { at, pick, relay, busy } => self.begin(at, self.counter(pick), relay, busy),
            Op::Infer { relay } => {
                let c = Counter::new(self.next);
                if self.a.claim(c).is_ok() {
                    self.next += 1;
                    self.begin(Role::A, c, relay, false);
                    self.begin(Role::B, c, relay, false);
                }
            }
            Op::End { at, which } => {
                let running = &mut self.running[at as usize];
                if which < running.len() {
                    running.swap_remove(which);
                }
            }
            Op::Round(which) => self.round(which),
            Op::Answer(which) => self.answer(which),
            Op::Look => self.look(),
            Op::Compute { started, outcome } => self.compute(started, outcome),
            Op::Send => self.send(),
            Op::Receive => self.receive(),
            Op::Credit => self.credit(),
            Op::Credited => self.credited(),
            Op::Settle => {
                for _ in 0..100 {
                    self.look();
                    self.compute(true, Outcome::Done);
                    self.send();
                    self.receive();
                    self.credit();
                    self.credited();
                }
            }
            Op::Wait => {
                tokio::time::advance(REST).await;
                self.compute(false, Outcome::GivenUp);
                self.look();
            }
            Op::Cut => self.cut(),
            Op::Hostile(message) => self.deceive(message),
            Op::Grant(bytes) => {
                self.hostile = true;
                self.ahead().credit(self.outbox(), bytes);
            }
        }
    }

    fn begin(&mut self, at: Role, counter: Counter, relay: bool, busy: bool) {
        let infer = Infer { counter, exact: true, relay };
        let session = if at == Role::A { &self.a } else { &self.b };
        if let Ok(running) = session.accept(infer) {
            let full = self.running[at as usize].len() >= MOST_RUNNING;
            if !busy && !full {
                self.running[at as usize].push((running, infer, RoundId::new(0)));
            }
        }
    }

    /// Edge B answers the next round of an inference, with its correction or without, and never both.
    fn round(&mut self, which: usize) {
        let Some(&(_, infer, r)) = self.running[Role::B as usize].get(which) else { return };
        if !infer.relay || r.index() >= self.model.lengths.len() {
            return;
        }
        let (c, inbox) = (infer.counter, self.inbox());
        let taken = inbox.take(c, r).or_else(|| now(inbox.come(c, r)).and_then(|()| inbox.take_or_miss(c, r)));
        let with = taken.is_some();
        if let Some(found) = taken {
            assert_eq!(self.taken.remove(&(c, r)), Some(found), "what came is not what is used");
        } else {
            let late = self.inbox().take_or_miss(c, r);
            assert!(late.is_none(), "it came while nothing happened");
        }
        assert_eq!(self.used.insert((c, r), with), None, "a round is answered twice");
        self.running[Role::B as usize][which].2 = r.next();
    }

    /// Edge A's device gets what was computed for it and nothing that was meant for edge B.
    fn answer(&mut self, which: usize) {
        let Some(&(_, infer, r)) = self.running[Role::A as usize].get(which) else { return };
        if infer.relay || r.index() >= self.model.lengths.len() {
            return;
        }
        let want = Want::Split { exact: true };
        if let Some(taken) = now(self.ahead().take(infer.counter, r, want)) {
            if let Some((_, found)) = taken {
                assert_eq!(found, payload(want, (infer.counter, r), found.len()));
            }
            self.running[Role::A as usize][which].2 = r.next();
        }
    }

    fn look(&mut self) {
        if self.task.is_some() {
            return;
        }
        let task = now(self.ahead().task());
        let looked = self.ahead().kept().1;
        let most = (3 * WINDOW as usize + 1) * (self.model.lengths.len() + 1);
        assert!(looked <= most, "looked at {looked} rounds");
        if let Some(task) = task {
            let started = Arc::new(AtomicBool::new(false));
            self.ahead().computes(&task, Arc::clone(&started));
            self.task = Some((task, started));
        }
    }

    fn compute(&mut self, started: bool, outcome: Outcome) {
        let Some((task, begun)) = self.task.take() else { return };
        begun.store(started, Relaxed);
        let lengths = self.model.lengths[task.at.1.index()];
        let len = if task.want == Want::Relay { lengths.correction } else { lengths.answer };
        let value = (Codec::Packed, payload(task.want, task.at, len));
        let done = match outcome {
            Outcome::Done => Some(Ok(Done { value, queued: Duration::ZERO, computed: Duration::ZERO })),
            Outcome::Failed => Some(Err(ComputeError::Closed)),
            Outcome::GivenUp if now(self.ahead().given_up(task.priority)).is_some() => None,
            Outcome::GivenUp => {
                self.task = Some((task, begun));
                return;
            }
        };
        self.ahead().computed(task, done);
    }

    /// Edge A sends corrections and nothing else, none twice unless edge B has forgotten it, and always the same bytes.
    fn send(&mut self) {
        let Some(message) = now(self.outbox().next()).flatten().filter(|_| self.up) else { return };
        match &message {
            Outgoing::Correction { counter, round, payload: found, .. } => {
                let at = (*counter, *round);
                assert_eq!(**found, payload(Want::Relay, at, found.len()), "not what edge B may see");
                assert!(self.sent.insert(at), "sent twice");
            }
            Outgoing::Rest => self.sent.clear(),
            Outgoing::Drop { .. } => {}
        }
        self.to_b.push_back(message);
    }

    fn receive(&mut self) {
        let Some(message) = self.to_b.pop_front() else { return };
        match message {
            Outgoing::Correction { counter, round, payload, .. } => {
                let put = self.inbox().put(counter, round, payload.to_vec());
                assert!(put.is_ok() || self.hostile, "an honest edge A breaks the rules: {put:?}");
                match put {
                    Ok(()) => drop(self.taken.insert((counter, round), payload.to_vec())),
                    Err(_) => self.cut(),
                }
            }
            Outgoing::Drop { counter } => self.inbox().discard(counter),
            Outgoing::Rest => self.inbox().rest(),
        }
    }

    fn credit(&mut self) {
        if let Some(Some(bytes)) = now(self.inbox().owed()).filter(|_| self.up) {
            self.to_a.push_back(u32::try_from(bytes).expect("grants are small"));
        }
    }

    fn credited(&mut self) {
        if let Some(bytes) = self.to_a.pop_front() {
            self.ahead().credit(self.outbox(), bytes);
        }
    }

    fn cut(&mut self) {
        self.up = false;
        self.to_a.clear();
        self.to_b.clear();
        self.outbox().down();
        self.inbox().down();
    }

    fn deceive(&mut self, message: Message) {
        self.hostile = true;
        if !self.up {
            return;
        }
        match message {
            Message::Correction(pick, r, more) => {
                let (c, r) = (self.counter(pick), RoundId::new(r));
                let len = self.model.lengths.get(r.index()).map_or(20, |l| l.correction);
                if self.inbox().put(c, r, vec![0; len + more]).is_ok() {
                    assert!(more == 0 && r.index() < self.model.lengths.len(), "another length than the plan's");
                    self.taken.insert((c, r), vec![0; len]);
                } else {
                    self.cut();
                }
            }
            Message::Drop(pick) => self.inbox().discard(self.counter(pick)),
            Message::Rest => self.inbox().rest(),
        }
    }

    fn check(&self) {
        let (at_a, _) = self.ahead().kept();
        let (credit, queued) = self.outbox().kept();
        let ([granted, listed], at_b) = self.inbox().kept();
        for entries in [at_a, queued, at_b] {
            assert!(entries <= MOST_ENTRIES, "{entries} entries");
        }
        for (edge, bound) in [(&self.a.edge().ahead, 9_000), (&self.b.edge().corrections, 10_000)] {
            assert!(edge.granted() <= bound, "{} bytes of {bound}", edge.granted());
        }
        if self.up {
            assert_eq!(granted, listed, "what is set aside is not what is accounted for");
        }
        // What edge A believes to have, with all that is on its way, is what edge B believes to have granted.
        let rests = self.to_b.iter().any(|m| matches!(m, Outgoing::Rest));
        if let Some(credit) = credit.filter(|_| self.up && !self.hostile && !rests) {
            let corrections =
                |m: &Outgoing| if let Outgoing::Correction { payload, .. } = m { payload.len() } else { 0 };
            let under_way = self.to_b.iter().map(corrections).sum::<usize>() + self.to_a.iter().sum::<u32>() as usize;
            assert_eq!(credit + under_way, self.inbox().credit(), "the edges count differently");
        }
    }
}

/// Room for corrections: none, less than a round takes, some, all.
fn room() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 1..100usize, 100..4_000usize, Just(10_000)]
}

/// If this fails, whatever devices do, in whatever order and however late, one of them takes more than it may, edge B
/// gets what it must not see, or what it has not room for.
#[test]
fn honest_edges_keep_to_the_rules_whatever_devices_do() {
    let edges = Edges::new();
    proptest!(config(), |(room in room(), ops in with(Just(Op::Cut), 300))| edges.run(room, &ops));
}

/// If this fails, edge A can have edge B hold more than it has room for, or use what was not sent.
#[test]
fn edge_b_keeps_to_the_rules_whatever_edge_a_sends() {
    let edges = Edges::new();
    let correction = (pick(), 0..5u32, prop_oneof![9 => Just(0), 1 => 1..4usize]);
    let correction = correction.prop_map(|(pick, r, more)| Message::Correction(pick, r, more));
    let hostile = prop_oneof![4 => correction, 1 => pick().prop_map(Message::Drop), 1 => Just(Message::Rest)];
    proptest!(config(), |(room in room(), ops in with(hostile.prop_map(Op::Hostile), 3))| edges.run(room, &ops));
}

/// If this fails, edge B can have edge A take more memory than it has, or look for work for good.
#[test]
fn edge_a_keeps_to_the_rules_whatever_edge_b_grants() {
    let edges = Edges::new();
    let bytes = prop_oneof![0..3u32, 0..5_000u32, Just(u32::MAX), any::<u32>()];
    proptest!(config(), |(room in room(), ops in with(bytes.prop_map(Op::Grant), 5))| edges.run(room, &ops));
}
