//! Sessions against a hand-driven device, in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twinmask_codec::{Counter, RoundId};
use twinmask_kernels::default_kernel;
use twinmask_layer::Geometry;
use twinmask_ring::prf::Key;
use twinmask_testkit::{Gate, Hook, Layer, wrapped};
use twinmask_transport::Connection;
use twinmask_wire::frame::{encode, encode_with};
use twinmask_wire::message::{Busy, Claim, Claimed, End, Infer, Open, Opened, Round, Secret};
use twinmask_wire::{CloseCode, Codec, CodecChoice, FrameType, payload};

use crate::test_support::*;
use crate::{Limits, Role};

#[tokio::test(flavor = "multi_thread")]
async fn honest_inferences_are_those_of_the_oracle() {
    for role in [Role::A, Role::B] {
        let edge = TestEdge::new(role);
        let mut device = edge.device().await;
        assert_eq!(device.opened.kernel, default_kernel().name());
        assert_eq!(device.opened.max_in_flight, Limits::default().max_in_flight);
        for counter in 0..5 {
            device.infer_honestly(&edge.bundle, counter).await;
        }
        until(|| gauge(&edge, "twinmask_inferences_total") == 5.0).await;
        assert_eq!(gauge(&edge, "twinmask_rounds_total"), 15.0);
        assert_eq!(gauge(&edge, "twinmask_sessions"), 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_in_both_directions() {
    let edge = TestEdge::new(Role::B);
    let plan = &edge.bundle.plan;
    for (choice, answered) in
        [(CodecChoice::Raw, Codec::Raw), (CodecChoice::Zstd, Codec::Zstd), (CodecChoice::Packed, Codec::Packed)]
    {
        let device = Device::open(edge.connect(), &Open { codec: choice, ..edge.open_frame() }).await;
        let (mut send, mut recv) = device.infer(0).await;
        for r in 0..plan.rounds().len() {
            let shares = shares(plan, r, "codec");
            upload(&mut send, plan, r, &shares, [Codec::Zstd, Codec::Raw, Codec::Packed][r]).await;
            let frame = read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(r))).await;
            assert_eq!(frame.header.codec, answered);
            let answers =
                payload::decode(&frame.payload, answered, &plan.answer_parts(RoundId::at(r))).expect("decodes");
            assert!(answers == expected(&edge.bundle, r, &shares));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn infer_may_overtake_its_claim_at_edge_a() {
    let edge = TestEdge::new(Role::A);
    let mut device = edge.device().await;
    let (_send, mut recv) = device.infer(0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    device.claim(0).await;
    read(&mut recv, FrameType::Answer, &edge.bundle.plan.answer_parts(RoundId::at(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_used_once_and_at_a_only_when_claimed() {
    let limits = || Limits { claim: Duration::from_millis(100), ..Limits::default() };
    let a = TestEdge::with(Role::A, bundle(), limits(), default_kernel());
    let mut device = a.device().await;
    device.infer_honestly(&a.bundle, 0).await;
    let _stream = device.infer(0).await;
    closed_with(&device.connection, CloseCode::CounterUsed).await;

    let device = a.device().await;
    let _stream = device.infer(7).await;
    assert!(closed_with(&device.connection, CloseCode::CounterUsed).await.contains('7'));

    for again in [3, 1 << 40] {
        let mut device = a.device().await;
        device.claim(3).await;
        write(&mut device.send, FrameType::Claim, &Claim { counter: Counter::new(again) }).await;
        closed_with(&device.connection, CloseCode::CounterUsed).await;
    }

    let b = TestEdge::new(Role::B);
    let mut device = b.device().await;
    device.infer_honestly(&b.bundle, 0).await;
    let _stream = device.infer(0).await;
    closed_with(&device.connection, CloseCode::CounterUsed).await;
    let mut device = b.device().await;
    write(&mut device.send, FrameType::Claim, &Claim { counter: Counter::new(0) }).await;
    closed_with(&device.connection, CloseCode::Protocol).await;
    a.check_alive().await;
    b.check_alive().await;
}

/// There is no counter above it, which must not matter to what counts counters.
#[tokio::test(flavor = "multi_thread")]
async fn the_highest_counter_is_refused_as_others_are() {
    for role in [Role::A, Role::B] {
        let limits = Limits { claim: Duration::from_millis(100), ..Limits::default() };
        let edge = TestEdge::with(role, bundle(), limits, default_kernel());
        let device = edge.device().await;
        let _stream = device.infer(u64::MAX).await;
        closed_with(&device.connection, CloseCode::CounterUsed).await;
        edge.check_alive().await;
    }
}

/// `OPEN` as `change` makes it; the code and text that it is refused with.
async fn refused_open(edge: &TestEdge, code: CloseCode, change: impl FnOnce(&mut Open)) -> String {
    let connection = edge.connect();
    let (mut send, _recv) = connection.open_bi().await.expect("connected");
    let mut open = edge.open_frame();
    change(&mut open);
    write(&mut send, FrameType::Open, &open).await;
    closed_with(&connection, code).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_opens_are_refused_with_a_reason() {
    for role in [Role::A, Role::B] {
        let edge = TestEdge::new(role);
        let text = refused_open(&edge, CloseCode::UnknownModel, |o| o.digest = [0xab; 32]).await;
        let held = twinmask_model::bundle::short(&edge.digest);
        assert!(
            text.contains("not hold model abababababababab") && text.contains("add-device DIR --name cam"),
            "{text}"
        );
        assert!(!text.contains(&held) && !text.contains("tiny"), "what it holds is no business of a device: {text}");
        refused_open(&edge, CloseCode::Protocol, |o| o.prfs.clear()).await;
        let text = refused_open(&edge, CloseCode::Protocol, |o| {
            o.seed = match o.seed {
                Some(_) => None,
                None => Some(Secret(SEED)),
            }
        });
        assert!(text.await.contains("mask seed"));

        let connection = edge.connect_as(twinmask_transport::Role::EdgeB);
        assert!(closed_with(&connection, CloseCode::Role).await.contains("edge-b"));
        edge.check_alive().await;
    }
}

/// If this fails, a device's keys open every model of an edge.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_the_models_that_its_certificate_names() {
    for role in [Role::A, Role::B] {
        let edge = TestEdge::new(role);
        let device = || twinmask_transport::Role::device("cam").expect("a good name");
        for models in [&[][..], &["tin", "tiny2", "TINY", ""]] {
            let connection = edge.connect_naming(device(), models);
            let (mut send, _recv) = connection.open_bi().await.expect("connected");
            write(&mut send, FrameType::Open, &edge.open_frame()).await;
            let text = closed_with(&connection, CloseCode::Role).await;
            assert!(text.contains("device cam does not name the model tiny; have the owner run"), "{text}");
            assert!(text.contains("add-device DIR --name cam --model tiny"), "{text}");
        }
        let connection = edge.connect_naming(device(), &["other", "tiny"]);
        Device::open(connection, &edge.open_frame()).await.infer_honestly(&edge.bundle, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_must_be_the_plans() {
    let edge = TestEdge::new(Role::B);
    let parts = &edge.bundle.plan.upload_parts(RoundId::at(0));
    let whole = payload::encode(&[(&vec![0; parts[0].len], parts[0].bits)], Codec::Packed);
    let frame = |round, codec, payload: &[u8]| {
        encode_with(FrameType::Round, &Round { round: RoundId::new(round) }, codec, payload)
    };
    let mut oversized = frame(0, Codec::Packed, &[]);
    oversized[12..16].copy_from_slice(&(1u32 << 30).to_le_bytes());
    let mut another_version = frame(0, Codec::Packed, &whole);
    another_version[4] = twinmask_wire::VERSION + 1;
    let bomb = payload::encode(&[(&vec![0; 1 << 20], 24)], Codec::Zstd);
    let cases = [
        (frame(1, Codec::Packed, &whole), CloseCode::Protocol),
        (frame(9, Codec::Packed, &whole), CloseCode::Protocol),
        (frame(0, Codec::Packed, &whole[1..]), CloseCode::BadShape),
        (frame(0, Codec::Packed, &[&whole[..], &[0]].concat()), CloseCode::BadShape),
        (frame(0, Codec::Raw, &whole), CloseCode::BadShape),
        (frame(0, Codec::Zstd, &bomb), CloseCode::Protocol),
        (oversized, CloseCode::BadShape),
        (another_version, CloseCode::Version),
        (encode(FrameType::Claim, &Claim { counter: Counter::new(0) }), CloseCode::Protocol),
        (encode(FrameType::Infer, &Infer { counter: Counter::new(1), exact: true, relay: false }), CloseCode::Protocol),
    ];
    for (i, (bytes, code)) in cases.iter().enumerate() {
        let device = edge.device().await;
        let (mut send, _recv) = device.infer(0).await;
        soon(send.write_all(bytes)).await.expect("writes");
        assert!(!closed_with(&device.connection, *code).await.is_empty(), "case {i}");
    }
    edge.check_alive().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inexact_inferences_and_rounds_at_a_are_refused() {
    for role in [Role::A, Role::B] {
        let edge = TestEdge::new(role);
        let device = edge.device().await;
        let (mut send, _recv) = device.connection.open_bi().await.expect("connected");
        write(&mut send, FrameType::Infer, &Infer { counter: Counter::new(0), exact: false, relay: false }).await;
        assert!(closed_with(&device.connection, CloseCode::Protocol).await.contains("--drop-bits"));
    }
    let a = TestEdge::new(Role::A);
    let mut device = a.device().await;
    device.claim(0).await;
    let (mut send, _recv) = device.infer(0).await;
    let parts: Vec<u32> = vec![0; a.bundle.plan.upload_parts(RoundId::at(0))[0].len];
    let payload = payload::encode(&[(&parts, 24)], Codec::Packed);
    let _ = send
        .write_all(&encode_with(FrameType::Round, &Round { round: RoundId::new(0) }, Codec::Packed, &payload))
        .await;
    closed_with(&device.connection, CloseCode::Protocol).await;
    a.check_alive().await;
}

/// Random bytes, and honest frames with random bytes in them, in place of each kind of stream.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_its_session_only() {
    let mut random = Key::derive("test", &[b"garbage"]).stream(1);
    for role in [Role::A, Role::B] {
        // Sessions that were closed may take a moment to leave their places.
        let edge = TestEdge::with(
            role,
            bundle(),
            Limits { max_sessions_per_device: 300, max_sessions: 300, ..Limits::default() },
            default_kernel(),
        );
        for case in 0..150u64 {
            let connection = edge.connect();
            let opened = case % 3 > 0;
            let device = if opened { Some(Device::open(connection.clone(), &edge.open_frame()).await) } else { None };
            let mut bytes = match (opened, case % 2) {
                (_, 0) => vec![0; 600],
                (false, _) => encode(FrameType::Open, &edge.open_frame()),
                (true, _) => encode(FrameType::Infer, &Infer { counter: Counter::new(0), exact: true, relay: false }),
            };
            let whole = case % 2 == 0;
            let from = if whole || case % 4 == 1 { 0 } else { 4 };
            for byte in bytes.iter_mut().skip(from) {
                let word = random.next_u64();
                if whole || word >> 8 & 3 == 0 {
                    *byte = word as u8;
                }
            }
            // The control stream of a session that is open, or a stream of its own.
            if let Some(mut device) = device.filter(|_| case % 5 == 0) {
                let _ = soon(device.send.write_all(&bytes)).await;
                let _ = device.send.finish();
            } else {
                let (mut send, _recv) = connection.open_bi().await.expect("connected");
                let _ = soon(send.write_all(&bytes)).await;
                let _ = send.finish();
            }
            if whole {
                closed_with(&connection, CloseCode::Protocol).await;
            }
        }
        edge.check_alive().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_or_connection_frees_all_places() {
    let limits = Limits { max_in_flight: 1, max_sessions_per_device: 1, ..Limits::default() };
    for role in [Role::A, Role::B] {
        let edge = TestEdge::with(role, long_bundle(), limits.clone(), default_kernel());
        let mut device = edge.device().await;
        for counter in 0..3 {
            if role == Role::A {
                device.claim(counter).await;
            }
            let (mut send, mut recv) = device.infer(counter).await;
            match counter {
                0 => write(&mut send, FrameType::End, &End {}).await,
                1 => drop(send.reset(11)),
                _ => drop(recv.stop(11)),
            }
            drop((send, recv));
            idle(&edge).await;
        }
        device.connection.close(0, "");
        until(|| gauge(&edge, "twinmask_sessions") == 0.0).await;
        edge.device().await; // the one session that this device may have
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_above_its_inferences_is_told_to_come_again() {
    let limits = Limits { max_in_flight: 1, ..Limits::default() };
    let edge = TestEdge::with(Role::B, bundle(), limits, default_kernel());
    let plan = edge.bundle.plan.clone();
    let device = edge.device().await;
    let (mut first, mut first_answers) = device.infer(0).await;
    upload(&mut first, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
    read(&mut first_answers, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;

    let (mut second, mut answers) = device.infer(1).await;
    upload(&mut second, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
    let busy: Busy = read(&mut answers, FrameType::Busy, &[]).await.body().expect("BUSY");
    assert!((10..=5000).contains(&busy.retry_after_ms));
    drop((second, answers));

    write(&mut first, FrameType::End, &End {}).await;
    idle(&edge).await;
    let (mut again, mut answers) = device.infer(2).await; // that of an inference that was told "busy" is burnt
    upload(&mut again, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
    read(&mut answers, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;
    let _stream = device.infer(1).await;
    closed_with(&device.connection, CloseCode::CounterUsed).await;
}

/// The other end of a new connection of another device.
fn connect_as(edge: &TestEdge, name: &str) -> Connection {
    edge.connect_as(twinmask_transport::Role::device(name).expect("a good name"))
}

/// If this fails, one device pins as much memory as it has sessions and streams.
#[tokio::test(flavor = "multi_thread")]
async fn what_inferences_of_one_device_hold_is_bounded() {
    let plan = bundle().plan;
    let parts = [plan.upload_parts(RoundId::at(0)), plan.answer_parts(RoundId::at(0))];
    for (role, held) in [(Role::A, &parts[1..]), (Role::B, &parts[..])] {
        let held = held.iter().map(|parts| payload::most_len(parts)).max().expect("there are some");
        let limits = Limits { flight_device: 5 * held / 2, flight_total: 3 * held, ..Limits::default() };
        let edge = TestEdge::with(role, bundle(), limits, default_kernel());
        let held = held as f64;
        let begin = async |connection: Connection, counter| {
            let mut device = Device::open(connection, &edge.open_frame()).await;
            assert_eq!(device.opened.max_in_flight, 2, "what there is room for");
            if role == Role::A {
                device.claim(counter).await;
            }
            let stream = device.infer(counter).await;
            (device, stream)
        };
        let mut running = Vec::new();
        for session in 1..=2 {
            running.push(begin(edge.connect(), session).await);
            until(|| gauge(&edge, "twinmask_flight_bytes") >= session as f64 * held).await;
        }
        let busy = async |connection: Connection| {
            let (_device, (_, mut recv)) = begin(connection, 3).await;
            read(&mut recv, FrameType::Busy, &[]).await;
        };
        busy(edge.connect()).await;
        running.push(begin(connect_as(&edge, "other"), 4).await);
        until(|| gauge(&edge, "twinmask_flight_bytes") >= 3.0 * held).await;
        busy(connect_as(&edge, "third")).await;
        running.remove(0).0.connection.close(0, "");
        until(|| gauge(&edge, "twinmask_flight_bytes") < 3.0 * held).await;
        running.push(begin(connect_as(&edge, "third"), 5).await);
        until(|| gauge(&edge, "twinmask_flight_bytes") >= 3.0 * held).await;
        assert_eq!(gauge(&edge, "twinmask_flight_bytes"), 3.0 * held);
        running.iter().for_each(|(device, _)| device.connection.close(0, ""));
        until(|| gauge(&edge, "twinmask_flight_bytes") == 0.0).await;
    }
}

/// Writes down whose rounds are computed, by their first element, and holds them up at its gate.
#[derive(Default)]
struct Order {
    firsts: Mutex<Vec<u32>>,
    gate: Gate,
}

impl Hook for Order {
    fn load(&self, layer: &Layer, xs: &[&[u32]]) {
        self.gate.pass();
        if layer.index == 0 {
            self.firsts.lock().expect("no panic").push(xs[0][0]);
        }
    }
}

/// If this fails, a device gets more of the processors the more sessions it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_one_turn_however_many_its_sessions() {
    let order = Arc::new(Order::default());
    let kernel = wrapped(default_kernel(), Arc::clone(&order));
    let edge = TestEdge::on_threads(1, Role::B, bundle(), Limits::default(), kernel);
    let plan = edge.bundle.plan.clone();
    let mut streams = Vec::new();
    for i in 0..7 {
        let connection = if i < 6 { edge.connect() } else { connect_as(&edge, "other") };
        let device = Device::open(connection, &edge.open_frame()).await;
        let (mut send, recv) = device.infer(0).await;
        upload(&mut send, &plan, 0, &shares(&plan, 0, &format!("device {}", i / 6)), Codec::Packed).await;
        until(|| order.gate.waiting() == 1).await; // the first of all is being computed
        streams.push((device, send, recv));
    }
    tokio::time::sleep(Duration::from_millis(300)).await; // for all to reach the queue
    order.gate.open();
    for (_, _, recv) in &mut streams {
        read(recv, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;
    }
    let other = shares(&plan, 0, "device 1")[0][0];
    let at = order.firsts.lock().expect("no panic").iter().position(|&first| first == other);
    assert!(at.is_some_and(|at| at <= 2), "the other device's turn came after {at:?} others");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_sessions_and_silence() {
    let limits = Limits {
        max_sessions: 3,
        max_sessions_per_device: 2,
        handshake: Duration::from_millis(1000),
        ..Limits::default()
    };
    let edge = TestEdge::with(Role::B, bundle(), limits, default_kernel());
    let silent = edge.connect();
    closed_with(&silent, CloseCode::Limit).await;
    let held = [edge.device().await, edge.device().await];
    let third = edge.connect();
    assert!(closed_with(&third, CloseCode::Limit).await.contains("max_sessions_per_device"));
    let other = Device::open(connect_as(&edge, "other"), &edge.open_frame()).await;
    let last = connect_as(&edge, "last");
    assert!(closed_with(&last, CloseCode::Limit).await.contains("max_sessions)"));
    drop((held, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_device_loses_its_inference_not_its_session() {
    let limits = Limits { stall: Duration::from_millis(400), max_in_flight: 1, ..Limits::default() };
    let b = TestEdge::with(Role::B, bundle(), limits.clone(), default_kernel());
    let mut device = b.device().await;
    let (_send, mut recv) = device.infer(0).await; // and never a round
    soon(recv.read_u8()).await.expect_err("the stream is reset");
    device.infer_honestly(&b.bundle, 1).await;

    let a = TestEdge::with(Role::A, long_bundle(), limits, default_kernel());
    let mut device = a.device().await;
    device.claim(0).await;
    let _unread = device.infer(0).await; // and nothing is read
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(gauge(&a, "twinmask_inferences_in_flight") == 1.0 && gauge(&a, "twinmask_rounds_total") < 30.0);
    idle(&a).await;
    device.claim(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_finishes_what_runs() {
    let edge = TestEdge::new(Role::B);
    let plan = edge.bundle.plan.clone();
    let device = edge.device().await;
    let (mut send, mut recv) = device.infer(0).await;
    upload(&mut send, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
    read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;
    assert!(edge.edge.readiness().is_ok());
    edge.edge.drain();
    assert!(edge.edge.readiness().is_err());
    closed_with(&edge.connect(), CloseCode::Draining).await;
    for r in 1..plan.rounds().len() {
        upload(&mut send, &plan, r, &shares(&plan, r, "x"), Codec::Packed).await;
        read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(r))).await;
    }
    assert_eq!(device.connection.close_reason(), None);
    write(&mut send, FrameType::End, &End {}).await;
    closed_with(&device.connection, CloseCode::Draining).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_what_does_not_finish() {
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let edge = TestEdge::with(Role::B, bundle(), limits, default_kernel());
    let device = edge.device().await;
    let _unfinished = device.infer(0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    edge.edge.drain();
    closed_with(&device.connection, CloseCode::Draining).await;
}

/// Panics on every layer of one row.
struct Faulty;

impl Hook for Faulty {
    fn before(&self, layer: &Layer) {
        assert!(!matches!(layer.geometry, Geometry::Fc(f) if f.rows == 1), "out of order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_kernel_closes_its_session_only() {
    let kernel = wrapped(default_kernel(), Arc::new(Faulty));
    let edge = TestEdge::with(Role::A, bundle(), Limits::default(), kernel);
    let mut bystander = edge.device().await;
    for _ in 0..4 {
        let mut device = edge.device().await;
        device.claim(0).await;
        let _stream = device.infer(0).await;
        let text = closed_with(&device.connection, CloseCode::Internal).await;
        assert!(!text.contains("order"), "nothing of the inside goes out: {text}");
    }
    bystander.claim(0).await;
}

/// What the tests above rely on: the types that an edge sends are those that a device reads.
#[test]
fn bodies_of_edges_decode() {
    let bytes = encode(FrameType::Claimed, &Claimed { counter: Counter::new(4) });
    assert_eq!(twinmask_wire::frame::decode_body::<Claimed>(&bytes[16..]).expect("own body").counter, Counter::new(4));
    assert!(twinmask_wire::frame::decode_body::<Opened>(&bytes[16..]).is_err());
}
