//! Networks and bundles that are no good: refused with words that help, and nothing lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use twinmask_testkit::numbers;
use twinmask_tests::networks::{mixed, save, tiny};
use twinmask_tests::onnx::Network;
use twinmask_tests::{Deployment, Edge, Output, binaries, command, run};

/// What `add-model` says to these bytes; the deployment must not have changed.
fn add(deployment: &Deployment, bytes: &[u8]) -> Output {
    let file = save(bytes, &deployment.scratch("model.onnx"));
    let before = deployment.snapshot();
    let out = deployment.keygen("add-model", &["--name", "new", "--onnx", &file]);
    if out.code != Some(0) {
        assert!(deployment.snapshot() == before, "a refused model has left something behind");
    }
    out
}

/// Places spread over `len` bytes.
fn places(len: usize, n: usize) -> impl Iterator<Item = usize> {
    (0..n).map(move |i| i * (len - 1) / (n - 1).max(1))
}

/// Writes `bytes` over the bundle at `path`, privately.
fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("writes");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("own file");
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    copy[at] ^= 1 << (at % 8);
    copy
}

/// If this fails, a download that broke off becomes a model, or the owner's tool crashes.
#[test]
fn a_truncated_onnx_file() {
    let deployment = Deployment::new();
    let good = mixed();
    for len in places(good.len(), 25).filter(|&len| len < good.len()) {
        add(&deployment, &good[..len]).expect_error(3, &["model.onnx"]);
    }
}

/// If this fails, a damaged file makes the owner's tool crash or hang instead of saying what is wrong.
#[test]
fn a_mutated_onnx_file() {
    let deployment = Deployment::new();
    let good = tiny();
    let mut refused = 0;
    // Names, shapes and operators are at both ends of the file; in between are weights, where any bytes are a number.
    for at in (0..good.len()).filter(|&i| i < 150 || i % 40 == 0 || i + 150 > good.len()) {
        let file = save(&flipped(&good, at), &deployment.scratch("model.onnx"));
        let mut command = command(binaries::path("owner-keygen"));
        let out = run(command.args(["inspect", &file]), std::time::Duration::from_secs(20));
        if out.code != Some(0) {
            out.expect_error(3, &["model.onnx"]);
            refused += 1;
        }
    }
    assert!(refused > 50, "only {refused} mutations were refused");
    assert!(
        deployment.keygen("add-model", &["--name", "good", "--onnx", &save(&good, &deployment.scratch("g.onnx"))]).code
            == Some(0)
    );
}

/// If this fails, a person whose network cannot be imported is not told which node stands in the way.
#[test]
fn an_unsupported_operator() {
    let deployment = Deployment::new();
    let mut network = Network::new(&[1, 2, 4, 4]);
    let x = network.conv("x", [2, 3], &[3, 3], 1, vec![]);
    let y = network.node("NonMaxSuppression", &[&x], vec![]);
    let words =
        ["model.onnx", "nonmaxsuppression1_node", "NonMaxSuppression", "Supported:", "Conv", "GlobalAveragePool"];
    add(&deployment, &network.bytes(&y)).expect_error(3, &words);
}

/// If this fails, a network that diverged in training is issued to devices.
#[test]
fn weights_that_are_no_numbers() {
    let deployment = Deployment::new();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut network = Network::new(&[1, 2, 4, 4]);
        let mut data = numbers("weights", 18);
        data[7] = bad;
        let w = network.constant("poisoned", &[1, 2, 3, 3], data);
        let y = network.node("Conv", &["x", &w], vec![]);
        add(&deployment, &network.bytes(&y)).expect_error(3, &["model.onnx", "poisoned"]);
    }
}

/// If this fails, an edge computes with a bundle that the owner did not sign, or crashes over one.
#[test]
fn a_damaged_bundle_at_an_edge() {
    let deployment = Deployment::lenet();
    let path = deployment.path("edge-b/models/lenet-v1.twm");
    let good = std::fs::read(&path).expect("the edge's bundle");
    let refuse = |bytes: &[u8]| {
        put(&path, bytes);
        let out = Edge::try_start(&mut Edge::command("edge-b", &deployment.path("edge-b"))).err();
        out.expect("the edge must not start").expect_error(3, &["lenet-v1.twm"]);
    };
    places(good.len(), 12).filter(|&len| len < good.len()).for_each(|len| refuse(&good[..len]));
    places(good.len(), 25).for_each(|at| refuse(&flipped(&good, at)));
    refuse(&[&good[..], b"x"].concat());
    let other = Deployment::lenet();
    refuse(&std::fs::read(other.path("edge-b/models/lenet-v1.twm")).expect("another owner's bundle"));

    // While the edge runs, a bad bundle costs nothing of what it serves.
    put(&path, &good);
    let pair = deployment.edges("portable");
    put(&path, &good[..good.len() / 2]);
    pair.b.signal(Signal::HUP);
    pair.b.await_log("lenet-v1.twm");
    deployment.device(&pair, &["bench", "--runs", "2"]).expect_ok();
}

/// If this fails, a device computes with masks or a graph that the owner did not sign, or crashes over them.
#[test]
fn a_damaged_bundle_at_a_device() {
    let deployment = Deployment::lenet();
    let path = deployment.path("devices/cam/models/lenet.twm");
    let good = std::fs::read(&path).expect("the device's bundle");
    let input = deployment.tensor("input", &[1, 1, 28, 28]);
    let infer = || {
        let mut command = deployment.device_command("127.0.0.1:9", "127.0.0.1:9");
        run(command.args(["infer", "--local"]).arg(&input), std::time::Duration::from_secs(20))
    };
    let refuse = |bytes: &[u8]| {
        put(&path, bytes);
        infer().expect_error(3, &["lenet.twm"]);
    };
    places(good.len(), 12).filter(|&len| len < good.len()).for_each(|len| refuse(&good[..len]));
    places(good.len(), 60).for_each(|at| refuse(&flipped(&good, at)));
    refuse(&[&good[..], b"x"].concat());
    refuse(&std::fs::read(deployment.path("edge-a/models/lenet-v1.twm")).expect("a bundle of another kind"));
    put(&path, &good);
    infer().expect_ok();
}
