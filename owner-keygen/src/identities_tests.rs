#![allow(clippy::unwrap_used)]

use std::path::Path;

use twinmask_model::ring_plan::Profile;
use twinmask_transport::{Identity, IdentityError};

use super::*;
use crate::devices::{DeviceRequest, add_device, rotate_keys};
use crate::import::ImportRequest;
use crate::list;
use crate::models::{ModelRequest, Source, add_model, withdraw_model};
use crate::zoo::Arch;

fn deployment() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::init(&root.path().join("d")).unwrap();
    (root, store)
}

fn lenet() -> ModelRequest {
    ModelRequest {
        name: "net".into(),
        source: Source::Zoo(Arch::LeNet, 1),
        import: ImportRequest { profile: Profile::Compact, ..ImportRequest::default() },
        preprocess: None,
        labels: vec![],
        threshold: Some(0.5),
    }
}

fn issue(store: &mut Store, name: &str) -> Result<std::path::PathBuf, OwnerError> {
    let request = DeviceRequest { name: name.into(), model: "net".into(), all_weights: false, sample_rows: 3 };
    add_device(store, &request)
}

fn load(store: &Store, role: &Role) -> Result<Identity, IdentityError> {
    Identity::load(&store.identity_dir(role))
}

fn device(name: &str) -> Role {
    Role::device(name).unwrap()
}

fn statuses(store: &Store, role: &str) -> Vec<&'static str> {
    let listing = list::list(&store.registry);
    listing.identities.iter().filter(|i| i.role == role).map(|i| i.status).collect()
}

/// The serial number in a folder is the one on record: only what is on record can be revoked.
fn check_recorded(store: &Store, role: &Role) {
    let serial: String = load(store, role).unwrap().serial().iter().map(|b| format!("{b:02x}")).collect();
    let last = store.registry.identities.iter().rfind(|i| i.role == role.to_string()).unwrap();
    assert_eq!((serial, last.not_after_s), (last.serial.clone(), load(store, role).unwrap().not_after_s()));
}

#[test]
fn a_new_identity_replaces_the_old_one_with_or_without_revoking_it() {
    let (_root, mut store) = deployment();
    let first = load(&store, &Role::EdgeA).unwrap().fingerprint();
    check_recorded(&store, &Role::EdgeA);
    rotate_identity(&mut store, &Role::EdgeA, false).unwrap();
    let second = load(&store, &Role::EdgeA).unwrap().fingerprint();
    assert_ne!(first, second);
    assert_eq!(statuses(&store, "edge-a"), ["replaced", "valid"]);
    assert!(!store.identity_dir(&Role::EdgeB).join(CRL_FILE).exists());

    rotate_identity(&mut store, &Role::EdgeA, true).unwrap();
    check_recorded(&store, &Role::EdgeA);
    assert_eq!(statuses(&store, "edge-a"), ["revoked", "revoked", "valid"]);
    for role in [Role::EdgeA, Role::EdgeB] {
        load(&store, &role).unwrap();
        assert!(store.identity_dir(&role).join(CRL_FILE).exists());
    }
    let unknown = rotate_identity(&mut store, &device("nobody"), false).unwrap_err();
    assert!(unknown.to_string().contains("'device/nobody'; there are: edge-a, edge-b"), "{unknown}");
}

