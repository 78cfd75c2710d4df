//! Wrong inputs, hosts, versions and permissions: the exit code of the interface, words that help, and nothing lost.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use twinmask_model::bundle::short;
use twinmask_tests::{Deployment, Edge, Output, Pair, binaries, command, run};

const SHAPE: [u32; 4] = [1, 1, 28, 28];
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// A deployment whose edges run, and a good input.
struct Scene {
    deployment: Deployment,
    pair: Pair,
    input: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let deployment = Deployment::lenet();
        let pair = deployment.edges("portable");
        let input = deployment.tensor("input", &SHAPE);
        Scene { deployment, pair, input }
    }

    /// `device infer` of the good input with these addresses.
    fn infer_at(&self, a: &str, b: &str) -> Output {
        let mut command = self.deployment.device_command(a, b);
        run(command.args(["--timeout-s", "2", "infer"]).arg(&self.input), SOON)
    }

    /// `device infer` of another input.
    fn infer(&self, input: &Path) -> Output {
        let mut command = self.deployment.device_command(&self.pair.a.address, &self.pair.b.address);
        run(command.arg("infer").arg(input), SOON)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.deployment.scratch(name);
        std::fs::write(&path, content).expect("writes");
        path
    }

    /// The same edges still serve.
    fn check_alive(&self) {
        self.infer(&self.input).expect_ok();
    }
}

/// A .npy file of version 1.0.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
    header.resize((10 + header.len()).next_multiple_of(64) - 11, b' ');
    header.push(b'\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], &header, data].concat()
}

/// If this fails, a file that is no picture crashes the device or is classified as one.
#[test]
fn a_file_that_is_no_image() {
    let scene = Scene::new();
    let text = scene.file("text.png", b"this is a text, whatever its name says");
    scene.infer(&text).expect_error(3, &["text.png", "PNG"]);
    let mut png = std::fs::read(binaries::workspace().join("device/assets/demo.png")).expect("the demo picture");
    scene.infer(&scene.file("cut.png", &png[..png.len() / 2])).expect_error(3, &["cut.png"]);
    png[20] = 0xff; // the width
    scene.infer(&scene.file("huge.png", &png)).expect_error(3, &["huge.png"]);
    scene.infer(&scene.file("empty.png", b"")).expect_error(3, &["empty.png"]);
    scene.infer(&scene.deployment.scratch("missing.png")).expect_error(3, &["missing.png"]);
    scene.check_alive();
}

/// If this fails, an array of other numbers is read as if it were float32.
#[test]
fn an_array_of_the_wrong_type() {
    let scene = Scene::new();
    let shape = "(1, 1, 28, 28)";
    let double = scene.file("double.npy", &npy("<f8", shape, &[0; 8 * 784]));
    scene.infer(&double).expect_error(3, &["double.npy", "float64", "<f4"]);
    let bytes = scene.file("bytes.npy", &npy("|u1", shape, &[0; 784]));
    scene.infer(&bytes).expect_error(3, &["bytes.npy", "uint8"]);
    let nan = [f32::NAN.to_le_bytes(); 784].concat();
    scene.infer(&scene.file("nan.npy", &npy("<f4", shape, &nan))).expect_error(3, &["nan.npy", "NaN"]);
    scene.infer(&scene.file("zeros.npy", &npy("<f4", shape, &[0; 4 * 784]))).expect_ok();
}

/// If this fails, an array of another shape is read as if it fitted.
#[test]
fn an_array_of_the_wrong_shape() {
    let scene = Scene::new();
    let wrong = scene.file("wrong.npy", &npy("<f4", "(1, 3, 28, 28)", &[0; 4 * 3 * 784]));
    scene.infer(&wrong).expect_error(3, &["wrong.npy", "[1, 3, 28, 28]", "[1, 1, 28, 28]"]);
    let cut = scene.file("cut.npy", &npy("<f4", "(1, 1, 28, 28)", &[0; 4 * 700]));
    scene.infer(&cut).expect_error(3, &["cut.npy"]);
    scene.check_alive();
}

/// If this fails, a person cannot tell which host is down.
#[test]
fn an_edge_that_does_not_run() {
    let scene = Scene::new();
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").to_string();
    let before = scene.deployment.snapshot();
    scene.infer_at(&free, &scene.pair.b.address).expect_error(4, &["edge-a", &free]);
    scene.infer_at(&scene.pair.a.address, &free).expect_error(4, &["edge-b", &free]);
    scene.infer_at("no-such-host.invalid:7401", &scene.pair.b.address).expect_error(4, &["no-such-host.invalid"]);
    assert!(scene.deployment.snapshot() == before);
    scene.check_alive();
}

