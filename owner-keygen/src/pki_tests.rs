#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;

use tempfile::TempDir;
use twinmask_transport::{Client, Server, TransportError, TransportLimits};

use super::*;

fn device() -> Role {
    Role::device("cam-1").unwrap()
}

/// An identity written to a folder and loaded by the code that hosts use.
fn on_disk(ca: &Ca, role: &Role, validity: Validity) -> (TempDir, Result<Identity, IdentityError>) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("identity");
    write_identity(&dir, &ca.issue(role, &[], validity).unwrap()).unwrap();
    let loaded = Identity::load(&dir);
    (root, loaded)
}

#[test]
fn issued_folders_are_loaded_by_the_hosts() {
    let ca = Ca::create().unwrap();
    let mut keys = HashSet::new();
    for role in [device(), Role::EdgeA, Role::EdgeB] {
        let (_root, identity) = on_disk(&ca, &role, Validity::default());
        let identity = identity.unwrap();
        assert_eq!(identity.role(), &role);
        assert!(keys.insert(identity.fingerprint()));
        let years = (identity.not_after_s() - Validity::years(0).not_after_s) as f64 / YEAR_S as f64;
        assert!((years - 2.0).abs() < 0.001, "{years}");
    }
}

#[test]
fn validity_is_what_was_asked_for() {
    let ca = Ca::create().unwrap();
    let now_s = Validity::years(0).not_after_s;
    let past = Validity { not_before_s: now_s - 100, not_after_s: now_s - 10 };
    assert!(matches!(on_disk(&ca, &device(), past).1, Err(IdentityError::Expired { .. })));
    let future = Validity { not_before_s: now_s + 1000, not_after_s: now_s + 2000 };
    assert!(matches!(on_disk(&ca, &device(), future).1, Err(IdentityError::NotYetValid { .. })));
    for (not_before_s, not_after_s) in [(-5, 5), (5, 5), (9, 5), (0, LAST_S + 1), (0, i64::MAX)] {
        let bad = ca.issue(&device(), &[], Validity { not_before_s, not_after_s });
        assert!(matches!(bad, Err(PkiError::Validity(_))), "{not_before_s} {not_after_s}");
    }
    ca.issue(&device(), &[], Validity { not_before_s: 0, not_after_s: LAST_S }).unwrap();
}

/// The folder of a CA.
fn save(ca: &Ca, dir: &Path) {
    let mut batch = Batch::default();
    batch.folder(dir).unwrap();
    ca.stage(&mut batch, dir).unwrap();
    batch.commit().unwrap();
}

#[test]
fn a_saved_ca_goes_on_issuing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("owner");
    let ca = Ca::create().unwrap();
    save(&ca, &dir);
    let again = Ca::load(&dir).unwrap();
    assert_eq!(again.cert_pem(), ca.cert_pem());
    on_disk(&again, &Role::EdgeB, Validity::default()).1.unwrap();
}

#[test]
fn a_key_of_another_ca_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    save(&Ca::create().unwrap(), &one);
    save(&Ca::create().unwrap(), &two);
    fs::copy(two.join(CA_KEY_FILE), one.join(CA_KEY_FILE)).unwrap();
    let error = Ca::load(&one).unwrap_err();
    assert!(error.to_string().contains("ca.key: does not belong to"), "{error}");
    fs::write(one.join(CA_KEY_FILE), "rubbish").unwrap();
    assert!(Ca::load(&one).unwrap_err().to_string().contains("holds no private key"));
}

#[test]
fn nothing_secret_is_printed() {
    let ca = Ca::create().unwrap();
    let issued = ca.issue(&device(), &[], Validity::default()).unwrap();
    assert!(issued.key_pem.contains("PRIVATE KEY"));
    assert_eq!(format!("{ca:?} {issued:?}"), "Ca(..) IssuedIdentity(device/cam-1)");
}

#[cfg(unix)]
#[test]
fn all_that_is_written_is_private_and_looser_modes_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let root = tempfile::tempdir().unwrap();
    let (owner, host) = (root.path().join("owner"), root.path().join("edge-a"));
    let ca = Ca::create().unwrap();
    save(&ca, &owner);
    write_identity(&host, &ca.issue(&Role::EdgeA, &[], Validity::default()).unwrap()).unwrap();
    for (dir, names) in [(&owner, vec![CA_FILE, CA_KEY_FILE]), (&host, vec![CA_FILE, CERT_FILE, KEY_FILE])] {
        assert_eq!(mode(dir), 0o700);
        let found: HashSet<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(found, names.iter().map(|&name| name.into()).collect());
        assert!(names.iter().all(|name| mode(&dir.join(name)) == 0o600));
    }
    fs::set_permissions(owner.join(CA_KEY_FILE), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Ca::load(&owner), Err(PkiError::Read(IdentityError::Permissions { .. }))));
}

#[tokio::test]
async fn issued_identities_shake_hands_and_those_of_another_owner_do_not() {
    let (ca, other) = (Ca::create().unwrap(), Ca::create().unwrap());
    let identity = |ca: &Ca, role: &Role| on_disk(ca, role, Validity::default()).1.unwrap();
    let (a, b, own) = (identity(&ca, &Role::EdgeA), identity(&ca, &Role::EdgeB), identity(&ca, &device()));
    let stranger = identity(&other, &device());
    let limits = TransportLimits::lan();

    let mut server = Server::bind("127.0.0.1:0", b, limits.clone()).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    for caller in [&own, &a] {
        let call = Client::connect(&address, &Role::EdgeB, caller, &limits, Duration::from_secs(20));
        let (to_b, at_b) = tokio::join!(call, server.accept());
        assert_eq!(to_b.unwrap().peer().role, Role::EdgeB);
        assert_eq!(&at_b.unwrap().unwrap().peer().role, caller.role());
    }
    let call = Client::connect(&address, &Role::EdgeB, &stranger, &limits, Duration::from_secs(20));
    let (refused, _) = tokio::join!(call, server.accept());
    assert!(matches!(refused, Err(TransportError::WrongIssuer { .. })), "{refused:?}");
}
