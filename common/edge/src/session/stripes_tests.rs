//! Rounds in stripes, by a hand-driven device: honest, slow and hostile.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use twinmask_codec::RoundId;
use twinmask_kernels::default_kernel;
use twinmask_transport::SendHalf;
use twinmask_transport::frame_io::write_frame;
use twinmask_wire::message::{End, Round};
use twinmask_wire::{CloseCode, Codec, FrameType, frame};

use crate::test_support::*;
use crate::{Limits, Role};

const FIRST: RoundId = RoundId::new(0);

fn edge(role: Role, limits: Limits) -> TestEdge {
    TestEdge::with(role, striped_bundle(), limits, default_kernel())
}

/// Does not wait longer than this for a device.
fn impatient() -> Limits {
    Limits { stall: Duration::from_millis(300), ..Limits::default() }
}

async fn send_stripe(edge: &TestEdge, send: &mut SendHalf, j: usize, shares: &[Vec<u32>]) {
    let payload = stripe(&edge.bundle.plan, 0, j, shares, Codec::Packed);
    let round = Round { round: FIRST };
    soon(write_frame(send, FrameType::Round, &round, Codec::Packed, &payload)).await.expect("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_make_the_whole() {
    for role in [Role::A, Role::B] {
        edge(role, Limits::default()).check_alive().await;
    }
}

/// If this fails, uploads and answers do not flow at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_answered_as_soon_as_their_input_is_there() {
    let edge = edge(Role::B, Limits::default());
    let plan = &edge.bundle.plan;
    let device = edge.device().await;
    let (mut send, mut recv) = device.infer(0).await;
    let shares = shares(plan, 0, "early");
    let mut stripes = Vec::new();
    for j in 0..plan.stripes(FIRST) {
        send_stripe(&edge, &mut send, j, &shares).await;
        stripes.push(decoded(&mut recv, 0, &plan.answer_stripe(FIRST, j, true)).await);
    }
    assert!(arrived(plan, 0, &stripes) == expected(&edge.bundle, 0, &shares));
    assert_eq!(gauge(&edge, "twinmask_rounds_total"), 1.0, "a round is one round");
}

/// If this fails, a device that lets a byte through now and then keeps its place for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_trickles_is_given_up() {
    let edge = edge(Role::B, impatient());
    let plan = &edge.bundle.plan;
    let device = edge.device().await;
    let (mut send, mut recv) = device.infer(0).await;
    send_stripe(&edge, &mut send, 0, &shares(plan, 0, "slow")).await;
    decoded(&mut recv, 0, &plan.answer_stripe(FIRST, 0, true)).await;
    let announced = twinmask_codec::packed_parts_len(&plan.upload_stripe(FIRST, 1));
    let head = frame::encode_head(FrameType::Round, &Round { round: FIRST }, Codec::Packed, announced);
    send.write_all(&head).await.expect("writes");
    let trickle = async {
        while send.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    soon(trickle).await;
    idle(&edge).await;
    edge.check_alive().await;
}

/// If this fails, a device that never reads keeps what is answered to it, or stops the edge from reading.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_reads_is_given_up() {
    let edge = edge(Role::B, impatient());
    let device = edge.device().await;
    let (mut send, _unread) = device.infer(0).await;
    let shares = shares(&edge.bundle.plan, 0, "deaf");
    for j in 0..edge.bundle.plan.stripes(FIRST) {
        let payload = stripe(&edge.bundle.plan, 0, j, &shares, Codec::Packed);
        let round = Round { round: FIRST };
        if soon(write_frame(&mut send, FrameType::Round, &round, Codec::Packed, &payload)).await.is_err() {
            break; // it was given up before it had written all
        }
    }
    until(|| edge.edge.metrics().lines().any(|l| l.contains("Stalled") && l.ends_with(" 1"))).await;
    idle(&edge).await;
    edge.check_alive().await;
}

/// Nothing but the rest of its round may come behind a first stripe.
#[tokio::test(flavor = "multi_thread")]
async fn another_frame_inside_a_round_ends_the_session() {
    let edge = edge(Role::B, Limits::default());
    let plan = &edge.bundle.plan;
    let shares = shares(plan, 0, "astray");
    for wrong in 0..3 {
        let device = edge.device().await;
        let (mut send, _recv) = device.infer(0).await;
        send_stripe(&edge, &mut send, 0, &shares).await;
        let payload = stripe(plan, 0, 1, &shares, Codec::Packed);
        let code = match wrong {
            0 => {
                write(&mut send, FrameType::End, &End {}).await;
                CloseCode::Protocol
            }
            1 => {
                let round = Round { round: FIRST.next() };
                let _ = write_frame(&mut send, FrameType::Round, &round, Codec::Packed, &payload).await;
                CloseCode::Protocol
            }
            _ => {
                let round = Round { round: FIRST };
                let _ = write_frame(&mut send, FrameType::Round, &round, Codec::Packed, &payload[1..]).await;
                CloseCode::BadShape
            }
        };
        closed_with(&device.connection, code).await;
    }
    edge.check_alive().await;
}