/// If this fails, a device talks to somebody else's edges.
#[test]
fn edges_of_another_owner() {
    let (scene, other) = (Scene::new(), Scene::new());
    let out = other.infer_at(&scene.pair.a.address, &scene.pair.b.address);
    out.expect_error(5, &["edge-", "not issued by", "deployment"]);
    for edge in [&scene.pair.a, &scene.pair.b] {
        assert_eq!(edge.metric("twinmask_sessions_total"), 0.0);
    }
    scene.check_alive();
    other.check_alive();
}

/// If this fails, edge B may get a mask seed, which would show it everything.
#[test]
fn swapped_edges() {
    let scene = Scene::new();
    scene.infer_at(&scene.pair.b.address, &scene.pair.a.address).expect_error(5, &["edge-", "swapped"]);
    scene.check_alive();
}

/// If this fails, one host is both edges, and sees everything.
#[test]
fn one_edge_on_both_ends() {
    let scene = Scene::new();
    let (a, b) = (&scene.pair.a.address, &scene.pair.b.address);
    scene.infer_at(a, a).expect_error(5, &["edge-b"]);
    scene.infer_at(b, b).expect_error(5, &["edge-a"]);
    scene.check_alive();
    // Nor does one identity serve both programs.
    let mut command = Edge::command("edge-b", &scene.deployment.path("edge-a"));
    let out = Edge::try_start(&mut command).err().expect("the edge must not start");
    out.expect_error(3, &["edge-a", "edge-b"]);
}

/// If this fails, a device that is newer than an edge gets wrong results or no explanation.
#[test]
fn a_model_version_that_the_edge_does_not_hold() {
    let scene = Scene::new();
    let old = short(&scene.deployment.bundle("lenet").model.digest);
    scene.deployment.add("lenet", &["--zoo", "lenet", "--seed", "2"]);
    let new = short(&scene.deployment.bundle("lenet").model.digest);
    assert_ne!(old, new);
    scene.infer(&scene.input).expect_error(5, &["edge-", &new, "add-device"]);
    // One SIGHUP later it is there, without a restart.
    for edge in [&scene.pair.a, &scene.pair.b] {
        edge.signal(Signal::HUP);
        edge.await_log("models loaded anew");
    }
    scene.check_alive();
}

/// If this fails, keys lie open for others on the same host.
#[test]
fn loose_permissions() {
    let scene = Scene::new();
    let deployment = &scene.deployment;
    let before = deployment.snapshot();
    let loosened = |below: &str, mode: u32, wanted: &str, attempt: &dyn Fn() -> Output| {
        let path = deployment.path(below);
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("own file");
        let good = std::fs::metadata(&path).expect("there").permissions().mode();
        set(mode);
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name").to_owned();
        attempt().expect_error(3, &[&name, "chmod", wanted]);
        set(good);
    };
    let device = || scene.infer(&scene.input);
    loosened("devices/cam/identity/key.pem", 0o644, "600", &device);
    loosened("devices/cam/identity", 0o755, "700", &device);
    loosened("devices/cam/models/lenet.twm", 0o640, "600", &device);
    loosened("devices/cam", 0o750, "700", &device);
    for name in ["edge-a", "edge-b"] {
        let edge = || Edge::try_start(&mut Edge::command(name, &deployment.path(name))).err().expect("must not start");
        loosened(&format!("{name}/identity/key.pem"), 0o604, "600", &edge);
        loosened(&format!("{name}/identity"), 0o711, "700", &edge);
    }
    let owner = || deployment.keygen("add-device", &["--name", "other", "--model", "lenet"]);
    loosened("owner/sign.key", 0o644, "600", &owner);
    loosened("owner", 0o755, "700", &owner);
    let key = std::fs::read_dir(deployment.path("owner")).expect("the owner's folder").flatten();
    let key = key.map(|e| e.file_name().into_string().expect("UTF-8")).find(|n| n.contains("ca") && n.contains("key"));
    loosened(&format!("owner/{}", key.expect("the CA's key")), 0o644, "600", &owner);
    assert!(deployment.snapshot() == before, "a refusal has changed files");
    scene.check_alive();
}

/// If this fails, a slip of the keyboard looks like something worse.
#[test]
fn usage() {
    let device = |arguments: &[&str]| run(command(binaries::path("device")).args(arguments), SOON);
    device(&[]).expect_code(2);
    device(&["infer"]).expect_error(2, &["INPUTS"]);
    device(&["--codec", "gzip", "infer", "x.png"]).expect_error(2, &["gzip"]);
    device(&["infer", "x.png"]).expect_error(3, &["--edge-a"]);
    device(&["--help"]).expect_ok();
    run(command(binaries::path("owner-keygen")).arg("add-model"), SOON).expect_code(2);
    run(command(binaries::path("edge-a")).args(["--threads", "0"]), SOON).expect_code(2);
    run(&mut command(binaries::path("edge-a")), SOON).expect_error(3, &["--dir"]);
}
