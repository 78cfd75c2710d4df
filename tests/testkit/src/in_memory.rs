//! A deployment whose two edges run in this process, connected in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use twinmask_edge::{Config, Daemon, Edge, Limits};
use twinmask_kernels::{Kernel, default_kernel};
use twinmask_owner_keygen::devices::{DeviceRequest, SAMPLE_ROWS, add_device};
use twinmask_owner_keygen::identities::{revoke_identity, rotate_identity};
use twinmask_owner_keygen::import::ImportRequest;
use twinmask_owner_keygen::models::{ModelRequest, Source, add_model};
use twinmask_owner_keygen::store::Store;
use twinmask_owner_keygen::zoo::Arch;
use twinmask_transport::{Connection, Identity, Role, memory_pair, memory_pair_as};

/// Name of the one device.
const DEVICE: &str = "cam1";
/// Name of the one model.
const MODEL: &str = "model";

/// An owner's deployment of one model to one device, with both edges in this process.
pub struct InMemory {
    root: TempDir,
    a: Arc<Edge>,
    b: Arc<Edge>,
}

impl InMemory {
    /// LeNet (1x28x28 grey pictures, ten classes) with seeded random weights.
    #[must_use]
    pub fn lenet() -> Self {
        Self::zoo(Arch::LeNet)
    }

    /// A network of the zoo with seeded random weights.
    #[must_use]
    pub fn zoo(arch: Arch) -> Self {
        Self::issue(Source::Zoo(arch, 1), &[])
    }

    /// The ONNX network of these bytes.
    ///
    /// # Panics
    /// If it does not import.
    #[must_use]
    pub fn onnx(bytes: &[u8], labels: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("network.onnx");
        std::fs::write(&path, bytes).expect("writes");
        Self::issue(Source::Onnx(path), labels)
    }

    fn issue(source: Source, labels: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut store = Store::init(&root.path().join("deployment")).expect("a new deployment");
        let request = ModelRequest {
            name: MODEL.into(),
            source,
            import: ImportRequest::default(),
            preprocess: None,
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
            threshold: Some(0.5),
        };
        add_model(&mut store, request).expect("the model imports");
        let device =
            DeviceRequest { name: DEVICE.into(), model: MODEL.into(), all_weights: true, sample_rows: SAMPLE_ROWS };
        add_device(&mut store, &device).expect("the device is issued");
        let edge = |name: &str, role| load(&store.edge_dir(name), role, default_kernel());
        let (a, b) = (edge("edge-a", twinmask_edge::Role::A), edge("edge-b", twinmask_edge::Role::B));
        Self { root, a, b }
    }

    /// The device's folder.
    #[must_use]
    pub fn device_dir(&self) -> PathBuf {
        self.root.path().join("deployment/devices").join(DEVICE)
    }

    /// An edge of its own from the folder of the one of this role, with these limits and one compute thread.
    ///
    /// # Panics
    /// If the folder is no good.
    #[must_use]
    pub fn edge(&self, role: twinmask_edge::Role, limits: Limits) -> Arc<Edge> {
        let name = if role == twinmask_edge::Role::A { "edge-a" } else { "edge-b" };
        let config = Config { threads: 1, limits, ..Config::new(self.root.path().join("deployment").join(name), role) };
        Edge::load(&config, role, default_kernel()).expect("the edge's folder")
    }

    /// The same two edges as daemons, over QUIC on loopback.
    ///
    /// # Panics
    /// If they do not start.
    pub async fn daemons(&self) -> (Daemon, Daemon) {
        let start = async |name: &str, role| {
            let config = Config::new(self.deployment().edge_dir(name), role).on_loopback();
            Daemon::start(config, role, default_kernel()).await.expect("the edge starts")
        };
        (start("edge-a", twinmask_edge::Role::A).await, start("edge-b", twinmask_edge::Role::B).await)
    }

    /// Has the owner revoke the certificates of `role` so far; all folders get the list.
    ///
    /// # Panics
    /// If it never had one.
    pub fn revoke(&self, role: &Role) {
        revoke_identity(&mut self.deployment(), role).expect("a role that is known");
    }

    /// The same, and a new certificate for it.
    ///
    /// # Panics
    /// If it never had one.
    pub fn replace(&self, role: &Role) {
        rotate_identity(&mut self.deployment(), role, true).expect("a role that is known");
    }

    fn deployment(&self) -> Store {
        Store::open(&self.root.path().join("deployment")).expect("the deployment")
    }

    /// Gives new connections to the two edges; must be called within a tokio runtime.
    pub fn dial(&self) -> impl Fn(Role) -> Connection + Send + Sync + 'static {
        let (a, b) = (Arc::clone(&self.a), Arc::clone(&self.b));
        let identity = Identity::load(&self.device_dir().join("identity")).expect("the device's identity");
        move |role| {
            let edge = if role == Role::EdgeA { &a } else { &b };
            let (ours, theirs) = memory_pair_as(&identity, role);
            tokio::spawn(Arc::clone(edge).serve(theirs));
            ours
        }
    }

    /// Connects edge A to edge B over what `lay` makes of a connection to B, for mode `relay`; must be called within a
    /// tokio runtime.
    ///
    /// # Panics
    /// If that takes 20 s.
    pub async fn link(&self, lay: impl FnOnce(Connection) -> Connection) {
        let (at_a, at_b) = memory_pair(Role::EdgeA, Role::EdgeB);
        let (a, connection) = (Arc::clone(&self.a), lay(at_a));
        tokio::spawn(Arc::clone(&self.b).serve(at_b));
        tokio::spawn(async move { a.connected(&connection).await });
        let connected = |line: &str| line.starts_with("twinmask_peer_connected") && line.ends_with(" 1");
        let linked = async {
            while !self.a.metrics().lines().any(connected) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), linked).await.expect("edge A takes the connection");
    }
}

fn load(dir: &Path, role: twinmask_edge::Role, kernel: Arc<dyn Kernel>) -> Arc<Edge> {
    let mut config = Config::new(dir, role);
    // On a busy machine, too, a round in mode `relay` is answered by edge B alone.
    config.limits.relay_grace = Duration::from_secs(20);
    Edge::load(&config, role, kernel).expect("the edge's folder")
}