#[test]
fn a_revoked_device_is_on_everybodys_list_and_gets_nothing_until_it_is_somebody_new() {
    let (_root, mut store) = deployment();
    add_model(&mut store, lenet()).unwrap();
    issue(&mut store, "cam").unwrap();
    issue(&mut store, "other").unwrap();
    revoke_identity(&mut store, &device("cam")).unwrap();
    // Also who comes later knows.
    issue(&mut store, "later").unwrap();
    let lists: Vec<Vec<u8>> = [Role::EdgeA, Role::EdgeB, device("cam"), device("other"), device("later")]
        .iter()
        .map(|role| std::fs::read(store.identity_dir(role).join(CRL_FILE)).unwrap())
        .collect();
    assert!(lists.iter().all(|l| l.starts_with(b"-----BEGIN X509 CRL-----")));
    assert!(matches!(load(&store, &device("cam")), Err(IdentityError::Revoked { .. })));
    for role in [Role::EdgeA, Role::EdgeB, device("other"), device("later")] {
        load(&store, &role).unwrap();
    }
    for error in [issue(&mut store, "cam").unwrap_err(), rotate_keys(&mut store, "cam").unwrap_err()] {
        assert!(matches!(error, OwnerError::Revoked(_)) && error.to_string().contains("--identity device/cam"));
    }
    rotate_identity(&mut store, &device("cam"), false).unwrap();
    load(&store, &device("cam")).unwrap();
    assert_eq!(statuses(&store, "device/cam"), ["revoked", "valid"]);
    issue(&mut store, "cam").unwrap();
    assert_eq!(statuses(&store, "device/cam").len(), 2, "a valid identity is kept");
    assert_eq!(Store::open(store.root()).unwrap().registry, store.registry);
}

#[test]
fn fresh_keys_share_nothing_with_the_old_ones_and_take_the_newest_version() {
    use twinmask_model::bundle::DeviceBundle;
    let (_root, mut store) = deployment();
    add_model(&mut store, lenet()).unwrap();
    let dir = issue(&mut store, "cam").unwrap();
    let owner = store.public_key().unwrap();
    let bundle = |dir: &Path| DeviceBundle::read(&std::fs::read(dir.join("models/net.twm")).unwrap(), &owner).unwrap();
    let (old, identity) = (bundle(&dir), load(&store, &device("cam")).unwrap().fingerprint());
    add_model(&mut store, ModelRequest { source: Source::Zoo(Arch::LeNet, 2), ..lenet() }).unwrap();
    assert_eq!(rotate_keys(&mut store, "cam").unwrap(), [("net".to_owned(), 2)]);
    let new = bundle(&dir);
    assert_ne!(*old.key, *new.key);
    assert!(old.s_out.iter().zip(&new.s_out).all(|(o, n)| **o != **n));
    assert!(old.projections.iter().zip(&new.projections).all(|(o, n)| **o != **n));
    assert!(new.rows.iter().all(|r| r.channels.len() == 3) && (old.model.version, new.model.version) == (1, 2));
    assert_eq!((new.model.threshold, load(&store, &device("cam")).unwrap().fingerprint()), (Some(0.5), identity));
    let unknown = rotate_keys(&mut store, "net").unwrap_err();
    assert!(unknown.to_string().contains("no device 'net'; there are: cam"), "{unknown}");
}

#[test]
fn versions_stand_side_by_side_until_one_is_withdrawn() {
    let (_root, mut store) = deployment();
    add_model(&mut store, lenet()).unwrap();
    issue(&mut store, "cam").unwrap();
    add_model(&mut store, lenet()).unwrap();
    let bundles = |store: &Store| {
        let models = store.edge_dir("edge-b").join("models");
        let mut names: Vec<_> = std::fs::read_dir(models).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(bundles(&store), ["net-v1.twm", "net-v2.twm"]);
    assert_eq!(withdraw_model(&mut store, "net", 1).unwrap(), ["cam"]);
    assert_eq!(bundles(&store), ["net-v2.twm"]);
    let listing = list::list(&store.registry);
    assert_eq!(listing.models.iter().map(|m| m.status).collect::<Vec<_>>(), ["withdrawn", "newest"]);
    assert_eq!(listing.devices[0].models[0].status, "withdrawn");
    assert!(list::text(&listing).contains("withdrawn"));

    withdraw_model(&mut store, "net", 2).unwrap();
    assert!(matches!(issue(&mut store, "cam"), Err(OwnerError::UnknownModel { .. })));
    let (third, _) = add_model(&mut store, lenet()).unwrap();
    assert_eq!(third.version, 3, "no number is used twice");
    let unknown = withdraw_model(&mut store, "net", 9).unwrap_err();
    assert!(unknown.to_string().contains("'net version 9'; there are: net version 3"), "{unknown}");
    let error = add_model(&mut store, ModelRequest { threshold: Some(f32::NAN), ..lenet() }).unwrap_err();
    assert!(error.to_string().contains("no cosine"), "{error}");
}
