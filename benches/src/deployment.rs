//! Deployments in temporary folders, and edges as processes, through the programs that are shipped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::folders::workspace;

/// Seed of all networks of the zoo that are measured.
pub const SEED: u64 = 1;

/// The program `name` of this build: beside this one, or in the workspace's release build for programs of another
/// workspace.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own path")?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = beside.chain([workspace().join("target/release").join(name)]).find(|path| path.is_file());
    found.ok_or_else(|| anyhow!("{name} is not beside {}: run `make build`", own.display()))
}

/// What the owner has made, in a temporary folder.
pub struct Deployment {
    root: TempDir,
}

impl Deployment {
    /// A deployment without models.
    ///
    /// # Errors
    /// When `owner-keygen init` fails.
    pub fn new() -> Result<Self> {
        let deployment = Self { root: tempfile::Builder::new().prefix("twinmask-bench-").tempdir()? };
        deployment.keygen("init", &[])?;
        Ok(deployment)
    }

    /// A path below the deployment's folder.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join("deployment").join(below)
    }

    /// Runs `owner-keygen VERB DIR ARGS`.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn keygen(&self, verb: &str, args: &[&str]) -> Result<()> {
        let mut command = Command::new(program("owner-keygen")?);
        let out = command.arg(verb).arg(self.path("")).args(args).output().context("owner-keygen")?;
        if !out.status.success() {
            bail!("owner-keygen {verb} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(())
    }

    /// Adds the network of the file `onnx` as `model` in the rings `ring`, and issues it, all weights, to `device`.
    ///
    /// # Errors
    /// When that fails.
    pub fn add(&self, model: &str, onnx: &Path, ring: &str, device: &str) -> Result<()> {
        let onnx = onnx.to_string_lossy();
        self.keygen("add-model", &["--name", model, "--onnx", &onnx, "--ring", ring])?;
        self.issue(model, device)
    }

    /// Issues `model`, all weights, to `device`.
    ///
    /// # Errors
    /// When that fails.
    pub fn issue(&self, model: &str, device: &str) -> Result<()> {
        self.keygen("add-device", &["--name", device, "--model", model, "--weights"])
    }

    /// The folder of `device`.
    #[must_use]
    pub fn device(&self, device: &str) -> PathBuf {
        self.path("devices").join(device)
    }

    /// Starts edge B, and edge A connected to it if `relay`, on free ports of loopback, both with `args`.
    ///
    /// # Errors
    /// When one does not get ready.
    pub fn edges(&self, relay: bool, args: &[&str]) -> Result<Pair> {
        self.edges_of(relay, args, |_| Ok(Stdio::inherit()))
    }

    /// The same; what the edge of a name logs goes to `log` of it.
    ///
    /// # Errors
    /// When one does not get ready, and those of `log`.
    pub fn edges_of(&self, relay: bool, args: &[&str], log: impl Fn(&str) -> Result<Stdio>) -> Result<Pair> {
        let start = |name: &str, peer: Option<&str>| {
            let mut command = Command::new(program(name)?);
            command.stderr(log(name)?);
            command.arg("--dir").arg(self.path(name)).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            command.args(peer.iter().flat_map(|p| ["--peer", p])).args(args);
            Edge::start(&mut command)
        };
        let b = start("edge-b", None)?;
        let a = start("edge-a", relay.then_some(b.address.as_str()))?;
        Ok(Pair { a, b })
    }
}

/// Two running edges.
pub struct Pair {
    /// Edge A.
    pub a: Edge,
    /// Edge B.
    pub b: Edge,
}

impl Pair {
    /// CPU time of both so far, in ms.
    ///
    /// # Errors
    /// When one of them has ended.
    pub fn cpu_ms(&self) -> Result<f64> {
        Ok(cpu_ms(self.a.id())? + cpu_ms(self.b.id())?)
    }

    /// The device's arguments that name them.
    #[must_use]
    pub fn arguments(&self) -> [&str; 4] {
        ["--edge-a", &self.a.address, "--edge-b", &self.b.address]
    }
}

/// A running edge, or any program that prints `listening on ADDR` when it is ready. Ended when dropped.
pub struct Edge {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Edge {
    /// Starts `command` and waits until it is ready; what it logs goes nowhere below warnings.
    ///
    /// # Errors
    /// When it ends before.
    pub fn start(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        command.env("TWINMASK_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| what.clone())?;
        let stdout = child.stdout.take().ok_or_else(|| anyhow!("{what}: no standard output"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).with_context(|| what.clone())?;
        match line.trim_end().strip_prefix("listening on ") {
            Some(address) => Ok(Self { child, address: address.to_owned() }),
            None => {
                let _ = child.kill();
                bail!("{what} did not get ready: {}", child.wait()?)
            }
        }
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of all threads of the process `pid` so far, in ms, to the nanosecond; threads that have ended count no
/// more: edges keep theirs.
///
/// # Errors
/// When there is no such process.
pub fn cpu_ms(pid: u32) -> Result<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))?;
    let mut ns = 0.0;
    for task in tasks.flatten() {
        let schedstat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        ns += schedstat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(ns / 1e6)
}
