//! Older bundles in place of newer ones: all of them are signed by the owner, and so are good in every other way.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use twinmask_device::engine::DeviceDir;
use twinmask_edge::{Config, Edge, Role};
use twinmask_kernels::default_kernel;
use twinmask_owner_keygen::devices::{DeviceRequest, add_device, rotate_keys};
use twinmask_owner_keygen::import::ImportRequest;
use twinmask_owner_keygen::models::{ModelRequest, Source, add_model, withdraw_model};
use twinmask_owner_keygen::store::Store;
use twinmask_owner_keygen::zoo::Arch;

/// An owner with the model "net" in its first version, and a device that has it.
struct Scene {
    root: TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Scene {
        let root = tempfile::tempdir().expect("temporary folder");
        let store = Store::init(&root.path().join("d")).expect("a new deployment");
        let mut scene = Scene { root, store };
        scene.add();
        scene.issue();
        scene
    }

    fn add(&mut self) {
        let request = ModelRequest {
            name: "net".into(),
            source: Source::Zoo(Arch::LeNet, 1),
            import: ImportRequest::default(),
            preprocess: None,
            labels: vec![],
            threshold: None,
        };
        add_model(&mut self.store, request).expect("imports");
    }

    fn issue(&mut self) {
        let request = DeviceRequest { name: "cam".into(), model: "net".into(), all_weights: false, sample_rows: 1 };
        add_device(&mut self.store, &request).expect("issues");
    }

    /// Gives a host the files of this folder of the owner's as they are now, as `cp -r` does.
    fn copy(&self, from: &str) -> PathBuf {
        let (from, to) = (self.store.root().join(from), self.root.path().join("hosts").join(from));
        copy(&from, &to);
        to
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes a folder");
    std::fs::set_permissions(to, std::fs::metadata(from).expect("a folder").permissions()).expect("its own folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).expect("copies") }
    }
}

/// If this fails, who can write to a device's folder gives it back a network or keys that the owner has replaced.
#[test]
fn devices_take_no_bundle_that_was_issued_before_the_one_they_have_used() {
    let mut scene = Scene::new();
    let dir = scene.copy("devices/cam");
    let file = dir.join("models/net.twm");
    let load = || DeviceDir::open(&dir).expect("a device's folder").load(None);
    let first = std::fs::read(&file).expect("a bundle");
    assert_eq!(load().expect("the first").model.version, 1);

    scene.add();
    scene.issue();
    scene.copy("devices/cam");
    assert_eq!(load().expect("a newer version").model.version, 2);
    let second = std::fs::read(&file).expect("a bundle");
    std::fs::write(&file, &first).expect("writes");
    let error = load().err().expect("an older version");
    let text = error.to_string();
    assert!(text.contains("net.twm: is version 1 of net, issued before the version 2 that this device"), "{text}");
    assert!(error.exit_code() == 3 && text.contains("versions-seen"), "{text}");

    // Fresh keys of the same version.
    rotate_keys(&mut scene.store, "cam").expect("rotates");
    scene.copy("devices/cam");
    load().expect("fresh keys");
    std::fs::write(&file, &second).expect("writes");
    let text = load().err().expect("keys that were replaced").to_string();
    assert!(text.contains("is version 2 of net, issued before the version 2 that this device has used"), "{text}");

    // The owner goes back on purpose.
    withdraw_model(&mut scene.store, "net", 2).expect("withdraws");
    scene.issue();
    scene.copy("devices/cam");
    assert_eq!(load().expect("issued later").model.version, 1);
    std::fs::rename(&file, file.with_file_name("other.twm")).expect("renames");
    let text = load().err().expect("another's name").to_string();
    assert!(text.contains("other.twm: is a bundle of the model net"), "{text}");
}

/// If this fails, who can write to an edge's folder makes it serve a version that the owner has withdrawn.
#[test]
fn edges_take_no_version_that_was_withdrawn() {
    let mut scene = Scene::new();
    let dir = scene.copy("edge-b");
    let path = |version: u32| dir.join(format!("models/net-v{version}.twm"));
    let first = std::fs::read(path(1)).expect("a bundle");
    let start = || Edge::load(&Config::new(&dir, Role::B), Role::B, default_kernel());
    let edge = start().expect("a good folder");
    scene.add();
    scene.copy("edge-b");
    edge.reload().expect("both versions");
    start().expect("both versions");
    std::fs::remove_file(path(1)).expect("withdrawn");
    edge.reload().expect("the second version");

    std::fs::write(path(1), &first).expect("writes");
    for error in [edge.reload().expect_err("an older bundle"), start().err().expect("an older bundle")] {
        let text = error.to_string();
        assert!(text.contains("net-v1.twm is version 1 of net, and this edge has had version 2"), "{text}");
        assert!(error.exit_code() == 3 && text.contains("versions-seen"), "{text}");
    }
    std::fs::remove_file(path(1)).expect("removes");
    start().expect("the second version");
}
