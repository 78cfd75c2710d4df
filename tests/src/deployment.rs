//! A deployment in a temporary folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use twinmask_device::engine::DeviceDir;
use twinmask_device::npy;
use twinmask_model::bundle::DeviceBundle;
use twinmask_testkit::numbers;
use twinmask_transport::Identity;

use crate::process::{Output, Running, command, run};
use crate::{Edge, binaries, until};

/// Name of the device that [`Deployment::add`] issues models to.
pub const DEVICE: &str = "cam";
/// Time that any command gets.
const DEADLINE: Duration = Duration::from_secs(120);

/// Two running edges.
pub struct Pair {
    /// Edge A.
    pub a: Edge,
    /// Edge B.
    pub b: Edge,
}

/// What `device infer` left.
pub struct Inferred {
    /// Its lines of JSON, one for each input.
    pub reports: Vec<Value>,
    /// The .npy file of outputs.
    pub saved: Vec<u8>,
}

impl Inferred {
    /// UDP payload bytes of all inferences: up and down of `edge_a` or `edge_b`.
    ///
    /// # Panics
    /// If a report has none.
    #[must_use]
    pub fn bytes(&self, edge: &str) -> (u64, u64) {
        let sum = |way: &str| self.reports.iter().map(|r| r["bytes"][edge][way].as_u64().expect("bytes")).sum();
        (sum("up"), sum("down"))
    }
}

/// What the owner has made, and all that runs from it.
pub struct Deployment {
    root: TempDir,
}

impl Default for Deployment {
    fn default() -> Self {
        Self::new()
    }
}

impl Deployment {
    /// A new deployment without models.
    ///
    /// # Panics
    /// If `owner-keygen init` fails.
    #[must_use]
    pub fn new() -> Deployment {
        let root = tempfile::tempdir().expect("temporary folder");
        let deployment = Deployment { root };
        deployment.keygen("init", &[]).expect_ok();
        deployment
    }

    /// A deployment with the zoo's LeNet in `balanced`.
    #[must_use]
    pub fn lenet() -> Deployment {
        let deployment = Self::new();
        deployment.add("lenet", &["--zoo", "lenet"]);
        deployment
    }

