#![allow(clippy::unwrap_used)]

use std::path::Path;

use twinmask_model::ring_plan::Profile;
use twinmask_transport::{Identity, IdentityError};
use x509_parser::prelude::{CertificateRevocationList, FromDer, Pem};

use super::*;
use crate::devices::{DeviceRequest, add_device, rotate_keys};
use crate::import::ImportRequest;
use crate::list;
use crate::models::{ModelRequest, Source, add_model, withdraw_model};
use crate::pki::now_s;
use crate::registry::Lists;
use crate::store::read_registry;
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
    assert!(revoked_in(&store, &Role::EdgeB).is_empty());

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
    assert_eq!(read_registry(store.root()).unwrap(), store.registry);
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

fn revoked_in(store: &Store, role: &Role) -> Vec<String> {
    with_list(store, role, |list| {
        list.iter_revoked_certificates().map(|r| r.user_certificate.to_str_radix(16)).collect()
    })
}

fn with_list<T>(store: &Store, role: &Role, look: impl FnOnce(&CertificateRevocationList) -> T) -> T {
    let bytes = std::fs::read(store.identity_dir(role).join(CRL_FILE)).unwrap();
    let pem = Pem::iter_from_buffer(&bytes).next().unwrap().unwrap();
    look(&CertificateRevocationList::from_der(&pem.contents).unwrap().1)
}

fn number(store: &Store, role: &Role) -> u64 {
    with_list(store, role, |list| list.crl_number().unwrap().try_into().unwrap())
}

/// If this fails, a host that has seen a later list takes an older one, or refuses the newest.
#[test]
fn every_list_has_a_number_of_its_own_whatever_the_clock_says() {
    let (_root, mut store) = deployment();
    add_model(&mut store, lenet()).unwrap();
    let (a, b) = (number(&store, &Role::EdgeA), number(&store, &Role::EdgeB));
    assert!(0 < a && a < b, "{a} {b}");
    assert!(revoked_in(&store, &Role::EdgeA).is_empty());
    issue(&mut store, "cam").unwrap();
    let mut last = number(&store, &device("cam"));
    assert!(b < last);
    // All of it within a second or so.
    for _ in 0..20 {
        refresh_revocations(&mut store, None).unwrap();
        let next = [Role::EdgeA, Role::EdgeB, device("cam")].map(|role| number(&store, &role));
        assert!(next[0] > last && next.iter().all(|n| *n == next[0]), "{next:?} after {last}");
        last = next[0];
    }
    // A clock that was a year ahead when the last list was made.
    store.registry.lists.number += 365 * 24 * 3600;
    let ahead = store.registry.lists.number;
    revoke_identity(&mut store, &device("cam")).unwrap();
    assert_eq!((number(&store, &Role::EdgeA), store.registry.lists.number), (ahead + 1, ahead + 1));
    // A registry from before lists had numbers: then they were seconds of the clock.
    store.registry.lists = Lists::default();
    refresh_revocations(&mut store, None).unwrap();
    assert!(number(&store, &Role::EdgeA).abs_diff(now_s().unsigned_abs()) < 60);
}

#[test]
fn lists_say_by_when_the_next_one_is_due() {
    let (_root, mut store) = deployment();
    let due_in_days = |store: &Store| {
        let next = with_list(store, &Role::EdgeB, |list| list.next_update().unwrap().timestamp());
        assert!((next - store.registry.lists.until_s).abs() <= 1);
        (next - now_s() + 60) / (24 * 3600)
    };
    assert_eq!(due_in_days(&store), 90);
    refresh_revocations(&mut store, Some(7)).unwrap();
    assert_eq!(due_in_days(&store), 7);
    rotate_identity(&mut store, &Role::EdgeA, true).unwrap();
    assert_eq!(due_in_days(&store), 7, "what was said holds for later lists");
    let listing = list::list(&store.registry);
    assert!(!listing.revocations.overdue && listing.revocations.revoked == 1);
    assert!(list::text(&listing).contains("1 revoked; the next one is due by"), "{}", list::text(&listing));
    store.registry.lists.until_s = now_s() - 1;
    let text = list::text(&list::list(&store.registry));
    assert!(text.contains("was due by") && text.contains("refresh-revocations DIR"), "{text}");
}

