//! An edge that computes wrongly is caught and named, an honest one never accused.

use twinmask_tests::networks::{save, tower};
use twinmask_tests::secrets::Secrets;
use twinmask_tests::{DEVICE, Deployment, Edge, Pair, command, kernels, until};

/// Layers of the network: with 16 samples each, a wrong sixteenth of the outputs escapes with (15/16)^(16*41) < 1e-18.
const LAYERS: usize = 40;

/// What an edge logs when a device has ended its session for any failure.
const CLOSED_ALIKE: &str = "\"reason\":\"closed by the peer with code 11\"";

fn deployment() -> Deployment {
    let deployment = Deployment::new();
    let file = save(&tower(LAYERS), &deployment.scratch("tower.onnx"));
    deployment.keygen("add-model", &["--name", "tower", "--onnx", &file]).expect_ok();
    deployment.issue(DEVICE, "tower", &[]);
    deployment
}

fn liar(deployment: &Deployment, role: &str, peer: Option<&str>) -> Edge {
    let mut command = command(env!("CARGO_BIN_EXE_lying-edge"));
    Edge::start(command.arg(role).arg(deployment.path(&format!("edge-{role}"))).args(peer))
}

/// The device with `settings` ends with the text `named` and without accusing any edge that is not in it.
fn check_caught(deployment: &Deployment, pair: &Pair, settings: &[&str], named: &str) {
    let input = deployment.tensor("input", &[1, 3, 8, 8]);
    let key = std::fs::read_to_string(deployment.path("devices/cam/identity/key.pem")).expect("the device's key");
    let secrets = Secrets::of(&deployment.bundle("tower"), &key);
    let saved = deployment.scratch("output.npy");
    let (input, saved_text) = (input.to_str().expect("UTF-8"), saved.to_str().expect("UTF-8"));
    let arguments = [settings, &["infer", input, "--json", "--save-output", saved_text]].concat();
    let out = deployment.device(pair, &arguments).expect_error(6, &["integrity", &format!("{named} answered wrongly")]);
    for edge in ["edge A", "edge B"].iter().filter(|edge| named != **edge) {
        assert!(!out.stderr.contains(edge), "{edge} is accused: {}", out.stderr);
    }
    assert!(out.stdout.is_empty() && !saved.exists(), "a result that failed its check came out");
    secrets.check("the error", &out.stderr);
    for edge in [&pair.a, &pair.b] {
        edge.await_log(CLOSED_ALIKE);
    }
}

/// If this fails, a lying mask edge falsifies results unnoticed, or an edge learns which check failed.
#[test]
fn a_lying_edge_a_is_caught_and_named() {
    let deployment = deployment();
    let pair = Pair { a: liar(&deployment, "a", None), b: deployment.edge("edge-b", &[]) };
    check_caught(&deployment, &pair, &["--integrity", "sample:16"], "edge A");
}

/// If this fails, a lying data edge falsifies results unnoticed, or an edge learns which check failed.
#[test]
fn a_lying_edge_b_is_caught_and_named() {
    let deployment = deployment();
    let pair = Pair { a: deployment.edge("edge-a", &[]), b: liar(&deployment, "b", None) };
    check_caught(&deployment, &pair, &["--integrity", "sample:16"], "edge B");
}

/// If this fails, two liars cover for each other.
#[test]
fn two_liars_are_caught() {
    let deployment = deployment();
    let pair = Pair { a: liar(&deployment, "a", None), b: liar(&deployment, "b", None) };
    check_caught(&deployment, &pair, &["--integrity", "sample:16"], "both edges");
}

/// If this fails, an edge B that answers for both falsifies results unnoticed, or an honest edge is accused on a sum
/// that cannot tell.
#[test]
fn in_relay_a_lying_edge_b_is_caught_by_either_check() {
    let deployment = deployment();
    let b = liar(&deployment, "b", None);
    let a = deployment.edge("edge-a", &["--peer", &b.address]);
    let pair = Pair { a, b };
    check_relay_caught(&deployment, &pair);
}

/// If this fails, an edge A that sends wrong corrections falsifies results unnoticed.
#[test]
fn in_relay_a_lying_edge_a_is_caught_by_either_check() {
    let deployment = deployment();
    let b = deployment.edge("edge-b", &[]);
    let a = liar(&deployment, "a", Some(&b.address));
    check_relay_caught(&deployment, &Pair { a, b });
}

fn check_relay_caught(deployment: &Deployment, pair: &Pair) {
    until("the edges connected", || pair.a.metric("twinmask_peer_connected") == 1.0);
    for check in ["sample:16", "freivalds", "sample:16+freivalds"] {
        check_caught(deployment, pair, &["--mode", "relay", "--integrity", check], "an edge");
    }
    assert!(pair.a.metric("twinmask_corrections_total") > 0.0, "nothing went by relay");
    assert_eq!(pair.b.metric("twinmask_relay_misses_total"), 0.0, "a round fell back");
}

/// If this fails, honest edges are accused, and people learn to ignore the alarm.
#[test]
fn honest_edges_are_never_accused() {
    let deployment = deployment();
    for kernel in kernels() {
        let pair = deployment.edges(kernel);
        let arguments = ["--integrity", "sample:200", "bench", "--runs", "20", "--warmup", "0", "--json"];
        let report = &deployment.device(&pair, &arguments).expect_ok().json()[0];
        assert_eq!(
            (&report["runs"], &report["integrity"], &report["kernel"]),
            (&20.into(), &"sample:200".into(), &kernel.into())
        );
    }
}

/// If this fails, the check costs nothing because it is not made: without it the same liar goes through.
#[test]
fn without_a_check_the_liar_goes_through() {
    let deployment = deployment();
    let pair = Pair { a: liar(&deployment, "a", None), b: deployment.edge("edge-b", &[]) };
    let input = deployment.tensor("input", &[1, 3, 8, 8]);
    let arguments = ["--integrity", "none", "infer", input.to_str().expect("UTF-8"), "--json"];
    let out = deployment.device(&pair, &arguments).expect_ok();
    assert_eq!(out.json()[0]["integrity"]["check"], "none");
}
