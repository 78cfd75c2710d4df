//! Identities loaded from folders.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod authority;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use authority::{Authority, device};
use rcgen::KeyPair;
use tempfile::TempDir;
use twinmask_transport::{CA_FILE, CERT_FILE, CRL_FILE, Identity, IdentityError, KEY_FILE, Role};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn folder(cert: &str, key: &KeyPair, ca: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o700);
    for (name, content) in [(CERT_FILE, cert), (KEY_FILE, &key.serialize_pem()), (CA_FILE, ca)] {
        fs::write(dir.path().join(name), content).unwrap();
        set_mode(&dir.path().join(name), 0o600);
    }
    dir
}

fn usable(days: (i64, i64)) -> TempDir {
    let (owner, key) = (Authority::new("owner"), KeyPair::generate().unwrap());
    folder(&owner.certify(&[device().uri()], None, &key, days), &key, &owner.pem)
}

fn refused(dir: &TempDir, words: &str) -> IdentityError {
    let error = Identity::load(dir.path()).expect_err("loaded");
    assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
    error
}

#[test]
fn a_good_folder_is_loaded() {
    let identity = Identity::load(usable((-1, 1)).path()).unwrap();
    assert_eq!(identity.role(), &device());
    let shown = format!("{identity:?}");
    assert_eq!(shown, format!("Identity(device/cam-1, {})", identity.fingerprint()));
}

#[test]
fn loose_permissions_are_refused_with_the_command_that_mends_them() {
    let dir = usable((-1, 1));
    let key = dir.path().join(KEY_FILE);
    for mode in [0o640, 0o604, 0o660] {
        set_mode(&key, mode);
        refused(&dir, &format!("`chmod 600 {}`", key.display()));
    }
    set_mode(&key, 0o400);
    Identity::load(dir.path()).unwrap();
    set_mode(dir.path(), 0o750);
    refused(&dir, &format!("`chmod 700 {}`", dir.path().display()));
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    assert!(matches!(refused(&usable((-9, -2)), "UTC, and this machine's clock"), IdentityError::Expired { .. }));
    assert!(matches!(refused(&usable((2, 9)), "is valid from 2"), IdentityError::NotYetValid { .. }));
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let (owner, key, other) = (Authority::new("o"), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let cert = owner.certify(&[Role::EdgeA.uri()], None, &key, (-1, 1));
    refused(&folder(&cert, &other, &owner.pem), "key.pem: does not belong to");
    refused(&folder(&cert, &key, &Authority::new("p").pem), "was not issued by the CA in ca.pem");
    refused(&folder("", &key, &owner.pem), "cert.pem: holds no certificate");
    refused(&folder(&cert, &key, "rubbish"), "ca.pem: holds no certificate");
    let nobody = owner.certify(&[], Some("x"), &key, (-1, 1));
    refused(&folder(&nobody, &key, &owner.pem), "names no twinmask role");

    let dir = folder(&cert, &key, &owner.pem);
    fs::write(dir.path().join(KEY_FILE), &cert).unwrap();
    refused(&dir, "key.pem: holds no private key");
    fs::write(dir.path().join(CERT_FILE), vec![b'x'; 300_000]).unwrap();
    refused(&dir, "cert.pem: has 300000 bytes");
    fs::remove_file(dir.path().join(CERT_FILE)).unwrap();
    assert!(matches!(refused(&dir, "cert.pem"), IdentityError::Read { .. }));
}

#[test]
fn a_revocation_list_is_the_owners_and_counts_for_oneself() {
    let (owner, key) = (Authority::new("owner"), KeyPair::generate().unwrap());
    let dir = folder(&owner.certify(&[device().uri()], None, &key, (-1, 1)), &key, &owner.pem);
    let own = Identity::load(dir.path()).unwrap();
    let write = |list: &str| fs::write(dir.path().join(CRL_FILE), list).unwrap();

    write(&owner.revocations(&[]));
    Identity::load(dir.path()).unwrap();
    write(&owner.revocations(&[&owner.issue(&device())]));
    Identity::load(dir.path()).unwrap();
    // Lists that could not stop anybody must not look as if they did: of a stranger, of an impostor with the same name.
    for other in [Authority::new("stranger"), Authority::new("owner")] {
        write(&other.revocations(&[]));
        refused(&dir, "crl.pem: is not a revocation list of the CA in ca.pem");
    }
    for (bad, words) in [("", "crl.pem: holds no revocation list"), (&owner.pem, "crl.pem: holds no revocation list")] {
        write(bad);
        refused(&dir, words);
    }
    write(&owner.revocations(&[&own]));
    let error = refused(&dir, "the certificate of device/cam-1 was revoked by the owner");
    assert!(matches!(&error, IdentityError::Revoked { .. }) && error.to_string().contains("owner-keygen rotate"));
}
