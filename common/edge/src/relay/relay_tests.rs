//! Mode `relay` over connections in memory: both edges, and each against a hand-driven other.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use twinmask_codec::{Counter, Part, RoundId, packed_parts_len};
use twinmask_kernels::default_kernel;
use twinmask_model::bundle::EdgeBundle;
use twinmask_model::plan::Plan;
use twinmask_ring::keys::SessionKeys;
use twinmask_ring::mask;
use twinmask_transport::frame_io::{Frame, read_frame, write_frame};
use twinmask_transport::{Connection, RecvHalf, SendHalf, memory_pair, sever};
use twinmask_wire::message::{
    Correction, Credit, DropCorrections, End, Infer, Miss, Open, RelayOpen, Rest, Round, Secret,
};
use twinmask_wire::{CloseCode, Codec, FrameType, payload};

use crate::test_support::*;
use crate::{Limits, Role};

type Certified = twinmask_transport::Role;

const PATIENT: Duration = Duration::from_secs(8);

fn patient() -> Limits {
    Limits { relay_grace: PATIENT, ..Limits::default() }
}

/// `OPEN` with a ticket, under a session id of its own.
fn open(edge: &TestEdge, session: u8) -> Open {
    Open { session: [session; 16], ticket: Some(Secret([session; 32])), ..edge.open_frame() }
}

fn next_session() -> u8 {
    static SESSIONS: AtomicU8 = AtomicU8::new(1);
    SESSIONS.fetch_add(1, Relaxed)
}

/// A device with a session at both edges.
async fn devices(a: &TestEdge, b: &TestEdge) -> (Device, Device) {
    let session = next_session();
    let (for_a, for_b) = (open(a, session), open(b, session));
    tokio::join!(Device::open(a.connect(), &for_a), Device::open(b.connect(), &for_b))
}

/// The sums `W·v + z_A + T`, or `W·v` alone.
fn wanted(
    keys: &SessionKeys,
    bundle: &EdgeBundle,
    c: u64,
    r: usize,
    v: &[Vec<u32>],
    with_correction: bool,
) -> Vec<Vec<u32>> {
    let mut sums = expected(bundle, r, v);
    if with_correction {
        let corrections = of_edge_a(keys, bundle, r, c);
        for ((sum, correction), part) in sums.iter_mut().zip(corrections).zip(bundle.plan.answer_parts(RoundId::at(r)))
        {
            sum.iter_mut().zip(correction).for_each(|(s, c)| *s = s.wrapping_add(c) & mask(part.bits));
        }
    }
    sums
}

/// Keys of a session whose edge A is driven by hand.
fn by_hand() -> SessionKeys {
    keys(DEVICE, &[], &[0; 32])
}

fn packed(plan: &Plan, r: usize, answers: &[Vec<u32>]) -> Vec<u8> {
    let parts: Vec<(&[u32], u32)> =
        answers.iter().zip(plan.answer_parts(RoundId::at(r))).map(|(a, part)| (a.as_slice(), part.bits)).collect();
    payload::encode(&parts, Codec::Packed)
}

pub(crate) async fn infer(device: &Device, counter: u64) -> (SendHalf, RecvHalf) {
    let (mut send, recv) = device.connection.open_bi().await.expect("connected");
    write(&mut send, FrameType::Infer, &Infer { counter: Counter::new(counter), exact: true, relay: true }).await;
    (send, recv)
}

/// What edge B answers in round `r`, and whether it said `MISS` before.
async fn answer(recv: &mut RecvHalf, plan: &Plan, r: usize) -> (Vec<Vec<u32>>, bool) {
    let parts = |j| plan.answer_stripe(RoundId::at(r), j, true);
    let mut frame = miss_or_answer(recv, &parts(0)).await;
    let missed = frame.header.kind == FrameType::Miss;
    if missed {
        assert_eq!(frame.body::<Miss>().expect("MISS").round, RoundId::at(r));
        frame = read(recv, FrameType::Answer, &parts(0)).await;
    }
    let mut stripes = vec![payload::decode(&frame.payload, frame.header.codec, &parts(0)).expect("decodes")];
    for j in 1..plan.stripes(RoundId::at(r)) {
        stripes.push(decoded(recv, r, &parts(j)).await);
    }
    (arrived(plan, r, &stripes), missed)
}