    /// A path below the folder that `owner-keygen` works in.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join("deployment").join(below)
    }

    /// A path for a file of the test's own, outside of the deployment.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs `owner-keygen VERB DIR ARGS`.
    pub fn keygen(&self, verb: &str, args: &[&str]) -> Output {
        let mut command = command(binaries::path("owner-keygen"));
        run(command.arg(verb).arg(self.path("")).args(args), DEADLINE)
    }

    /// Adds the model `name` from `source` (arguments of `add-model`) and issues it, all weights, to the device.
    ///
    /// # Panics
    /// If that fails.
    pub fn add(&self, name: &str, source: &[&str]) {
        self.keygen("add-model", &[&["--name", name], source].concat()).expect_ok();
        self.issue(DEVICE, name, &["--weights"]);
    }

    /// Issues the model `name` to `device`.
    ///
    /// # Panics
    /// If that fails.
    pub fn issue(&self, device: &str, name: &str, args: &[&str]) {
        self.keygen("add-device", &[&["--name", device, "--model", name], args].concat()).expect_ok();
    }

    /// Starts `edge-a` or `edge-b`.
    #[must_use]
    pub fn edge(&self, name: &str, args: &[&str]) -> Edge {
        Edge::start(Edge::command(name, &self.path(name)).args(args))
    }

    /// Starts both edges with `kernel`.
    #[must_use]
    pub fn edges(&self, kernel: &str) -> Pair {
        let args = ["--kernel", kernel];
        Pair { a: self.edge("edge-a", &args), b: self.edge("edge-b", &args) }
    }

    /// The device command with the folder of [`DEVICE`] and the addresses of both edges.
    #[must_use]
    pub fn device_command(&self, a: &str, b: &str) -> Command {
        let mut command = command(binaries::path("device"));
        command.arg("--dir").arg(self.path("devices").join(DEVICE)).args(["--edge-a", a, "--edge-b", b]);
        command
    }

    /// Runs the device against `pair`.
    pub fn device(&self, pair: &Pair, args: &[&str]) -> Output {
        run(self.device_command(&pair.a.address, &pair.b.address).args(args), DEADLINE)
    }

    /// Starts the device against `pair`.
    #[must_use]
    pub fn start_device(&self, pair: &Pair, args: &[&str]) -> Running {
        Running::start(self.device_command(&pair.a.address, &pair.b.address).args(args))
    }

    /// Starts edge B, and edge A connected to it for mode `relay`, both with `kernel`.
    #[must_use]
    pub fn relay_edges(&self, kernel: &str) -> Pair {
        let b = self.edge("edge-b", &["--kernel", kernel]);
        let a = self.edge("edge-a", &["--kernel", kernel, "--peer", &b.address]);
        until("the edges connected", || a.metric("twinmask_peer_connected") == 1.0);
        Pair { a, b }
    }

    /// The bytes that `device infer --save-output` writes for `inputs` and `model`, privately or with `--local`.
    ///
    /// # Panics
    /// If the inference fails.
    pub fn output(&self, pair: Option<&Pair>, model: &str, inputs: &[PathBuf]) -> Vec<u8> {
        self.infer(pair, model, inputs, &[]).saved
    }

    /// Runs `device infer` for `inputs` and `model` with `args`, privately or with `--local`.
    ///
    /// # Panics
    /// If the inference fails.
    pub fn infer(&self, pair: Option<&Pair>, model: &str, inputs: &[PathBuf], args: &[&str]) -> Inferred {
        let mode = if pair.is_some() { "private" } else { "local" };
        let file = self.scratch(&format!("{model}.{mode}.npy"));
        let (a, b) = pair.map_or(("127.0.0.1:9", "127.0.0.1:9"), |p| (p.a.address.as_str(), p.b.address.as_str()));
        let mut command = self.device_command(a, b);
        command.args(["--model", model]).args(args).args(["infer", "--json", "--save-output"]).arg(&file).args(inputs);
        if pair.is_none() {
            command.arg("--local");
        }
        let reports = run(&mut command, DEADLINE).expect_ok().json();
        let saved = std::fs::read(&file).expect("the output was written");
        std::fs::remove_file(&file).expect("the output is a file");
        Inferred { reports, saved }
    }

    /// Checks that the private results on `inputs` are the bytes that `--local` gives, with edges of every kernel.
    ///
    /// # Panics
    /// If they are not.
    #[track_caller]
    pub fn check_private_equals_local(&self, models: &[String], inputs: &[PathBuf]) {
        let local: Vec<Vec<u8>> = models.iter().map(|m| self.output(None, m, inputs)).collect();
        for (model, bytes) in models.iter().zip(&local) {
            let elements = crate::data::parse_npy(bytes).1;
            assert!(
                elements.iter().any(|v| *v != elements[0]),
                "{model}: the output is constant, so it proves nothing"
            );
        }
        for kernel in crate::kernels() {
            let pair = self.edges(kernel);
            assert_eq!([&pair.a, &pair.b].map(|e| e.ready_field("kernel")), [kernel; 2]);
            for (model, expected) in models.iter().zip(&local) {
                let private = self.output(Some(&pair), model, inputs);
                assert!(private == *expected, "{model}, kernel {kernel}: private and local results differ");
            }
        }
    }

    /// A seeded input tensor of `shape` as a file.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn tensor(&self, label: &str, shape: &[u32]) -> PathBuf {
        let data = numbers(label, shape.iter().product::<u32>() as usize);
        let path = self.scratch(&format!("{label}.npy"));
        npy::write(&path, shape, &data).expect("writes");
        path
    }

    /// The device's bundle.
    ///
    /// # Panics
    /// If it cannot be loaded.
    #[must_use]
    pub fn bundle(&self, model: &str) -> DeviceBundle {
        self.device_dir().load(Some(model)).expect("the device's bundle")
    }

    /// The device's identity.
    ///
    /// # Panics
    /// If it cannot be loaded.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.device_dir().identity().expect("the device's identity")
    }

    fn device_dir(&self) -> DeviceDir {
        DeviceDir::open(&self.path("devices").join(DEVICE)).expect("the device's folder")
    }

    /// Every file of the deployment with its content, to see that nothing was lost.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(""), &mut files);
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        // What a host notes down itself is no file of the deployment.
        let noted = path.file_name().is_some_and(|name| name == "crl.seen" || name == "versions-seen");
        if path.is_dir() {
            collect(&path, files);
        } else if !noted {
            let content = std::fs::read(&path).expect("a file");
            files.insert(path, content);
        }
    }
}
