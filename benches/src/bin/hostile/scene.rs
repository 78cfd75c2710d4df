//! A deployment, its edges, and devices of it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use twinmask_benches::deployment::{Deployment, Pair};
use twinmask_device::engine::{DeviceDir, Outcome, Session, SessionOptions, infer};
use twinmask_device::{Edges, Model};
use twinmask_transport::{Identity, TransportLimits};

/// Name of the network that is measured, and of the device that holds it.
const NETWORK: &str = "net";
/// Devices beside that one, which have identities of their own and use its keys: edges cannot tell.
pub(crate) const IDENTITIES: usize = 20;

/// Name of device `i`.
pub(crate) fn device(i: usize) -> String {
    format!("cam{i}")
}

/// What the owner has made.
pub(crate) struct Scene {
    deployment: Deployment,
    pub(crate) model: Arc<Model>,
    /// Of different devices.
    pub(crate) identities: Vec<Identity>,
}

impl Scene {
    /// With `network` of the zoo.
    pub(crate) fn new(network: &str) -> Result<Self> {
        let deployment = Deployment::new()?;
        deployment.keygen("add-model", &["--name", NETWORK, "--zoo", network])?;
        deployment.keygen("add-device", &["--name", NETWORK, "--model", NETWORK])?;
        for i in 0..IDENTITIES {
            deployment.keygen("add-device", &["--name", &device(i), "--model", NETWORK])?;
        }
        let bundle = DeviceDir::open(&deployment.device(NETWORK))?.load(Some(NETWORK))?;
        let model = Arc::new(Model::new(bundle, "none".parse()?)?);
        let identity = |i| Identity::load(&deployment.device(&device(i)).join("identity"));
        let identities = (0..IDENTITIES).map(identity).collect::<Result<_, _>>()?;
        Ok(Self { deployment, model, identities })
    }

    /// Both edges, connected, with `args`.
    pub(crate) fn edges(&self, args: &[&str]) -> Result<Pair> {
        let log = |name: &str| Ok(File::create(self.log(name))?.into());
        self.deployment.edges_of(true, args, log)
    }

    /// Where the edge `name` that was started last logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.deployment.path(&format!("{name}.log"))
    }

    /// The folder of a device.
    pub(crate) fn folder(&self, device: &str) -> PathBuf {
        self.deployment.device(device)
    }

    /// A session of device `i` in mode `relay`.
    pub(crate) async fn session(&self, pair: &Pair, i: usize) -> Result<Session> {
        let edges = Edges {
            a: pair.a.address.clone(),
            b: pair.b.address.clone(),
            limits: TransportLimits { socket_buffer: 256 * 1024, ..TransportLimits::lan() },
            options: SessionOptions { relay: true, ..SessionOptions::default() },
        };
        Ok(Session::open(Arc::clone(&self.model), &self.identities[i % IDENTITIES], &edges).await?)
    }

    /// One inference; how many rounds fell back.
    pub(crate) async fn infer(&self, session: &Session) -> Result<u32> {
        let mut remote = session.begin().await?;
        let mut values = self.model.values();
        let shape = &self.model.inputs().tensors[0].shape;
        let input = twinmask_benches::input(shape.iter().map(|&d| d as usize).product());
        let _: Outcome = infer(&self.model, &mut values, &[input], &mut remote).await?;
        let fallbacks = remote.fallbacks();
        remote.finish().await?;
        Ok(fallbacks)
    }
}

/// Resident memory of the process `pid`, in bytes.
pub(crate) fn resident(pid: u32) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(1024 * kib)
}
