//! Edge A ahead of time, prefetching, dropped bits, and several sessions at once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use twinmask_codec::{Counter, LayerId, RoundId};
use twinmask_kernels::default_kernel;
use twinmask_layer::Geometry;
use twinmask_model::bundle::EdgeBundle;
use twinmask_model::plan::Plan;
use twinmask_testkit::{Gate, Hook, Layer, wrapped};
use twinmask_wire::message::{Claim, End, Infer, Open, Prefetch, Prf};
use twinmask_wire::{CloseCode, Codec, FrameType, payload};

use crate::test_support::*;
use crate::{Limits, Role};

/// Waits until what the edge has computed ahead comes to `bytes`, and a moment longer, in which it must not become
/// more. On a busy machine those threads get a thousandth of it.
async fn settles_at(edge: &TestEdge, bytes: f64) {
    let now = || gauge(edge, "twinmask_ahead_bytes");
    let begun = Instant::now();
    while now() != bytes {
        assert!(begun.elapsed() < Duration::from_secs(120), "{} bytes of {bytes}", now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(now(), bytes);
}

/// Bytes of all answers of one inference, packed.
fn answer_bytes(bundle: &EdgeBundle) -> f64 {
    let rounds = 0..bundle.plan.rounds().len();
    rounds.map(|r| twinmask_codec::packed_parts_len(&bundle.plan.answer_parts(RoundId::at(r)))).sum::<usize>() as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_ahead_are_the_same_and_bounded_in_number() {
    let edge = TestEdge::new(Role::A);
    let mut device = edge.device().await;
    let one = answer_bytes(&edge.bundle);
    settles_at(&edge, 2.0 * one).await; // of a session that never began: two counters and no more
    device.infer_honestly(&edge.bundle, 0).await;
    assert_eq!(gauge(&edge, "twinmask_ahead_used_total"), 3.0);
    settles_at(&edge, 8.0 * one).await; // eight counters above the last that is over
    for c in [1, 2, 5, 3, 4] {
        device.infer_honestly(&edge.bundle, c).await;
    }
    assert_eq!(gauge(&edge, "twinmask_ahead_used_total"), 18.0, "all were there");
    device.connection.close(0, "");
    until(|| gauge(&edge, "twinmask_ahead_bytes") == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_what_is_ahead_is_bounded_by_device_and_in_total() {
    let limits = Limits { ahead_device: 7_000, ahead_total: 10_000, ..Limits::default() };
    let edge = TestEdge::with(Role::A, bundle(), limits, default_kernel());
    let mut devices = Vec::new();
    for (name, bound) in [("cam", 7_000.0), ("cam", 7_000.0), ("other", 10_000.0), ("third", 10_000.0)] {
        let role = twinmask_transport::Role::device(name).expect("a good name");
        let device = Device::open(edge.connect_as(role), &edge.open_frame()).await;
        let mut device = Device { name, ..device };
        for c in 0..4 {
            device.infer_honestly(&edge.bundle, c).await;
            assert!(gauge(&edge, "twinmask_ahead_bytes") <= bound);
        }
        until(|| gauge(&edge, "twinmask_ahead_bytes") > bound - 5_000.0).await; // the bound leaves room for some
        devices.push(device);
    }
    devices.iter().for_each(|d| d.connection.close(0, ""));
    until(|| gauge(&edge, "twinmask_ahead_bytes") == 0.0).await;
}

/// If this fails, devices that only stay connected take the memory of those that infer.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_rest_keeps_nothing_ahead_until_it_is_used_again() {
    let limits = Limits { rest: Duration::from_millis(700), ..Limits::default() };
    let edge = TestEdge::with(Role::A, bundle(), limits, default_kernel());
    let mut device = edge.device().await;
    let one = answer_bytes(&edge.bundle);
    until(|| gauge(&edge, "twinmask_ahead_bytes") == 2.0 * one).await;
    for round in 0..2 {
        until(|| gauge(&edge, "twinmask_ahead_bytes") == 0.0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(gauge(&edge, "twinmask_ahead_bytes"), 0.0);
        device.infer_honestly(&edge.bundle, 2 * round).await;
        until(|| gauge(&edge, "twinmask_ahead_bytes") == 8.0 * one).await;
        let used = gauge(&edge, "twinmask_ahead_used_total");
        device.infer_honestly(&edge.bundle, 2 * round + 1).await;
        assert_eq!(gauge(&edge, "twinmask_ahead_used_total"), used + 3.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetch_is_answered_before_the_claim_which_still_grants_once() {
    let edge = TestEdge::new(Role::A);
    let plan = edge.bundle.plan.clone();
    let mut device = edge.device().await;
    write(&mut device.send, FrameType::Prefetch, &Prefetch { counter: Counter::new(0) }).await;
    let (mut send, mut recv) = device.infer(0).await;
    for r in 0..plan.rounds().len() {
        let frame = read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(r))).await;
        let z =
            payload::decode(&frame.payload, frame.header.codec, &plan.answer_parts(RoundId::at(r))).expect("decodes");
        assert!(z == of_edge_a(&device.keys(), &edge.bundle, r, 0));
    }
    write(&mut send, FrameType::End, &End {}).await;
    device.claim(0).await;
    write(&mut device.send, FrameType::Claim, &Claim { counter: Counter::new(0) }).await;
    closed_with(&device.connection, CloseCode::CounterUsed).await;

    let mut device = edge.device().await;
    for _ in 0..2 {
        write(&mut device.send, FrameType::Prefetch, &Prefetch { counter: Counter::new(3) }).await;
    }
    closed_with(&device.connection, CloseCode::CounterUsed).await;

    let b = TestEdge::new(Role::B);
    let mut device = b.device().await;
    write(&mut device.send, FrameType::Prefetch, &Prefetch { counter: Counter::new(0) }).await;
    closed_with(&device.connection, CloseCode::Protocol).await;
}

/// The model with room for dropped bits in its last layer.
fn roomy() -> EdgeBundle {
    let mut bundle = bundle();
    let mut parts = bundle.plan.to_parts();
    parts.layers[3].bound = 1 << 24;
    bundle.plan = Plan::new(parts).expect("room is enough");
    bundle
}

#[tokio::test(flavor = "multi_thread")]
async fn both_edges_leave_out_the_low_bits_that_are_to_be_dropped() {
    for role in [Role::A, Role::B] {
        let edge = TestEdge::with(role, roomy(), Limits::default(), default_kernel());
        let plan = edge.bundle.plan.clone();
        assert!(plan.drop_bits(LayerId::new(3)) > 0 && plan.drop_bits(LayerId::new(0)) == 0);
        let mut device = edge.device().await;
        for (c, exact) in [(0, false), (1, true), (2, false)] {
            if role == Role::A {
                device.claim(c).await;
            }
            let (mut send, mut recv) = device.connection.open_bi().await.expect("connected");
            write(&mut send, FrameType::Infer, &Infer { counter: Counter::new(c), exact, relay: false }).await;
            for r in 0..plan.rounds().len() {
                let mut wanted = if role == Role::A {
                    of_edge_a(&device.keys(), &edge.bundle, r, c)
                } else {
                    let x = shares(&plan, r, "drop");
                    upload(&mut send, &plan, r, &x, Codec::Packed).await;
                    expected(&edge.bundle, r, &x)
                };
                let parts = plan.answer_stripes(RoundId::at(r), exact);
                let frame = read(&mut recv, FrameType::Answer, &parts).await;
                let found = payload::decode(&frame.payload, frame.header.codec, &parts).expect("decodes");
                for (l, z) in plan.round_layers(RoundId::at(r)).zip(&mut wanted) {
                    let f = if exact { 0 } else { plan.drop_bits(l) };
                    z.iter_mut().for_each(|z| *z >>= f);
                }
                assert!(found == wanted, "{role}, round {r} of {c}");
            }
            write(&mut send, FrameType::End, &End {}).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_a_expands_masks_by_the_prf_that_it_picked() {
    let edge = TestEdge::new(Role::A);
    let plan = edge.bundle.plan.clone();
    for prf in Prf::available() {
        let open = Open { prfs: vec![prf, Prf::ChaCha20], ..edge.open_frame() };
        let mut device = Device::open(edge.connect(), &open).await;
        assert_eq!(device.opened.prf, prf);
        device.claim(0).await;
        let (_send, mut recv) = device.infer(0).await;
        let frame = read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;
        let z =
            payload::decode(&frame.payload, frame.header.codec, &plan.answer_parts(RoundId::at(0))).expect("decodes");
        let part = plan.upload_parts(RoundId::at(0))[0];
        let mask = device.keys().masks(prf.algorithm(), 0).elements(0, part.bits, part.len);
        let t = device.keys().answers(prf.algorithm(), 0);
        for (l, (mut wanted, z)) in expected(&edge.bundle, 0, &[mask]).into_iter().zip(z).enumerate() {
            let t = t.elements(l as u64, part.bits, wanted.len());
            wanted.iter_mut().zip(t).for_each(|(z, t)| *z = z.wrapping_add(t) & twinmask_ring::mask(part.bits));
            assert!(z == wanted, "{prf:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inference_does_not_wait_for_threads_that_get_no_time() {
    let (kernel, gate) = starved();
    let edge = TestEdge::with(Role::A, bundle(), Limits::default(), kernel);
    let mut device = edge.device().await;
    until(|| gauge(&edge, "twinmask_ahead_bytes") > 0.0).await;
    for c in 0..3 {
        device.infer_honestly(&edge.bundle, c).await;
    }
    assert_eq!(gauge(&edge, "twinmask_ahead_used_total"), 0.0);
    gate.open();
    settles_at(&edge, 8.0 * answer_bytes(&edge.bundle)).await;
    device.infer_honestly(&edge.bundle, 3).await;
    assert_eq!(gauge(&edge, "twinmask_ahead_used_total"), 3.0, "and from now on there is time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_a_session_that_has_ended_does_not_wait_for_those_threads() {
    let (kernel, gate) = starved();
    let limits = Limits { max_sessions: 1, ..Limits::default() };
    let edge = TestEdge::with(Role::A, bundle(), limits, kernel);
    for _ in 0..3 {
        let device = edge.device().await; // the one session that there may be
        until(|| gauge(&edge, "twinmask_ahead_bytes") > 0.0).await;
        tokio::time::sleep(Duration::from_millis(20)).await; // until that is in the queue
        device.connection.close(0, "");
        until(|| gauge(&edge, "twinmask_sessions") == 0.0).await;
    }
    gate.open();
}

/// Records how many inputs each fully connected layer is given at once, and holds convolutions up at its gate.
#[derive(Default)]
struct Recording {
    at_once: Mutex<Vec<usize>>,
    gate: Gate,
}

impl Hook for Recording {
    fn load(&self, layer: &Layer, xs: &[&[u32]]) {
        match layer.geometry {
            Geometry::Conv(_) => self.gate.pass(),
            Geometry::Fc(_) => self.at_once.lock().expect("no panic").push(xs.len()),
        }
    }
}

/// Five devices reach the same fully connected round while the one compute thread is busy with a sixth's convolution.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_connected_layer_of_several_sessions_is_computed_at_once() {
    let recording = Arc::new(Recording::default());
    recording.gate.open();
    let inner = twinmask_kernels::Kernels::native().named("portable").expect("every build has it");
    let kernel = wrapped(inner, Arc::clone(&recording));
    let edge = TestEdge::on_threads(1, Role::B, bundle(), Limits::default(), kernel);
    let plan = edge.bundle.plan.clone();
    let mut streams = Vec::new();
    for i in 0..6 {
        let device = edge.device().await;
        let (mut send, mut recv) = device.infer(0).await;
        if i < 5 {
            upload(&mut send, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
            read(&mut recv, FrameType::Answer, &plan.answer_parts(RoundId::at(0))).await;
        }
        streams.push((device, send, recv));
    }
    recording.gate.close();
    upload(&mut streams[5].1, &plan, 0, &shares(&plan, 0, "x"), Codec::Packed).await;
    until(|| recording.gate.waiting() == 1).await;
    recording.at_once.lock().expect("no panic").clear();
    for (i, (_, send, _)) in streams[..5].iter_mut().enumerate() {
        upload(send, &plan, 1, &shares(&plan, 1, &format!("device {i}")), Codec::Packed).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await; // for all five to reach the queue
    recording.gate.open();
    for (i, (_, _, recv)) in streams[..5].iter_mut().enumerate() {
        let frame = read(recv, FrameType::Answer, &plan.answer_parts(RoundId::at(1))).await;
        let found =
            payload::decode(&frame.payload, frame.header.codec, &plan.answer_parts(RoundId::at(1))).expect("decodes");
        assert!(found == expected(&edge.bundle, 1, &shares(&plan, 1, &format!("device {i}"))), "device {i}");
    }
    assert_eq!(*recording.at_once.lock().expect("no panic"), [5]);
}