async fn miss_or_answer(recv: &mut RecvHalf, parts: &[Part]) -> Frame {
    let either = read_frame(recv, |h| match h.kind {
        FrameType::Miss => h.expect(FrameType::Miss, &[], "MISS"),
        _ => h.expect(FrameType::Answer, parts, "ANSWER"),
    });
    soon(either).await.expect("an answer")
}

/// One round at edge B; whether it missed.
pub(crate) async fn round(
    stream: &mut (SendHalf, RecvHalf),
    keys: &SessionKeys,
    bundle: &EdgeBundle,
    c: u64,
    r: usize,
) -> bool {
    let v = shares(&bundle.plan, r, &format!("v{c}"));
    upload(&mut stream.0, &bundle.plan, r, &v, Codec::Packed).await;
    let (answers, missed) = answer(&mut stream.1, &bundle.plan, r).await;
    assert!(answers == wanted(keys, bundle, c, r, &v, !missed), "round {r} of {c}, missed: {missed}");
    missed
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_sums_and_everything_is_freed() {
    let models: [fn() -> EdgeBundle; 3] = [bundle, long_bundle, striped_bundle];
    for model in models {
        let (a, b, _link) = TestEdge::pair(model, &patient());
        let (mut at_a, at_b) = devices(&a, &b).await;
        assert!(at_a.opened.relay && at_b.opened.relay);
        for c in 0..4 {
            at_a.claim(c).await;
            let (mut a_stream, mut b_stream) = (infer(&at_a, c).await, infer(&at_b, c).await);
            for r in 0..a.bundle.plan.rounds().len() {
                assert!(!round(&mut b_stream, &at_a.keys(), &a.bundle, c, r).await, "round {r} of {c} fell back");
            }
            write(&mut a_stream.0, FrameType::End, &End {}).await;
            write(&mut b_stream.0, FrameType::End, &End {}).await;
        }
        idle(&a).await;
        assert_eq!(gauge(&a, "twinmask_relay_misses_total") + gauge(&b, "twinmask_relay_misses_total"), 0.0);
        assert!(gauge(&a, "twinmask_corrections_total") > 0.0 && gauge(&b, "twinmask_relay_bytes") > 0.0);
        at_a.connection.close(0, "");
        at_b.connection.close(0, "");
        until(|| gauge(&a, "twinmask_sessions") + gauge(&b, "twinmask_sessions") == 0.0).await;
        until(|| gauge(&a, "twinmask_ahead_bytes") == 0.0 && gauge(&b, "twinmask_relay_bytes") == 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_link_every_round_falls_back_at_once() {
    fall_back(bundle, &[2, 0, 1]).await;
    fall_back(striped_bundle, &[0, 1]).await;
}

async fn fall_back(bundle: fn() -> EdgeBundle, rounds: &[usize]) {
    let edge = |role| TestEdge::with(role, bundle(), patient(), default_kernel());
    let (a, b) = (edge(Role::A), edge(Role::B));
    let plan = a.bundle.plan.clone();
    let (mut at_a, at_b) = devices(&a, &b).await;
    assert!(!at_a.opened.relay && at_b.opened.relay);
    at_a.claim(0).await;
    let (mut a_stream, mut b_stream) = (infer(&at_a, 0).await, infer(&at_b, 0).await);
    let begun = Instant::now();
    for r in 0..plan.rounds().len() {
        assert!(round(&mut b_stream, &at_a.keys(), &a.bundle, 0, r).await, "nothing can come");
    }
    assert!(begun.elapsed() < PATIENT, "nothing is waited for");
    for &r in rounds {
        write(&mut a_stream.0, FrameType::Round, &Round { round: RoundId::at(r) }).await;
        let z = decoded(&mut a_stream.1, r, &plan.answer_stripes(RoundId::at(r), true)).await;
        let z = arrived(&plan, r, &[z]);
        assert!(z == of_edge_a(&at_a.keys(), &a.bundle, r, 0));
    }
    write(&mut a_stream.0, FrameType::Round, &Round { round: RoundId::new(1) }).await;
    closed_with(&at_a.connection, CloseCode::Protocol).await;
    a.check_alive().await;
}

/// If this fails, a device hears "busy" from edge A in the middle of an inference that edge B has answered rounds of.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_busy_when_a_share_may_have_left() {
    let held = payload::most_len(&long_bundle().plan.answer_parts(RoundId::at(0)));
    let limits = Limits { max_in_flight: 1, flight_device: held, ..Limits::default() };
    let a = TestEdge::with(Role::A, long_bundle(), limits, default_kernel());
    let plan = a.bundle.plan.clone();
    let opening = open(&a, next_session());
    let mut device = Device::open(a.connect(), &opening).await;
    device.claim(0).await;
    let (unread, answers) = device.infer(0).await; // takes the one place and all room, as its answers are not read
    until(|| gauge(&a, "twinmask_flight_bytes") == held as f64).await;
    device.claim(1).await;
    let (mut relayed, mut fallbacks) = infer(&device, 1).await;
    write(&mut relayed, FrameType::Round, &Round { round: RoundId::new(7) }).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(gauge(&a, "twinmask_flight_bytes"), held as f64, "the round waits");
    drop((unread, answers));
    let frame = read(&mut fallbacks, FrameType::Answer, &plan.answer_parts(RoundId::at(7))).await;
    assert_eq!(frame.body::<twinmask_wire::message::Answer>().expect("ANSWER").round, RoundId::new(7));
    // In `split` it is the first frame of the stream or none, and the last.
    drop((relayed, fallbacks));
    until(|| gauge(&a, "twinmask_flight_bytes") == 0.0).await;
    device.claim(2).await;
    let _unread = device.infer(2).await;
    until(|| gauge(&a, "twinmask_flight_bytes") == held as f64).await; // streams are begun in any order
    device.claim(3).await;
    let (_send, mut recv) = device.infer(3).await;
    read(&mut recv, FrameType::Busy, &[]).await;
    soon(tokio::io::AsyncReadExt::read_u8(&mut recv)).await.expect_err("the stream ends behind it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_ticket_has_no_relay() {
    for role in [Role::A, Role::B] {
        let edge = TestEdge::new(role);
        let device = edge.device().await;
        assert!(!device.opened.relay);
        let _stream = infer(&device, 0).await;
        assert!(closed_with(&device.connection, CloseCode::Protocol).await.contains("ticket"));
    }
}

/// Edge A, driven by hand, at a session of edge B.
struct HandA {
    send: SendHalf,
    recv: RecvHalf,
    credit: usize,
}

fn facts(b: &TestEdge, session: u8) -> RelayOpen {
    let ticket = Secret([session; 32]);
    RelayOpen { session: [session; 16], device: "cam".into(), digest: b.digest, ticket }
}

impl HandA {
    async fn open(link: &Connection, open: &RelayOpen) -> Option<HandA> {
        let (mut send, mut recv) = link.open_bi().await.expect("connected");
        write(&mut send, FrameType::RelayOpen, open).await;
        let frame = soon(read_frame(&mut recv, |h| h.expect(FrameType::Credit, &[], "CREDIT"))).await.ok()?;
        let credit = frame.body::<Credit>().expect("CREDIT").bytes as usize;
        Some(HandA { send, recv, credit })
    }

    async fn send(&mut self, counter: u64, round: u32, payload: &[u8]) {
        let body = Correction { counter: Counter::new(counter), round: RoundId::new(round) };
        let written = write_frame(&mut self.send, FrameType::Correction, &body, Codec::Packed, payload);
        let _ = soon(written).await; // refused ones may find the stream stopped
    }

    async fn correct(&mut self, b: &TestEdge, c: u64, r: usize) -> usize {
        let payload = packed(&b.bundle.plan, r, &of_edge_a(&by_hand(), &b.bundle, r, c));
        self.send(c, r as u32, &payload).await;
        payload.len()
    }

    /// Waits until `bytes` came back.
    async fn credited(&mut self, bytes: usize) {
        let mut back = 0;
        while back < bytes {
            back += self.granted().await;
        }
        assert_eq!(back, bytes);
    }

    /// Bytes of the next `CREDIT`.
    async fn granted(&mut self) -> usize {
        read(&mut self.recv, FrameType::Credit, &[]).await.body::<Credit>().expect("CREDIT").bytes as usize
    }

    /// Gives all credit back, and waits until edge B has said that it is void.
    async fn rest(&mut self) {
        write(&mut self.send, FrameType::Rest, &Rest {}).await;
        while self.granted().await > 0 {}
    }

    async fn refused(mut self) {
        let ended = soon(read_frame(&mut self.recv, |h| h.expect(FrameType::Credit, &[], "CREDIT"))).await;
        assert!(ended.is_err(), "the stream must be closed");
    }
}

/// Edge B with a hand-driven edge A and a device.
async fn b_alone(limits: Limits) -> (TestEdge, Connection, Device, u8) {
    let b = TestEdge::with(Role::B, bundle(), limits, default_kernel());
    let link = b.connect_as(Certified::EdgeA);
    let session = next_session();
    let device = Device::open(b.connect(), &open(&b, session)).await;
    (b, link, device, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_introduction_is_taken_and_only_once() {
    let (b, link, device, session) = b_alone(Limits::default()).await;
    let right = facts(&b, session);
    let wrong = [
        RelayOpen { ticket: Secret([0; 32]), ..right.clone() },
        RelayOpen { device: "other".into(), ..right.clone() },
        RelayOpen { digest: [0; 32], ..right.clone() },
        RelayOpen { session: [0xee; 16], ..right.clone() },
    ];
    for open in &wrong {
        assert!(HandA::open(&link, open).await.is_none(), "{open:?}");
    }
    assert_eq!(gauge(&b, "twinmask_relay_bytes"), 0.0, "nothing is set aside for them");
    let a = HandA::open(&link, &right).await.expect("right");
    let whole: usize = (0..3).map(|r| packed_parts_len(&b.bundle.plan.answer_parts(RoundId::at(r)))).sum();
    assert_eq!(a.credit, 8 * whole, "eight inferences, which is less than the limit");
    assert!(HandA::open(&link, &right).await.is_none(), "introduced twice");
    assert_eq!(device.connection.close_reason(), None);
    // A device has no business with introductions.
    let posing = b.connect();
    let (mut send, _recv) = posing.open_bi().await.expect("connected");
    write(&mut send, FrameType::RelayOpen, &right).await;
    closed_with(&posing, CloseCode::Protocol).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_close_the_stream_and_the_session_goes_on_without() {
    for case in 0..6 {
        let plan_len = |b: &TestEdge, r| packed_parts_len(&b.bundle.plan.answer_parts(RoundId::at(r)));
        let (b, link, device, session) = b_alone(Limits { relay_session: 1000, ..patient() }).await;
        let mut a = HandA::open(&link, &facts(&b, session)).await.expect("right");
        assert_eq!(a.credit, 1000);
        match case {
            0 => {
                a.correct(&b, 0, 1).await;
                a.correct(&b, 0, 1).await; // twice
            }
            1 => a.send(0, 1, &vec![0; plan_len(&b, 1) + 1]).await,
            2 => a.send(0, 3, &[0; 8]).await,                   // no such round
            3 => a.send(0, 0, &vec![0; plan_len(&b, 0)]).await, // right, but more than the credit
            4 => a.send(1 << 40, 1, &vec![0; plan_len(&b, 1)]).await,
            _ => write(&mut a.send, FrameType::Credit, &Credit { bytes: 1 }).await,
        }
        a.refused().await;
        until(|| gauge(&b, "twinmask_relay_bytes") == 0.0).await;
        let mut stream = infer(&device, 0).await;
        assert!(
            round(&mut stream, &by_hand(), &b.bundle, 0, 0).await
                && round(&mut stream, &by_hand(), &b.bundle, 0, 1).await,
            "case {case}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_dropped_and_surplus_corrections_are_discarded_and_credited() {
    let (b, link, device, session) =
        b_alone(Limits { relay_grace: Duration::from_millis(50), ..Limits::default() }).await;
    let mut a = HandA::open(&link, &facts(&b, session)).await.expect("right");
    let mut stream = infer(&device, 0).await;
    assert!(round(&mut stream, &by_hand(), &b.bundle, 0, 0).await, "late");
    let late = a.correct(&b, 0, 0).await;
    a.credited(late).await;
    let used = a.correct(&b, 0, 1).await;
    while !gauge(&b, "twinmask_corrections_total").eq(&2.0) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!round(&mut stream, &by_hand(), &b.bundle, 0, 1).await, "in time");
    // What the inference has used comes back at its end with what it leaves unused; what comes for it later too.
    let unused = a.correct(&b, 0, 2).await;
    until(|| gauge(&b, "twinmask_corrections_total") == 3.0).await;
    write(&mut stream.0, FrameType::End, &End {}).await;
    a.credited(used + unused).await;
    let surplus = a.correct(&b, 0, 0).await;
    a.credited(surplus).await;
    // Withdrawn before the inference begins.
    let withdrawn = a.correct(&b, 1, 0).await + a.correct(&b, 1, 1).await;
    write(&mut a.send, FrameType::Drop, &DropCorrections { counter: Counter::new(1) }).await;
    a.credited(withdrawn).await;
    let mut stream = infer(&device, 1).await;
    assert!(round(&mut stream, &by_hand(), &b.bundle, 1, 0).await);
    // A stream that is let go of frees what is held for it.
    let held = a.correct(&b, 2, 0).await;
    let stream = infer(&device, 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    a.credited(held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_do_not_wait_for_threads_that_get_no_time() {
    let (kernel, gate) = starved();
    let (a, b, _link) = TestEdge::pair_with(bundle, &patient(), &kernel);
    let (mut at_a, at_b) = devices(&a, &b).await;
    for c in 0..3 {
        at_a.claim(c).await;
        let (mut a_stream, mut b_stream) = (infer(&at_a, c).await, infer(&at_b, c).await);
        for r in 0..a.bundle.plan.rounds().len() {
            assert!(!round(&mut b_stream, &at_a.keys(), &a.bundle, c, r).await, "round {r} of {c} fell back");
        }
        write(&mut a_stream.0, FrameType::End, &End {}).await;
    }
    gate.open();
}

/// Room that one of several running inferences has used may be what another waits for, so it is told of at once.
#[tokio::test(flavor = "multi_thread")]
async fn credit_comes_back_at_once_while_several_inferences_run() {
    let (b, link, device, session) = b_alone(patient()).await;
    let mut a = HandA::open(&link, &facts(&b, session)).await.expect("right");
    let mut first = infer(&device, 0).await;
    let early = a.correct(&b, 0, 0).await;
    assert!(!round(&mut first, &by_hand(), &b.bundle, 0, 0).await);
    let waiting = tokio::time::timeout(Duration::from_millis(100), a.credited(early)).await;
    assert!(waiting.is_err(), "not while it runs alone");
    let mut second = infer(&device, 1).await;
    a.credited(early).await;
    let mut used = a.correct(&b, 1, 0).await;
    assert!(!round(&mut second, &by_hand(), &b.bundle, 1, 0).await);
    a.credited(used).await;
    used = a.correct(&b, 0, 1).await;
    assert!(!round(&mut first, &by_hand(), &b.bundle, 0, 1).await);
    a.credited(used).await;
}

/// If this fails, sessions that rest take the memory of those that are used, or the next inference falls back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ahead_of_a_session_at_rest_is_given_back_and_made_anew() {
    let rest = Duration::from_millis(500);
    let (a, b, _link) = TestEdge::pair(bundle, &Limits { rest, ..patient() });
    let (mut at_a, at_b) = devices(&a, &b).await;
    let rounds = a.bundle.plan.rounds().len();
    for c in [0, 1, 2, 3] {
        if c != 3 {
            until(|| gauge(&a, "twinmask_ahead_bytes") + gauge(&b, "twinmask_relay_bytes") == 0.0).await;
        }
        at_a.claim(c).await;
        let (mut a_stream, mut b_stream) = (infer(&at_a, c).await, infer(&at_b, c).await);
        for r in 0..rounds {
            assert!(!round(&mut b_stream, &at_a.keys(), &a.bundle, c, r).await, "round {r} of {c} fell back");
        }
        write(&mut a_stream.0, FrameType::End, &End {}).await;
        write(&mut b_stream.0, FrameType::End, &End {}).await;
        assert!(gauge(&b, "twinmask_relay_bytes") > 0.0);
    }
}

/// Edge B forgets corrections when edge A says that its session rests, takes its credit back, says so, and grants it
/// anew when the device comes again.
#[tokio::test(flavor = "multi_thread")]
async fn credit_is_given_back_at_rest_and_granted_with_the_next_inference() {
    let limits = Limits { relay_device: 4_000, relay_grace: PATIENT, ..Limits::default() };
    let (b, link, device, session) = b_alone(limits).await;
    let mut a = HandA::open(&link, &facts(&b, session)).await.expect("right");
    assert_eq!(a.credit, 4_000);
    let other = next_session();
    let second = Device::open(b.connect(), &open(&b, other)).await;
    let mut of_second = HandA::open(&link, &facts(&b, other)).await.expect("right");
    assert_eq!(of_second.credit, 0, "the first session has all that its device may have");
    a.correct(&b, 0, 0).await;
    a.rest().await;
    assert_eq!(gauge(&b, "twinmask_relay_bytes"), 0.0);
    let mut stream = infer(&second, 0).await;
    of_second.credited(4_000).await;
    of_second.correct(&b, 0, 0).await;
    assert!(!round(&mut stream, &by_hand(), &b.bundle, 0, 0).await, "what the other session has given back is there");
    write(&mut stream.0, FrameType::End, &End {}).await;
    idle(&b).await;
    // An inference that runs meanwhile has its credit at once.
    let mut stream = infer(&second, 1).await;
    of_second.rest().await;
    of_second.credited(4_000).await;
    of_second.correct(&b, 1, 0).await;
    assert!(!round(&mut stream, &by_hand(), &b.bundle, 1, 0).await);
    second.connection.close(0, "");
    until(|| gauge(&b, "twinmask_relay_bytes") == 0.0).await;
    // The first session's corrections were forgotten, and may come again.
    let mut stream = infer(&device, 0).await;
    a.credited(4_000).await;
    a.correct(&b, 0, 0).await;
    assert!(!round(&mut stream, &by_hand(), &b.bundle, 0, 0).await);
    drop(stream);
    idle(&b).await;
    // Who goes on sending at rest breaks the rules.
    a.rest().await;
    a.correct(&b, 5, 0).await;
    a.refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_within_the_grace_time_is_used() {
    let (b, link, device, session) = b_alone(patient()).await;
    let mut a = HandA::open(&link, &facts(&b, session)).await.expect("right");
    let mut stream = infer(&device, 0).await;
    let keys = by_hand();
    let (missed, _) = tokio::join!(round(&mut stream, &keys, &b.bundle, 0, 0), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        a.correct(&b, 0, 0).await
    });
    assert!(!missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_is_bounded_for_each_device_and_in_total() {
    let limits = Limits { relay_session: 100, relay_device: 150, relay_total: 220, ..Limits::default() };
    let (b, link, _device, session) = b_alone(limits).await;
    let mut grants = vec![HandA::open(&link, &facts(&b, session)).await.expect("right")];
    let mut held = Vec::new();
    for name in ["cam", "cam2", "cam3"] {
        let session = next_session();
        let device = b.connect_as(Certified::device(name).expect("a good name"));
        held.push(Device::open(device, &open(&b, session)).await);
        let facts = RelayOpen { device: name.into(), ..facts(&b, session) };
        grants.push(HandA::open(&link, &facts).await.expect("right"));
    }
    assert_eq!(grants.iter().map(|g| g.credit).collect::<Vec<_>>(), [100, 50, 70, 0]);
    assert_eq!(gauge(&b, "twinmask_relay_bytes"), 220.0);
    drop(held);
    until(|| gauge(&b, "twinmask_relay_bytes") == 100.0).await;
}

/// An edge B of `credit` bytes, by hand, and a session that edge A has introduced to it.
async fn a_alone(a: &TestEdge, credit: impl FnOnce(&[usize]) -> usize) -> (Device, SendHalf, RecvHalf, Vec<usize>) {
    let (at_a, at_b) = memory_pair(Certified::EdgeA, Certified::EdgeB);
    a.meet(at_a);
    let session = next_session();
    let plan = &a.bundle.plan;
    let introduced = async {
        let (mut send, mut recv) = soon(at_b.accept_bi()).await.expect("edge A introduces its session");
        let open: RelayOpen = read(&mut recv, FrameType::RelayOpen, &[]).await.body().expect("RELAY_OPEN");
        assert!(open.matches(&facts(a, session)));
        let lengths: Vec<usize> = plan.round_ids().map(|r| packed_parts_len(&plan.answer_parts(r))).collect();
        write(&mut send, FrameType::Credit, &Credit { bytes: credit(&lengths) as u32 }).await;
        (send, recv, lengths)
    };
    let opening = open(a, session);
    let (device, (send, recv, lengths)) = tokio::join!(Device::open(a.connect(), &opening), introduced);
    assert!(device.opened.relay);
    (device, send, recv, lengths)
}

/// If this fails, one frame of one known device stops an edge: here edge A, which can send nothing ahead as edge B
/// grants next to no credit, looks for what to compute below a counter that was never granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_counter_that_was_never_granted_moves_nothing() {
    for counter in [1 << 28, 1 << 62, u64::MAX] {
        let limits = Limits { max_in_flight: 1, claim: Duration::from_millis(200), ..Limits::default() };
        let a = TestEdge::with(Role::A, bundle(), limits, default_kernel());
        let (mut device, _send, _recv, _) = a_alone(&a, |_| 1).await;
        device.claim(0).await;
        let _first = infer(&device, 0).await;
        until(|| gauge(&a, "twinmask_inferences_in_flight") == 1.0).await;
        let _second = infer(&device, counter).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        a.check_alive().await;
        closed_with(&device.connection, CloseCode::CounterUsed).await;
    }
}

/// What edge A sends is `z_A + T` and never `z_A`, in order, each once, within the credit, nothing for what is over.
#[tokio::test(flavor = "multi_thread")]
async fn edge_a_keeps_to_its_credit_and_masks_what_it_sends() {
    let a = TestEdge::new(Role::A);
    let plan = a.bundle.plan.clone();
    let credit = |lengths: &[usize]| lengths.iter().sum::<usize>() + lengths[0];
    let (mut device, mut send, mut recv, lengths) = a_alone(&a, credit).await;
    for (c, r) in [(0, 0), (0, 1), (0, 2), (1, 0)] {
        let frame = correction_frame(&mut recv, &plan, (c, r)).await;
        assert!(frame.payload == packed(&plan, r, &of_edge_a(&device.keys(), &a.bundle, r, c)));
        assert!(frame.payload != packed(&plan, r, &expected(&a.bundle, r, &masks(&device.keys(), &plan, r, c))));
    }
    let beyond = tokio::time::timeout(Duration::from_millis(200), tokio::io::AsyncReadExt::read_u8(&mut recv)).await;
    assert!(beyond.is_err(), "the credit is used up");
    // Inference 1 is over: what was not sent of it never is.
    device.claim(1).await;
    let (mut stream, _answers) = infer(&device, 1).await;
    write(&mut stream, FrameType::End, &End {}).await;
    let dropped: DropCorrections = read(&mut recv, FrameType::Drop, &[]).await.body().expect("DROP");
    assert_eq!(dropped.counter, Counter::new(1));
    write(&mut send, FrameType::Credit, &Credit { bytes: lengths[0] as u32 }).await;
    correction_frame(&mut recv, &plan, (2, 0)).await;
}

async fn correction_frame(recv: &mut RecvHalf, plan: &Plan, (c, r): (u64, usize)) -> Frame {
    let frame = read(recv, FrameType::Correction, &plan.answer_parts(RoundId::at(r))).await;
    let body: Correction = frame.body().expect("CORR");
    assert_eq!((body.counter, body.round), (Counter::new(c), RoundId::at(r)));
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_link_breaks_sessions_go_on_without() {
    let (a, b, link) = TestEdge::pair(bundle, &patient());
    let (mut at_a, at_b) = devices(&a, &b).await;
    at_a.claim(0).await;
    let (_a_stream, mut b_stream) = (infer(&at_a, 0).await, infer(&at_b, 0).await);
    assert!(!round(&mut b_stream, &at_a.keys(), &a.bundle, 0, 0).await);
    assert!(sever(&link));
    until(|| gauge(&b, "twinmask_relay_bytes") == 0.0 && gauge(&a, "twinmask_ahead_bytes") == 0.0).await;
    assert!(
        round(&mut b_stream, &at_a.keys(), &a.bundle, 0, 1).await
            && round(&mut b_stream, &at_a.keys(), &a.bundle, 0, 2).await
    );
    until(|| gauge(&a, "twinmask_peer_connected") == 0.0 && gauge(&b, "twinmask_peer_connected") == 0.0).await;
    a.check_alive().await;
    b.check_alive().await;
    // A new link serves new sessions.
    let (to_b, at_b) = memory_pair(Certified::EdgeA, Certified::EdgeB);
    tokio::spawn(std::sync::Arc::clone(&b.edge).serve(at_b));
    a.meet(to_b);
    let (at_a, _at_b) = devices(&a, &b).await;
    assert!(at_a.opened.relay);
}