/// If this fails, a certificate that got lost on record cannot be revoked.
#[test]
fn a_certificate_is_revoked_by_itself_on_record_or_not() {
    let (_root, mut store) = deployment();
    add_model(&mut store, lenet()).unwrap();
    let dir = issue(&mut store, "cam").unwrap();
    let lost = std::fs::read(dir.join("identity/cert.pem")).unwrap();
    let ca = std::fs::read(store.owner_dir().join(CA_FILE)).unwrap();
    let serial = |pem: &[u8]| crate::hex::hex(&read_certificate(pem, "cert.pem", &ca).unwrap().serial);
    let (edge_a, nobody) = (store.edge_dir("edge-a"), store.edge_dir("nobody"));
    let lost_serial = serial(&lost);
    // The registry forgets it, as one that two processes had written at once; then the device gets another.
    store.registry.identities.pop();
    issue(&mut store, "cam").unwrap();
    assert_ne!(serial(&std::fs::read(dir.join("identity/cert.pem")).unwrap()), lost_serial);
    let file = store.root().join("found.pem");
    std::fs::write(&file, &lost).unwrap();
    assert_eq!(revoke_certificate(&mut store, &file).unwrap(), device("cam"));
    assert!(revoked_in(&store, &Role::EdgeB) == [lost_serial.as_str()]);
    assert_eq!(statuses(&store, "device/cam"), ["revoked", "valid"], "it is the older of the two");
    issue(&mut store, "cam").unwrap();
    load(&store, &device("cam")).unwrap();
    // Twice is once; a folder says the same as the file in it.
    revoke_certificate(&mut store, &file).unwrap();
    assert_eq!(revoked_in(&store, &Role::EdgeB).len(), 1);
    revoke_certificate(&mut store, &edge_a).unwrap();
    assert_eq!((revoked_in(&store, &Role::EdgeB).len(), statuses(&store, "edge-a")), (2, vec!["revoked"]));

    let (_other_root, other) = deployment();
    let foreign = revoke_certificate(&mut store, &other.edge_dir("edge-b")).unwrap_err().to_string();
    assert!(foreign.contains("cert.pem") && foreign.contains("was not issued by the CA"), "{foreign}");
    let none = revoke_certificate(&mut store, &nobody).unwrap_err().to_string();
    assert!(none.contains("nobody/cert.pem"), "{none}");
}

#[test]
fn a_deployment_is_not_made_over_another_and_one_without_registry_is_restored() {
    let (_root, store) = deployment();
    let (root, ca) = (store.root().to_owned(), std::fs::read(store.owner_dir().join(CA_FILE)).unwrap());
    drop(store);
    assert!(matches!(Store::init(&root), Err(OwnerError::Exists(_))));
    std::fs::remove_file(root.join("owner/registry.json")).unwrap();
    let error = Store::open(&root).unwrap_err().to_string();
    assert!(error.contains("registry.json: is missing; restore"), "{error}");
    assert!(matches!(Store::init(&root), Err(OwnerError::Exists(_))));
    assert!(!root.join("owner.new").exists() && std::fs::read(root.join("owner/ca.pem")).unwrap() == ca);
}

/// If this fails, edges refuse a device the model that it was issued, or let it use others.
#[test]
fn a_devices_certificate_names_its_models() {
    let (_root, mut store) = deployment();
    for name in ["net", "other"] {
        add_model(&mut store, ModelRequest { name: name.into(), ..lenet() }).unwrap();
    }
    let named = |store: &Store| load(store, &device("cam")).unwrap().models().to_vec();
    issue(&mut store, "cam").unwrap();
    check_recorded(&store, &device("cam"));
    assert_eq!(named(&store), ["net"]);
    assert!(load(&store, &Role::EdgeA).unwrap().models().is_empty());
    let first = load(&store, &device("cam")).unwrap().fingerprint();
    issue(&mut store, "cam").unwrap();
    assert_eq!(load(&store, &device("cam")).unwrap().fingerprint(), first, "it names the model already");

    let further = DeviceRequest { name: "cam".into(), model: "other".into(), all_weights: false, sample_rows: 3 };
    add_device(&mut store, &further).unwrap();
    check_recorded(&store, &device("cam"));
    assert_eq!(
        (named(&store), statuses(&store, "device/cam")),
        (vec!["net".into(), "other".into()], vec!["replaced", "valid"])
    );
    assert!(revoked_in(&store, &Role::EdgeA).is_empty(), "the old one stays valid");
    rotate_identity(&mut store, &device("cam"), true).unwrap();
    assert_eq!(named(&store), ["net", "other"]);
    assert!(list::text(&list::list(&store.registry)).contains("net, other"));

    // A certificate of an older version names none.
    let old = store.ca().unwrap().issue(&device("cam"), &[], crate::pki::Validity::default()).unwrap();
    crate::pki::write_identity(&store.identity_dir(&device("cam")), &old).unwrap();
    issue(&mut store, "cam").unwrap();
    assert_eq!(named(&store), ["net", "other"]);

    let entry = store.registry.devices.iter_mut().find(|d| d.name == "cam").unwrap();
    entry.models = (0..100).map(|i| (format!("{i:0>63}"), 1)).collect();
    let full = issue(&mut store, "cam").unwrap_err().to_string();
    assert!(full.contains("cam has 100 models"), "{full}");
    // As many as there may be still make an identity.
    rotate_identity(&mut store, &device("cam"), false).unwrap();
    assert_eq!(named(&store).len(), 100);
}
