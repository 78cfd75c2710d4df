//! Face verification by `device compare`, and networks that embed faces.

use std::path::{Path, PathBuf};

use twinmask_device::{Device, Image, Mode, Output, Similarity, Tensor, blocking};
use twinmask_tests::data::{data_or_skip, rows};
use twinmask_tests::networks::{save, tiny};
use twinmask_tests::onnx::{Network as Onnx, ints};
use twinmask_tests::{DEVICE, Deployment};

/// Cosine, by a formula of the test's own.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// What a face network must hold to.
struct Faces {
    onnx: &'static str,
    preprocess: &'static str,
    images: &'static str,
    reference: &'static str,
    count: usize,
    /// Midway between the same person and different ones, by the data's README.
    threshold: f64,
    /// Least cosine of an embedding to its reference.
    least: f64,
    /// Pictures that are compared privately, by index.
    pairs: &'static [(usize, usize)],
}

impl Faces {
    fn check(&self, data: &Path) {
        let deployment = Deployment::new();
        let onnx = data.join("models").join(self.onnx).to_str().expect("UTF-8").to_owned();
        let threshold = self.threshold.to_string();
        let source = ["--onnx", &onnx, "--preprocess", self.preprocess, "--threshold", &threshold];
        deployment.add("faces", &source);
        let list = data.join(format!("reference/{}.list.txt", self.images));
        let list = std::fs::read_to_string(list).expect("the list of pictures");
        let pictures: Vec<PathBuf> =
            list.lines().map(|name| data.join("images").join(self.images).join(name)).collect();
        let reference = rows(&data.join("reference").join(self.reference));
        assert_eq!((pictures.len(), reference.len()), (self.count, self.count));
        let embeddings = embed(&deployment, &pictures);
        self.check_embeddings(&pictures, &embeddings, &reference);
        self.check_privately(&deployment, &pictures, &embeddings);
    }

    fn check_embeddings(&self, pictures: &[PathBuf], embeddings: &[Vec<f32>], reference: &[Vec<f32>]) {
        let mut worst = 1.0f64;
        for ((picture, ours), theirs) in pictures.iter().zip(embeddings).zip(reference) {
            let near = cosine(ours, theirs);
            assert!(near >= self.least, "{}: cosine {near} to the reference", picture.display());
            worst = worst.min(near);
        }
        let (mut same, mut different) = (0, 0);
        for i in 0..self.count {
            for j in 0..i {
                let theirs = cosine(&reference[i], &reference[j]) >= self.threshold;
                let ours = cosine(&embeddings[i], &embeddings[j]) >= self.threshold;
                let names = [&pictures[i], &pictures[j]].map(|p| p.display());
                assert_eq!(ours, theirs, "{} and {}", names[0], names[1]);
                *(if theirs { &mut same } else { &mut different }) += 1;
            }
        }
        assert!(same > 0 && different > 0, "decisions of one kind prove nothing");
        println!("{}: least cosine {worst:.7}, {same} pairs the same, {different} different", self.onnx);
    }

    /// Over the wire, by the command.
    fn check_privately(&self, deployment: &Deployment, pictures: &[PathBuf], embeddings: &[Vec<f32>]) {
        let pair = deployment.edges("auto");
        for &(i, j) in self.pairs {
            let (a, b) = (&pictures[i], &pictures[j]);
            let names = [a, b].map(|p| p.to_str().expect("UTF-8"));
            let compare = |more: &[&str]| {
                let args = [&["compare", names[0], names[1], "--json"], more].concat();
                deployment.device(&pair, &args).expect_ok().json().remove(0)
            };
            let (private, local) = (compare(&[]), compare(&["--local"]));
            assert_eq!(private, local, "private and local comparison");
            let expected = cosine(&embeddings[i], &embeddings[j]);
            let said = private["cosine"].as_f64().expect("a number");
            let l2 = private["l2"].as_f64().expect("a number");
            assert!((said - expected).abs() < 1e-12, "{said} for {expected}");
            assert!((l2 * l2 - (2.0 - 2.0 * expected)).abs() < 1e-9, "{l2} for {expected}");
            assert_eq!(private["same"].as_bool(), Some(expected >= self.threshold));
            let threshold = private["threshold"].as_f64().expect("the model's");
            assert!((threshold - self.threshold).abs() < 1e-6);
            assert_eq!([&private["a"], &private["b"]], names);
            let both = [a.clone(), b.clone()];
            assert!(deployment.output(Some(&pair), "faces", &both) == deployment.output(None, "faces", &both));
        }
    }
}

/// Embeddings by the library, the linear layers in plain on this machine.
fn embed(deployment: &Deployment, pictures: &[PathBuf]) -> Vec<Vec<f32>> {
    let folder = deployment.path("devices").join(DEVICE);
    let half = |pictures: &[PathBuf]| -> Vec<Vec<f32>> {
        let device = blocking::Device::open(Device::builder(&folder).mode(Mode::Local)).expect("all weights");
        let one = |picture: &PathBuf| {
            let inference = device.run(Image::path(picture).expect("a picture")).expect("an inference");
            inference.outputs[0].tensor.to_f32()
        };
        pictures.iter().map(one).collect()
    };
    let (first, second) = pictures.split_at(pictures.len() / 2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(first));
        let second = half(second);
        [first.join().expect("no panic"), second].concat()
    })
}

