//! A deployment whose two edges run in this process, connected in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use twinmask_edge::{Config, Edge};
use twinmask_kernels::{Kernel, default_kernel};
use twinmask_owner_keygen::devices::{DeviceRequest, SAMPLE_ROWS, add_device};
use twinmask_owner_keygen::import::ImportRequest;
use twinmask_owner_keygen::models::{ModelRequest, Source, add_model};
use twinmask_owner_keygen::store::Store;
use twinmask_owner_keygen::zoo::Arch;
use twinmask_transport::{Connection, Role, memory_pair};

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

    /// Gives new connections to the two edges; must be called within a tokio runtime.
    pub fn dial(&self) -> impl Fn(Role) -> Connection + Send + Sync + 'static {
        let (a, b) = (Arc::clone(&self.a), Arc::clone(&self.b));
        move |role| {
            let edge = if role == Role::EdgeA { &a } else { &b };
            let (ours, theirs) = memory_pair(Role::device(DEVICE).expect("a good name"), role);
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
