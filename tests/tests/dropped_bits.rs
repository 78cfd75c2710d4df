//! Dropped output bits over real processes: fewer bytes come down, results move by no more than quantization moves
//! them, and nobody gets them together with a check that they would break.

use std::path::PathBuf;

use twinmask_device::npy;
use twinmask_tests::data::{argmax, data_or_skip, mnist, parse_npy, photos};
use twinmask_tests::{Deployment, Pair};

/// Largest difference of a logit, relative to the largest logit of its input.
const BOUND: f32 = 0.01;

/// With dropped bits and without in `mode`: the results differ, by at most [`BOUND`], and fewer bytes come down.
fn check(deployment: &Deployment, pair: &Pair, model: &str, inputs: &[PathBuf], mode: &str) {
    let settings = ["--mode", mode, "--integrity", "none", "--drop-bits"];
    let run = |drop: &str| deployment.infer(Some(pair), model, inputs, &[&settings[..], &[drop]].concat());
    let (whole, dropped) = (run("off"), run("auto"));
    for report in dropped.reports.iter().chain(&whole.reports) {
        assert_eq!((&report["mode"], &report["fallbacks"]), (&mode.into(), &0.into()));
    }
    assert!(whole.saved == deployment.output(None, model, inputs), "{model}, {mode}: wrong without dropped bits");
    assert!(whole.saved != dropped.saved, "{model}, {mode}: nothing was dropped");
    let (expected, found) = (parse_npy(&whole.saved).1, parse_npy(&dropped.saved).1);
    let classes = expected.len() / inputs.len();
    for (i, (expected, found)) in expected.chunks(classes).zip(found.chunks(classes)).enumerate() {
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let error = expected.iter().zip(found).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        println!("{model}, {mode}, input {i}: {error:.1e} of the largest logit");
        assert!(error <= BOUND, "{model}, {mode}, input {i}: off by {error} of the largest logit");
        // Masks are drawn anew each time, so a class that leads by less than the bound may or may not stay the first.
        let lost = expected[argmax(expected)] - expected[argmax(found)];
        assert!(lost < BOUND * largest, "{model}, {mode}, input {i}: another class, which was {lost} behind");
    }
    let down = |of: &twinmask_tests::Inferred| of.bytes("edge_a").1 + of.bytes("edge_b").1;
    // What the network stack sends once more counts, too: the least of a few runs is without that.
    let mut least = [down(&dropped), down(&whole)];
    for _ in 0..3 {
        if 100 * least[0] >= 95 * least[1] {
            least = [least[0].min(down(&run("auto"))), least[1].min(down(&run("off")))];
        }
    }
    let [dropped, whole] = least;
    println!("{model}, {mode}: {dropped} bytes down, {whole} without dropped bits");
    assert!(100 * dropped < 95 * whole, "{model}, {mode}: {dropped} of {whole} bytes");
}

/// If this fails, dropped bits cost accuracy, or save nothing.
#[test]
fn seeded_networks_with_dropped_bits() {
    let deployment = Deployment::new();
    for (model, shape) in [("lenet", [1, 1, 28, 28]), ("facenet-irv1", [1, 3, 160, 160])] {
        deployment.add(model, &["--zoo", model]);
        let inputs: Vec<PathBuf> = (0..2).map(|i| deployment.tensor(&format!("{model}-{i}"), &shape)).collect();
        let pair = deployment.relay_edges("auto");
        for mode in ["split", "relay"] {
            check(&deployment, &pair, model, &inputs, mode);
        }
    }
}

/// If this fails, real pictures are classified otherwise with dropped bits.
#[test]
fn trained_networks_with_dropped_bits() {
    let Some(data) = data_or_skip("dropped_bits::trained_networks_with_dropped_bits") else { return };
    let deployment = Deployment::new();
    let digits = mnist(&data, 20);
    let save = |(i, input): (usize, &Vec<f32>)| {
        let path = deployment.scratch(&format!("digit{i}.npy"));
        npy::write(&path, &digits.shape, input).expect("writes");
        path
    };
    let digits: Vec<PathBuf> = digits.inputs.iter().enumerate().map(save).collect();
    for (model, file, inputs) in
        [("lenet", "lenet_mnist.onnx", digits), ("squeezenet", "squeezenet1.1.onnx", photos(&data)[..2].to_vec())]
    {
        let onnx = data.join("models").join(file);
        deployment.add(model, &["--onnx", onnx.to_str().expect("UTF-8")]);
        let pair = deployment.relay_edges("auto");
        for mode in ["split", "relay"] {
            check(&deployment, &pair, model, &inputs, mode);
        }
    }
}

/// If this fails, a check that cannot hold is run (and honest edges are accused), or one that people rely on is not.
#[test]
fn dropped_bits_and_freivalds_exclude_each_other() {
    let deployment = Deployment::lenet();
    let pair = deployment.relay_edges("auto");
    let bench = ["bench", "--runs", "2", "--json"];
    for mode in ["split", "relay"] {
        for check in ["freivalds", "sample:16+freivalds"] {
            let arguments = [&["--mode", mode, "--drop-bits", "auto", "--integrity", check], &bench[..]].concat();
            deployment.device(&pair, &arguments).expect_error(3, &["dropped bits", "Freivalds", "sample:N"]);
        }
        // Without a word about checks it is the part of the default that holds, and the report says so.
        let report = deployment.device(&pair, &[&["--mode", mode, "--drop-bits", "auto"], &bench[..]].concat());
        assert_eq!(report.expect_ok().json()[0]["integrity"], "sample:16");
    }
    for edge in [&pair.a, &pair.b] {
        // One in each mode: what was refused never called an edge.
        assert_eq!(edge.metric("twinmask_sessions_total"), 2.0);
    }
}
