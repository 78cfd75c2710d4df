//! Quantization costs next to no accuracy. All of it on real data; without it the tests say that they were skipped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinmask_device::Model;
use twinmask_device::engine::infer;
use twinmask_device::engine::{DeviceDir, Local};
use twinmask_device::exec::{Program, Values};
use twinmask_device::npy;
use twinmask_masking::Integrity;
use twinmask_model::bundle::MEMORY_CAP;
use twinmask_onnx::{ImportOptions, import};
use twinmask_tests::data::{Labelled, argmax, cifar, data_or_skip, mnist, parse_npy, photos, rows};
use twinmask_tests::{DEVICE, Deployment, PROFILES, kernels};

/// Images whose results are stored as a reference, and that are classified privately.
const FIRST: usize = 100;

fn largest(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |m, v| v.abs().max(m))
}

/// The largest difference of two rows.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

/// Applies `work` to all inputs on two threads, each with a state of its own; results in order.
fn in_parallel<S>(
    inputs: &[Vec<f32>],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &[f32]) -> Vec<f32> + Sync,
) -> Vec<Vec<f32>> {
    let half = |inputs: &[Vec<f32>]| -> Vec<Vec<f32>> {
        let mut state = state();
        inputs.iter().map(|input| work(&mut state, input)).collect()
    };
    let (first, second) = inputs.split_at(inputs.len() / 2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(first));
        let second = half(second);
        [first.join().expect("no panic"), second].concat()
    })
}

/// The network's logits in f32, before anything is divided or quantized.
fn float_logits(onnx: &Path, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let graph = import(onnx, &ImportOptions::default()).expect("a network of the data folder").graph;
    let output = graph.outputs[0].value;
    let program = Arc::new(Program::new(graph, MEMORY_CAP).expect("a checked graph"));
    in_parallel(
        inputs,
        || Values::new(Arc::clone(&program)),
        |values, input| {
            values.start(&[input]).expect("fits");
            values.run_segment(0).expect("runs");
            values.get(output).expect("computed").to_vec()
        },
    )
}

/// The logits of the quantized network, computed by the library in mode `--local`.
fn local_logits(deployment: &Deployment, model: &str, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let folder = DeviceDir::open(&deployment.path("devices").join(DEVICE)).expect("the device's folder");
    let state = || {
        let bundle = folder.load(Some(model)).expect("a bundle");
        let local = Local::new(&bundle).expect("all weights");
        let network = Model::new(bundle, "none".parse::<Integrity>().expect("a check")).expect("a network");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        (network.values(), network, local, runtime)
    };
    in_parallel(inputs, state, |(values, network, local, runtime), input| {
        let outcome = runtime.block_on(infer(network, values, &[input.to_vec()], local)).expect("infers");
        outcome.outputs.into_iter().next().expect("one output").tensor.to_f32()
    })
}

/// Percent of the images whose class is right.
fn accuracy(logits: &[Vec<f32>], labels: &[u8]) -> f64 {
    let right = logits.iter().zip(labels).filter(|(row, label)| argmax(row) == usize::from(**label)).count();
    100.0 * right as f64 / labels.len() as f64
}

fn save_inputs(deployment: &Deployment, set: &Labelled) -> Vec<PathBuf> {
    let save = |(i, input): (usize, &Vec<f32>)| {
        let path = deployment.scratch(&format!("{i}.npy"));
        npy::write(&path, &set.shape, input).expect("writes");
        path
    };
    set.inputs[..FIRST].iter().enumerate().map(save).collect()
}

