use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use twinmask_device::engine::DeviceDir;
use twinmask_device::{Device as Twinmask, Tensor};
use twinmask_owner_keygen::devices::{DeviceRequest, add_device};
use twinmask_owner_keygen::import::ImportRequest;
use twinmask_owner_keygen::models::{ModelRequest, Source, add_model};
use twinmask_owner_keygen::store::Store;
use twinmask_owner_keygen::zoo::Arch;
use twinmask_transport::{Client, Connection, Role, TransportLimits, memory_pair_for};

use super::*;

const MODEL: &str = "lenet";
const SEED: [u8; 32] = [7; 32];

/// LeNet of the zoo, issued to one device.
struct Site {
    root: TempDir,
    store: Store,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::init(&root.path().join("deployment")).expect("a deployment");
        let mut site = Self { root, store };
        site.add(1);
        site
    }

    /// Adds a version with weights of this seed, and issues it.
    fn add(&mut self, seed: u64) {
        let request = ModelRequest {
            name: MODEL.into(),
            source: Source::Zoo(Arch::LeNet, seed),
            import: ImportRequest::default(),
            preprocess: None,
            labels: vec![],
            threshold: None,
        };
        add_model(&mut self.store, request).expect("the zoo's own");
        let device = DeviceRequest { name: "d".into(), model: MODEL.into(), all_weights: true, sample_rows: 64 };
        add_device(&mut self.store, &device).expect("issued");
    }

    fn edge_dir(&self) -> PathBuf {
        self.store.edge_dir("edge-b")
    }

    fn device_dir(&self) -> PathBuf {
        self.store.device_dir("d")
    }

    fn keys(&self, name: &str, requests: u64) -> PathBuf {
        let path = self.root.path().join(name);
        let owner = Owner::load(&self.edge_dir(), MODEL).expect("an edge's folder");
        let size = owner.issue(&path, requests, &SEED).expect("written");
        assert_eq!(size, fs::metadata(&path).expect("there").len());
        path
    }

    fn open(&self, keys: &Path) -> Result<KeyStore, KeyError> {
        let model = DeviceDir::open(&self.device_dir()).expect("a folder").load(None).expect("a bundle").model;
        KeyStore::open(keys, &model.plan, &model.digest)
    }

    /// A device whose edge serves those with a certificate for `models`.
    async fn device(&self, edge: Edge, models: &[&str]) -> (Device, Connection) {
        let (here, there) = memory_pair_for(Role::device("d").expect("a name"), models, Role::EdgeB);
        tokio::spawn(Arc::new(edge).session(there));
        (Device::open(&self.device_dir(), MODEL, &here, 16, &SEED).await.expect("opens"), here)
    }

    async fn plain(&self, input: &[f32]) -> Vec<f32> {
        let local = Twinmask::local(self.device_dir()).expect("all weights");
        let shape = local.inputs().tensors[0].shape.clone();
        let result = local.run(Tensor::new(shape, input.to_vec()).expect("fits")).await.expect("runs");
        result.outputs[0].tensor.to_f32()
    }
}

fn input(number: usize) -> Vec<f32> {
    (0..28 * 28).map(|i| ((i + 31 * number) as f32 * 0.7).sin()).collect()
}

/// If this fails, the scheme computes something else than the network, or goes on without keys.
#[tokio::test(flavor = "multi_thread")]
async fn requests_equal_the_plain_integer_network_until_keys_run_out() {
    let site = Site::new();
    let server = edge::bind("127.0.0.1:0", &site.edge_dir(), TransportLimits::lan()).await.expect("binds");
    let address = server.local_addr().expect("bound").to_string();
    let edge = Arc::new(Edge::load(&site.edge_dir(), MODEL).expect("an edge's folder"));
    tokio::spawn(edge::accept(server, edge));
    let identity = DeviceDir::open(&site.device_dir()).expect("a folder").identity().expect("an identity");
    let (limits, patience) = (TransportLimits::lan(), Duration::from_secs(10));
    let connection = Client::connect(&address, &Role::EdgeB, &identity, &limits, patience).await.expect("connects");
    let mut device = Device::open(&site.device_dir(), MODEL, &connection, 16, &SEED).await.expect("opens");
    let mut keys = device.keys(&site.keys("keys", 3)).expect("keys");
    for number in 0..3 {
        let (key, input) = (keys.take(device.plan()).expect("a key"), input(number));
        assert_eq!(device.infer(key, &input).await.expect("an inference"), site.plain(&input).await);
    }
    let error = keys.take(device.plan()).err().expect("none is left");
    assert!(matches!(error, KeyError::Exhausted { issued: 3, .. }), "{error}");
    assert!(error.to_string().contains("until the owner has issued more"), "{error}");
}

