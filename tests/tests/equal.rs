//! A private result is the plain one, bit for bit.

use twinmask_tests::data::{data_or_skip, photos};
use twinmask_tests::networks::{mixed, save, striped, wave};
use twinmask_tests::{Deployment, Edge, PROFILES, until};

/// Adds the network from `source` in all `profiles`; gives the models' names.
fn add(deployment: &Deployment, name: &str, source: &[&str], profiles: &[&str]) -> Vec<String> {
    let add = |profile: &&str| {
        let model = format!("{name}-{profile}");
        deployment.add(&model, &[source, &["--ring", profile]].concat());
        model
    };
    profiles.iter().map(add).collect()
}

/// The network from `source` in all `profiles`, with every kernel, on `inputs` seeded tensors of `shape`.
fn check(name: &str, source: &[&str], profiles: &[&str], shape: &[u32], inputs: usize) {
    let deployment = Deployment::new();
    let models = add(&deployment, name, source, profiles);
    let inputs: Vec<_> = (0..inputs).map(|i| deployment.tensor(&format!("{name}-{i}"), shape)).collect();
    deployment.check_private_equals_local(&models, &inputs);
}

/// If this fails, a plain convolutional network comes out wrong in some profile or kernel.
#[test]
fn zoo_lenet_in_all_profiles() {
    check("lenet", &["--zoo", "lenet"], &PROFILES, &[1, 1, 28, 28], 3);
}

/// If this fails, a plan that keeps some layers on the device, or all, comes out wrong.
#[test]
fn zoo_lenet_with_layers_kept() {
    let deployment = Deployment::new();
    let divisions: [(&str, &[&str]); 3] = [
        ("named", &["--offload", "conv1,fc1"]),
        ("auto", &["--offload", "auto", "--link", "1000,0.01"]),
        ("none", &["--offload", "none"]),
    ];
    let models = divisions.map(|(name, division)| {
        deployment.add(name, &[&["--zoo", "lenet"], division].concat());
        name.to_owned()
    });
    let inputs: Vec<_> = (0..2).map(|i| deployment.tensor(&format!("kept-{i}"), &[1, 1, 28, 28])).collect();
    deployment.check_private_equals_local(&models, &inputs);
    let edge = deployment.path("edge-a/models");
    let known = |model: &str| edge.join(format!("{model}-v1.twm")).exists();
    assert!(known("named") && !known("none"), "edges know what they have a part in");
}

/// If this fails, siblings, residual sums or long chains of rounds (97) come out wrong.
#[test]
fn zoo_facenet_with_siblings() {
    check("facenet", &["--zoo", "facenet-irv1"], &["balanced"], &[1, 3, 160, 160], 1);
}

/// If this fails, large layers (9216 inputs, 4096 outputs) come out wrong, or their frames do not travel.
#[test]
fn zoo_alexnet() {
    check("alexnet", &["--zoo", "alexnet"], &["balanced"], &[1, 3, 224, 224], 1);
}

/// If this fails, a geometry that no zoo network has (groups, dilation, asymmetric padding, a local depthwise layer,
/// signed activations) comes out wrong.
#[test]
fn branches_groups_dilation_and_asymmetric_padding() {
    let folder = Deployment::new();
    let file = save(&mixed(), &folder.scratch("mixed.onnx"));
    check("mixed", &["--onnx", &file], &PROFILES, &[1, 4, 13, 10], 4);
}

/// If this fails, tensors that travel in stripes come out wrong in some profile or kernel.
#[test]
fn stripes() {
    let folder = Deployment::new();
    let file = save(&striped(), &folder.scratch("striped.onnx"));
    check("striped", &["--onnx", &file], &PROFILES, &[1, 3, 100, 90], 2);
}

/// If this fails, convolutions over one dimension come out wrong.
#[test]
fn one_dimension() {
    let folder = Deployment::new();
    let file = save(&wave(), &folder.scratch("wave.onnx"));
    check("wave", &["--onnx", &file], &PROFILES, &[1, 3, 50], 4);
}

/// If this fails, networks that people really trained come out wrong.
#[test]
fn trained_networks_in_all_profiles() {
    let Some(data) = data_or_skip("equal::trained_networks_in_all_profiles") else { return };
    let onnx = |name: &str| data.join("models").join(name).to_str().expect("UTF-8").to_owned();
    check("lenet", &["--onnx", &onnx("lenet_mnist.onnx")], &PROFILES, &[1, 1, 28, 28], 2);
    check("resnet20", &["--onnx", &onnx("resnet20_cifar10.onnx")], &PROFILES, &[1, 3, 32, 32], 2);

    let deployment = Deployment::new();
    let models = add(&deployment, "squeezenet", &["--onnx", &onnx("squeezenet1.1.onnx")], &PROFILES);
    deployment.check_private_equals_local(&models, &photos(&data)[..2]);
}

/// If this fails, answers that edge A sends before the claim are wrong, or are not sent then.
#[test]
fn answers_that_edge_a_sends_ahead() {
    let deployment = Deployment::lenet();
    let inputs: Vec<_> = (0..8).map(|i| deployment.tensor(&format!("ahead-{i}"), &[1, 1, 28, 28])).collect();
    let local = deployment.output(None, "lenet", &inputs);
    // Edges of their own, as theirs are the counters.
    let sent = |prefetch: &str| {
        let pair = deployment.edges("auto");
        let private = deployment.infer(Some(&pair), "lenet", &inputs, &["--prefetch", prefetch]);
        assert!(private.saved == local, "--prefetch {prefetch}: private and local results differ");
        until("all inferences counted", || pair.b.metric("twinmask_inferences_total") >= inputs.len() as f64);
        assert_eq!(pair.b.metric("twinmask_inferences_total"), inputs.len() as f64, "inferences claimed");
        until("bytes of the session that has ended", || bytes_out(&pair.a) > 0.0);
        bytes_out(&pair.a) / inputs.len() as f64
    };
    let (on_demand, ahead) = (sent("0"), sent("2"));
    println!("edge A sent {on_demand} bytes an inference, and {ahead} with --prefetch 2");
    assert!(ahead > 1.05 * on_demand, "{ahead} bytes where {on_demand} are due: nothing for inferences never claimed");
}

/// UDP payload bytes that an edge has sent in sessions that have ended.
fn bytes_out(edge: &Edge) -> f64 {
    let text = edge.get("/metrics").1;
    let line = text.lines().find(|l| l.starts_with("twinmask_bytes_total{") && l.contains("direction=\"out\""));
    line.and_then(|l| l.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}