/// The float network agrees with the reference; each profile keeps its accuracy, and is what the edges compute.
fn check(onnx: &Path, reference: &Path, set: &Labelled) {
    let float = float_logits(onnx, &set.inputs);
    for (i, (row, expected)) in float.iter().zip(rows(reference)).enumerate() {
        assert!(distance(row, &expected) < 1e-3, "image {i}: {row:?} where {expected:?} is stored");
    }
    let expected = accuracy(&float, &set.labels);
    assert!(expected > 90.0, "{expected} % right: these are not the data that the network was trained for");

    let deployment = Deployment::new();
    for profile in PROFILES {
        deployment.add(profile, &["--onnx", onnx.to_str().expect("UTF-8"), "--ring", profile]);
    }
    let inputs = save_inputs(&deployment, set);
    let local = PROFILES.map(|profile| local_logits(&deployment, profile, &set.inputs));
    for (profile, logits) in PROFILES.iter().zip(&local) {
        let found = accuracy(logits, &set.labels);
        println!("{}: float {expected:.1} %, {profile} {found:.1} %", onnx.display());
        assert!((found - expected).abs() <= 0.5, "{profile}: {found} %, float {expected} %");
    }
    for kernel in kernels() {
        let pair = deployment.edges(kernel);
        for (profile, logits) in PROFILES.iter().zip(&local) {
            let private = parse_npy(&deployment.output(Some(&pair), profile, &inputs)).1;
            assert!(
                private == logits[..FIRST].concat(),
                "{profile} on {kernel}: private results are not the local ones"
            );
        }
    }
}

/// If this fails, digits are recognised worse than by the network that was imported.
#[test]
fn lenet_on_a_thousand_digits() {
    let Some(data) = data_or_skip("accuracy::lenet_on_a_thousand_digits") else { return };
    let reference = data.join("reference/lenet_mnist.t10k_first100.logits.npy");
    check(&data.join("models/lenet_mnist.onnx"), &reference, &mnist(&data, 1000));
}

/// If this fails, small pictures are recognised worse than by the network that was imported.
#[test]
fn resnet20_on_a_thousand_pictures() {
    let Some(data) = data_or_skip("accuracy::resnet20_on_a_thousand_pictures") else { return };
    let reference = data.join("reference/resnet20_cifar10.test_first100.logits.npy");
    check(&data.join("models/resnet20_cifar10.onnx"), &reference, &cifar(&data, 1000));
}

/// If this fails, photos are classified otherwise than by the network that was imported, from file to class name.
#[test]
fn squeezenet_on_photos() {
    let Some(data) = data_or_skip("accuracy::squeezenet_on_photos") else { return };
    let expected = rows(&data.join("reference/squeezenet1.1.photos224.logits.npy"));
    let photos = photos(&data);
    assert_eq!((photos.len(), expected.len()), (9, 9));
    let deployment = Deployment::new();
    let onnx = data.join("models/squeezenet1.1.onnx");
    let labels = data.join("labels/imagenet_1000.txt");
    let (onnx, labels) = (onnx.to_str().expect("UTF-8"), labels.to_str().expect("UTF-8"));
    for profile in ["balanced", "precise"] {
        let source = ["--onnx", onnx, "--ring", profile, "--preprocess", "imagenet", "--labels", labels];
        deployment.add(profile, &source);
    }
    for kernel in kernels() {
        let pair = deployment.edges(kernel);
        for (profile, tolerance) in [("balanced", 0.01), ("precise", 0.003)] {
            let private = parse_npy(&deployment.output(Some(&pair), profile, &photos)).1;
            for ((row, expected), photo) in private.chunks_exact(1000).zip(&expected).zip(&photos) {
                let error = distance(row, expected) / largest(expected);
                assert_eq!(argmax(row), argmax(expected), "{profile}: {}", photo.display());
                assert!(error <= tolerance, "{profile}: {}: off by {error} of the largest logit", photo.display());
            }
        }
    }
    let pair = deployment.edges("portable");
    let cat = photos[2].to_str().expect("UTF-8");
    let out = deployment.device(&pair, &["--model", "balanced", "infer", cat, "--json", "--top", "1"]).expect_ok();
    assert_eq!(out.json()[0]["top"][0]["index"], argmax(&expected[2]));
    assert!(out.json()[0]["top"][0]["label"].as_str().is_some_and(|l| l.contains("Egyptian")), "{}", out.stdout);
}