/// If this fails, two requests can share a mask, and their difference is that of their inputs.
#[test]
fn a_key_is_wiped_and_never_given_again() {
    let site = Site::new();
    let path = site.keys("keys", 2);
    let (before, mut store) = (fs::read(&path).expect("there"), site.open(&path).expect("keys"));
    let plan = Owner::load(&site.edge_dir(), MODEL).expect("an edge's folder").plan;
    let first = store.take(&plan).expect("a key").s_in[0].clone();
    assert_eq!(store.left(), 1);
    assert!(matches!(site.open(&path), Err(KeyError::Io(..))), "a second user would take the same keys");
    drop(store);

    let (after, record) = (fs::read(&path).expect("there"), RequestKey::packed_len(&plan));
    let head = after.len() - 2 * record;
    assert!(after[head..head + record].iter().all(|&b| b == 0), "the used key is wiped");
    assert_eq!(after[head + record..], before[head + record..], "the next is not");
    let mut again = site.open(&path).expect("keys");
    assert_eq!(again.left(), 1, "a restart gives no key back");
    assert_ne!(again.take(&plan).expect("the second").s_in[0], first);
}

#[test]
fn keys_of_another_version_are_void() {
    let mut site = Site::new();
    let path = site.keys("keys", 1);
    site.add(2);
    let error = site.open(&path).err().expect("another model's");
    assert!(matches!(error, KeyError::OtherModel { .. }) && error.to_string().contains("void"), "{error}");
    site.open(&site.keys("newer", 1)).expect("the new version's");
}

#[test]
fn what_is_no_key_file_is_refused() {
    let site = Site::new();
    let (path, bad) = (site.keys("keys", 2), site.root.path().join("bad"));
    let good = fs::read(&path).expect("there");
    let with = |at: usize, byte: u8| [&good[..at], &[byte], &good[at + 1..]].concat();
    let cases =
        [Vec::new(), good[..40].to_vec(), good[..good.len() - 1].to_vec(), with(0, 0), with(40, 3), with(48, 3)];
    for (i, bytes) in cases.iter().chain([&with(47, 255)]).enumerate() {
        fs::write(&bad, bytes).expect("written");
        let found = site.open(&bad).map(|_| ());
        assert!(matches!(found, Err(KeyError::Malformed(_))), "{i}: {found:?}");
    }
    assert!(matches!(site.open(&site.root.path().join("none")), Err(KeyError::Io(..))));
}

#[test]
fn keys_come_from_their_seed_and_overwrite_nothing() {
    let site = Site::new();
    let [a, b] = ["a", "b"].map(|name| fs::read(site.keys(name, 2)).expect("there"));
    assert_eq!(a, b);
    let owner = Owner::load(&site.edge_dir(), MODEL).expect("an edge's folder");
    assert!(owner.issue(&site.root.path().join("a"), 1, &SEED).is_err(), "keys that may be in use");
    let other = site.root.path().join("other");
    owner.issue(&other, 2, &owner::fresh_seed().expect("random")).expect("written");
    assert_ne!(fs::read(other).expect("there")[56..], a[56..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_lies_is_named() {
    let site = Site::new();
    let lie = |answers: &mut [Vec<u32>]| answers.iter_mut().flatten().for_each(|z| *z = z.wrapping_add(1));
    let edge = Edge::load(&site.edge_dir(), MODEL).expect("an edge's folder").lying(lie);
    let (mut device, _connection) = site.device(edge, &[MODEL]).await;
    let key = device.keys(&site.keys("keys", 1)).and_then(|mut k| k.take(device.plan())).expect("a key");
    let error = device.infer(key, &input(0)).await.expect_err("a lie");
    assert!(error.downcast_ref::<FailedCheck>().is_some_and(|f| f.to_string().contains(&f.layer)), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_gets_something_else_each_time_and_serves_only_who_may() {
    let site = Site::new();
    let (mut device, _connection) = site.device(Edge::load(&site.edge_dir(), MODEL).expect("a folder"), &[MODEL]).await;
    let mut keys = device.keys(&site.keys("keys", 3)).expect("keys");
    let mut sent = Vec::new();
    for _ in 0..2 {
        let key = keys.take(device.plan()).expect("a key");
        device.infer(key, &input(0)).await.expect("an inference");
        sent.push(device.sent_first().to_vec());
    }
    let equal = sent[0].iter().zip(&sent[1]).filter(|(a, b)| a == b).count();
    assert!(sent[0].len() == 784 && equal < 3, "{equal} of 784 elements are the same for one picture");

    let (stranger, there) = memory_pair_for(Role::device("d").expect("a name"), &[], Role::EdgeB);
    let edge = Edge::load(&site.edge_dir(), MODEL).expect("a folder");
    Arc::new(edge).session(there).await;
    let reason = format!("{:?}", stranger.closed().await);
    assert!(reason.contains("does not name the model"), "{reason}");
}
