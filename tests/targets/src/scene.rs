//! One owner's deployment of a small network, made once for all targets and inputs.

use std::path::PathBuf;
use std::sync::OnceLock;

use ring::signature::{Ed25519KeyPair, KeyPair};
use tempfile::TempDir;
use twinmask_device::Role;
use twinmask_device::engine::DeviceDir;
use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle};
use twinmask_model::plan::Plan;
use twinmask_owner_keygen::devices::{DeviceRequest, SAMPLE_ROWS, add_device};
use twinmask_owner_keygen::import::ImportRequest;
use twinmask_owner_keygen::models::{ModelRequest, Source, add_model};
use twinmask_owner_keygen::pki::{IssuedIdentity, Validity};
use twinmask_owner_keygen::store::Store;

/// Sibling layers, several rounds, sums of branches; 3x9x9 pictures.
const NETWORK: &str = "net_inception_block";
pub(crate) const MODEL: &str = "small";
/// Name of the one device.
pub(crate) const DEVICE: &str = "cam1";

/// What the owner has made.
pub(crate) struct Scene {
    root: TempDir,
    /// What bundles are signed with.
    pub(crate) owner: Ed25519KeyPair,
    pub(crate) edge: EdgeBundle,
    pub(crate) digest: [u8; 32],
    pub(crate) device: DeviceBundle,
    pub(crate) model: DeviceModel,
    pub(crate) identity: IssuedIdentity,
    /// A list of the CA's with another identity on it, PEM.
    pub(crate) revocations: String,
}

impl Scene {
    fn new() -> Scene {
        let root = tempfile::tempdir().expect("temporary folder");
        let mut store = Store::init(&root.path().join("deployment")).expect("a new deployment");
        let (_, file) = crate::files::NETWORKS.into_iter().find(|(name, _)| *name == NETWORK).expect("listed");
        let path = root.path().join("network.onnx");
        std::fs::write(&path, file).expect("writes");
        let request = ModelRequest {
            name: MODEL.into(),
            source: Source::Onnx(path),
            import: ImportRequest::default(),
            preprocess: None,
            labels: vec!["a".into(), "b".into()],
            threshold: None,
        };
        add_model(&mut store, request).expect("the model imports");
        let device =
            DeviceRequest { name: DEVICE.into(), model: MODEL.into(), all_weights: true, sample_rows: SAMPLE_ROWS };
        let folder = add_device(&mut store, &device).expect("the device is issued");
        let owner = store.sign_key().expect("the owner's key");
        let public = store.public_key().expect("the owner's key");
        assert_eq!(owner.public_key().as_ref(), public);
        let read = |name: &str| std::fs::read(store.model_dir(MODEL, 1).join(name)).expect("a bundle");
        let (edge, digest) = EdgeBundle::read(&read("edge.twm"), &public).expect("a good bundle");
        let model = DeviceModel::read(&read("model.twm"), &public).expect("a good bundle");
        let device = DeviceDir::open(&folder).and_then(|dir| dir.load(None)).expect("a good bundle");
        let (ca, role) = (store.ca().expect("a CA"), Role::device(DEVICE).expect("a name"));
        let identity = ca.issue(&role, &[MODEL.into()], Validity::default()).expect("an identity");
        let revocations = ca.revocations(&[(vec![7; 16], 1_700_000_000)], 7, Validity::default()).expect("a list");
        Scene { root, owner, edge, digest, device, model, identity, revocations }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.edge.plan
    }

    /// What bundles are verified with.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.owner.public_key().as_ref().try_into().expect("32 bytes")
    }

    /// The folder of `edge-a` or `edge-b`.
    pub(crate) fn edge_dir(&self, edge: &str) -> PathBuf {
        self.root.path().join("deployment").join(edge)
    }

    pub(crate) fn device_dir(&self) -> PathBuf {
        self.root.path().join("deployment/devices").join(DEVICE)
    }
}

/// The one scene of this process.
pub(crate) fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(Scene::new)
}
