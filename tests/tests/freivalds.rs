//! The Freivalds check over real QUIC: one wrong element is always found, an honest edge is never accused.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use twinmask_device::{Device, Tensor};
use twinmask_edge::{Config, Daemon, Role};
use twinmask_kernels::default_kernel;
use twinmask_masking::Integrity;
use twinmask_ring::prf::Key;
use twinmask_testkit::{Hook, Layer, wrapped};
use twinmask_tests::data::data_or_skip;
use twinmask_tests::networks::{mixed, save};
use twinmask_tests::{DEVICE, Deployment};

/// What the next computation of one layer does wrong, once.
#[derive(Clone, Copy)]
struct Flip {
    layer: usize,
    element: usize,
    bit: u32,
}

/// Flips one bit of one element when it is told to.
#[derive(Default)]
struct Flipper {
    next: Mutex<Option<Flip>>,
    done: AtomicU64,
}

impl Hook for Flipper {
    fn after(&self, layer: &Layer, _: Range<usize>, y: &mut [u32]) {
        let mut next = self.next.lock().expect("no panic");
        if let Some(flip) = next.take_if(|flip| flip.layer == layer.index) {
            let element = flip.element % y.len();
            y[element] ^= 1 << (flip.bit % layer.k);
            self.done.fetch_add(1, Relaxed);
        }
    }
}

/// If this fails, an edge B can change a single number of an inference and get away with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_single_errors_over_the_wire_are_all_found() {
    let deployment = Deployment::new();
    let file = save(&mixed(), &deployment.scratch("mixed.onnx"));
    deployment.add("mixed", &["--onnx", &file]);
    let config = |name, role| Config::new(deployment.path(name), role).on_loopback();
    let flipper = Arc::new(Flipper::default());
    let kernel = wrapped(default_kernel(), Arc::clone(&flipper));
    let a = Daemon::start(config("edge-a", Role::A), Role::A, default_kernel()).await.expect("edge A starts");
    let b = Daemon::start(config("edge-b", Role::B), Role::B, kernel).await.expect("edge B starts");

    let integrity = Integrity { samples: 0, freivalds: true };
    let folder = deployment.path(&format!("devices/{DEVICE}"));
    let edges = Device::builder(folder).edges(a.addr().to_string(), b.addr().to_string());
    let device = edges.integrity(integrity).open().await.expect("a session");
    let layers = device.model().plan().layers().len();
    let shape = device.inputs().tensors[0].shape.clone();
    let input: Vec<f32> = (0..shape.iter().product::<u32>()).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    let input = Tensor::new(shape, input).expect("fits");
    let honest = device.run(input.clone()).await.expect("honest").outputs;

    let mut random = Key::derive("test", &[b"flips"]).stream(0);
    for trial in 0..200u64 {
        let word = random.next_u64();
        let flip = Flip {
            layer: (word % layers as u64) as usize,
            element: (word >> 16) as usize & 0xff_ffff,
            bit: (word >> 50) as u32,
        };
        *flipper.next.lock().expect("no panic") = Some(flip);
        let error = device.run(input.clone()).await.expect_err("one element is wrong");
        assert!(error.to_string().contains("Freivalds"), "trial {trial}: {error}");
        assert_eq!(error.exit_code(), 6);
        assert_eq!(flipper.done.load(Relaxed), trial + 1, "the error was really made");
    }
    // The edge is as honest as before, and so is the result.
    assert_eq!(device.run(input).await.expect("honest").outputs, honest);
    device.close().await;
    a.shutdown().await;
    b.shutdown().await;
}

/// If this fails, honest edges are accused: 10,000 layers and more, over all networks that are there.
#[test]
fn honest_edges_are_never_accused() {
    let deployment = Deployment::new();
    let mut runs = vec![("lenet".to_owned(), 100), ("facenet-irv1".to_owned(), 75)];
    for (name, _) in &runs {
        deployment.add(name, &["--zoo", name]);
    }
    if let Some(data) = data_or_skip("freivalds::honest_edges_are_never_accused (trained networks)") {
        for (name, n) in [("squeezenet1.1", 10), ("resnet20_cifar10", 30), ("lenet_mnist", 100), ("mobilefacenet", 10)]
        {
            let file = data.join("models").join(format!("{name}.onnx"));
            deployment.add(name, &["--onnx", file.to_str().expect("UTF-8")]);
            runs.push((name.to_owned(), n));
        }
    }
    let pair = deployment.edges("auto");
    let mut checked = 0;
    for (name, n) in runs {
        let runs = n.to_string();
        let arguments = ["--model", &name, "--integrity", "freivalds", "bench", "--runs", &runs, "--json"];
        let report = deployment.device(&pair, &arguments);
        let report = &report.expect_ok().json()[0];
        assert_eq!(report["integrity"], "freivalds");
        assert_eq!(report["runs"], n);
        checked += report["layers"].as_array().expect("layers").len() * n;
    }
    assert!(checked > 10_000, "{checked} layers");
}