/// If this fails, FaceNet decides otherwise than in f32, or otherwise privately than in plain.
#[test]
fn facenet() {
    let Some(data) = data_or_skip("compare::facenet") else { return };
    let faces = Faces {
        onnx: "facenet_inception_resnet_v1.onnx",
        preprocess: "symmetric",
        images: "faces160",
        reference: "facenet.faces160.embeddings.npy",
        count: 20,
        threshold: 0.506,
        least: 0.9999,
        pairs: &[(0, 1), (0, 2), (7, 18)],
    };
    faces.check(&data);
}

/// If this fails, MobileFaceNet (depthwise layers on the device, written by PyTorch) decides otherwise than in f32, or
/// otherwise privately than in plain.
#[test]
fn mobilefacenet() {
    let Some(data) = data_or_skip("compare::mobilefacenet") else { return };
    let faces = Faces {
        onnx: "mobilefacenet.onnx",
        preprocess: "imagenet",
        images: "faces112",
        reference: "mobilefacenet.faces112.embeddings.npy",
        count: 88,
        threshold: 0.585,
        least: 0.999,
        pairs: &[(8, 9), (0, 8), (3, 4), (10, 87)],
    };
    faces.check(&data);
}

/// If this fails, a comparison uses another threshold than it says, or invents one.
#[test]
fn thresholds() {
    let deployment = Deployment::new();
    let onnx = save(&tiny(), &deployment.scratch("tiny.onnx"));
    deployment.add("with", &["--onnx", &onnx, "--threshold", "0.25"]);
    deployment.add("without", &["--onnx", &onnx]);
    let inputs = ["a", "b"].map(|label| deployment.tensor(label, &[1, 2, 4, 4]).to_str().expect("UTF-8").to_owned());
    let pair = deployment.edges("portable");
    let compare = |model: &str, a: &str, b: &str, more: &[&str]| {
        deployment.device(&pair, &[&["--model", model, "compare", a, b], more].concat())
    };
    let [a, b] = &inputs;
    let json = |model, more: &[&str]| compare(model, a, b, &[&["--json"], more].concat()).expect_ok().json().remove(0);
    assert_eq!(json("with", &[])["threshold"], 0.25);
    let cosine = json("with", &[])["cosine"].as_f64().expect("a number");
    assert!((-1.0..1.0).contains(&cosine));
    for (threshold, same) in [(cosine - 0.001, true), (cosine + 0.0009, false)] {
        let report = json("without", &["--threshold", &threshold.to_string()]);
        assert_eq!((report["same"].as_bool(), report["cosine"].as_f64()), (Some(same), Some(cosine)));
    }
    compare("without", a, b, &[]).expect_error(3, &["without", "--threshold", "add-model"]);
    compare("with", a, b, &["--threshold", "1.5"]).expect_error(2, &["1.5", "cosine"]);
    compare("with", a, "/nowhere.npy", &[]).expect_error(3, &["/nowhere.npy"]);
    let same = compare("with", a, a, &[]).expect_ok().stdout;
    assert!(same.starts_with("same: cosine 1.0000, L2 distance 0.0000"), "{same}");
    deployment
        .keygen("add-model", &["--name", "x", "--onnx", &onnx, "--threshold", "-3"])
        .expect_error(2, &["-3", "cosine"]);
}

/// If this fails, outputs that are no embeddings are compared as if they were.
#[test]
fn an_output_that_is_no_vector() {
    let deployment = Deployment::new();
    let mut n = Onnx::new(&[1, 2, 4, 4]);
    let map = n.conv("x", [2, 3], &[3, 3], 1, vec![ints("pads", &[1; 4])]);
    let file = save(&n.bytes(&map), &deployment.scratch("map.onnx"));
    deployment.add("map", &["--onnx", &file, "--threshold", "0.5"]);
    let input = deployment.tensor("map", &[1, 2, 4, 4]).to_str().expect("UTF-8").to_owned();
    let pair = deployment.edges("portable");
    let out = deployment.device(&pair, &["compare", &input, &input]);
    out.expect_error(3, &["[1, 3, 4, 4]", "no embedding", "--model"]);
}

/// If this fails, applications get other numbers from the library than the command gives.
#[test]
fn the_librarys_comparison() {
    let output = |data: &[f32]| Output { name: "y".into(), tensor: Tensor::new([1, 3], data.to_vec()).expect("fits") };
    let (a, b) = ([1.0, -2.0, 0.5], [0.25, 1.0, 3.0]);
    let found = Similarity::of(&output(&a), &output(&b)).expect("vectors");
    assert!((found.cosine - cosine(&a, &b)).abs() < 1e-15);
}
