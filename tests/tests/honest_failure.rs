//! What ends an inference without anybody having lied: an input that the network makes no finite numbers of, and an
//! edge that has no place.

mod in_process;

use std::sync::Arc;
use std::time::Duration;

use in_process::{InProcess, Seen, Wire};
use twinmask_device::DeviceError;
use twinmask_device::engine::{Session, infer};
use twinmask_device::{Model, Output};
use twinmask_edge::{Config, Edge, Limits, Role};
use twinmask_kernels::default_kernel;
use twinmask_tests::networks;
use twinmask_wire::FrameType;

const LONG: Duration = Duration::from_secs(20);

async fn run(session: &Session, model: &Model, input: &[f32]) -> Result<Vec<Output>, DeviceError> {
    let mut remote = session.begin().await?;
    let done = infer(model, &mut model.values(), &[input.to_vec()], &mut remote).await;
    if matches!(done, Ok(_) | Err(DeviceError::Computation(_))) {
        remote.finish().await.expect("both edges are there");
    }
    done.map(|outcome| outcome.outputs)
}

/// Frames up to both edges of one inference, once they have all passed.
async fn up(wires: [&Wire; 2]) -> [Vec<Seen>; 2] {
    let mut seen = [Vec::new(), Vec::new()];
    for (wire, seen) in wires.into_iter().zip(&mut seen) {
        while !seen.iter().any(|s: &Seen| s.passed.kind == FrameType::End) {
            seen.extend(wire.take_whole());
            tokio::task::yield_now().await;
        }
        seen.retain(|s| s.passed.up && s.passed.kind != FrameType::Open);
        seen.sort_by_key(|s| s.passed.kind as u8);
    }
    seen
}

/// If this fails, an edge sees from where an inference ends whether an activation was finite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_cannot_be_computed_looks_as_any_other_to_the_edges() {
    let deployment = InProcess::new(&networks::fragile());
    let model = deployment.network();
    let (a, b) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let session =
        deployment.session(&model, [&a, &b], [default_kernel(), default_kernel()], LONG).await.expect("opens");
    let (good, bad) = ([1.0, 2.0, 0.5, 0.1], [-1.0, 0.5, -2.0, 0.1]);
    let first = run(&session, &model, &good).await.expect("finite");
    let honest = up([&a, &b]).await;
    let error = run(&session, &model, &bad).await.expect_err("the logarithm of a negative number");
    assert!(matches!(error, DeviceError::Computation(_)) && error.exit_code() == 3, "{error}");
    assert!(error.to_string().contains("no finite numbers"), "{error}");
    let failed = up([&a, &b]).await;
    for (honest, failed) in honest.iter().zip(&failed) {
        let shape = |of: &[Seen]| of.iter().map(|s| s.passed.clone()).collect::<Vec<_>>();
        assert_eq!(shape(honest), shape(failed));
    }
    // The rounds behind it are masked as any: zeros would be seen.
    let rounds = failed[1].iter().filter(|s| s.passed.kind == FrameType::Round);
    assert!(rounds.clone().count() == model.plan().rounds().len());
    rounds.for_each(|s| assert!(s.payload.iter().any(|&b| b != 0), "a payload of zeros"));
    assert_eq!(run(&session, &model, &good).await.expect("the session goes on"), first);
}

/// If this fails, the library repeats by itself what an edge has seen a share of, or loses the session of a busy edge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_busy_edge_refuses_is_not_repeated() {
    let deployment = InProcess::new(&networks::tiny());
    let model = deployment.network();
    let (a, b) = (Arc::new(Wire::default()), Arc::new(Wire::default()));
    let one_place = |name, role| {
        let config = Config::new(deployment.path(name), role);
        let config = Config { limits: Limits { max_in_flight: 1, ..Limits::default() }, ..config };
        Edge::load(&config, role, default_kernel()).expect("the edge's folder")
    };
    let edges = (one_place("edge-a", Role::A), one_place("edge-b", Role::B));
    let session = deployment.session_with(&model, [&a, &b], edges, InProcess::options(LONG)).await.expect("opens");
    let input = vec![0.5; 32];
    let held = session.begin().await.expect("the one place");
    let error = run(&session, &model, &input).await.expect_err("no place");
    assert!(matches!(error, DeviceError::Busy { .. }) && error.exit_code() == 4, "{error}");
    drop(held);
    // The place is free when the edges have heard of it.
    let mut tries = 0;
    while let Err(error) = run(&session, &model, &input).await {
        assert!(matches!(error, DeviceError::Busy { .. }), "{error}");
        tries += 1;
        assert!(tries < 500, "the place never comes back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = b.take().iter().filter(|f| f.up && f.kind == FrameType::Infer).count();
    assert_eq!(began, 3 + tries, "each inference began once, by its caller");
}
