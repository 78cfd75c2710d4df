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
use twinmask_transport::{CA_FILE, CERT_FILE, CRL_FILE, Identity, IdentityError, KEY_FILE, Role, SEEN_FILE};

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
    let two = owner.revocations(&[]) + &owner.revocations(&[]);
    for (bad, words) in [
        ("", "crl.pem: holds no revocation list"),
        (&owner.pem, "crl.pem: holds no revocation list"),
        (&two, "crl.pem: holds 2 revocation lists"),
    ] {
        write(bad);
        refused(&dir, words);
    }
    write(&owner.revocations(&[&own]));
    let error = refused(&dir, "the certificate of device/cam-1 was revoked by the owner");
    assert!(matches!(&error, IdentityError::Revoked { .. }) && error.to_string().contains("owner-keygen rotate"));
}

/// A host that has seen a list takes none that is older, and does not go without: neither a process that runs, nor one
/// that is started anew.
#[test]
fn what_was_revoked_stays_revoked() {
    let (owner, key) = (Authority::new("owner"), KeyPair::generate().unwrap());
    let certificate = owner.certify(&[device().uri()], None, &key, (-1, 1));
    let dir = folder(&certificate, &key, &owner.pem);
    let (list, seen) = (dir.path().join(CRL_FILE), dir.path().join(SEEN_FILE));
    let lost = owner.issue(&Role::EdgeB);
    let write = |number| fs::write(&list, owner.revocation_list(number, 2999, &[&lost])).unwrap();
    Identity::load(dir.path()).unwrap();
    assert!(!seen.exists(), "nothing was seen");

    write(256);
    let running = Identity::load(dir.path()).unwrap();
    assert_eq!(running.revocation_list().unwrap().number().to_string(), "256");
    assert_eq!(fs::metadata(&seen).unwrap().permissions().mode() & 0o777, 0o600);
    write(255);
    let older = refused(&dir, "is the owner's revocation list number 255, and this host has seen number 256");
    assert!(matches!(older, IdentityError::ListOlder { .. }));
    fs::remove_file(&list).unwrap();
    assert!(matches!(refused(&dir, "crl.pem is gone"), IdentityError::ListGone { .. }));
    // Without the note of it the process that runs still knows.
    fs::remove_file(&seen).unwrap();
    assert!(matches!(running.load_anew(dir.path()), Err(IdentityError::ListGone { .. })));
    write(255);
    assert!(matches!(running.load_anew(dir.path()), Err(IdentityError::ListOlder { .. })));
    write(256);
    running.load_anew(dir.path()).unwrap();
    write(1 << 40);
    Identity::load(dir.path()).unwrap();
    assert!(running.load_anew(dir.path()).is_ok());
    write(256);
    refused(&dir, "has seen number 1099511627776");

    // Of another owner's lists nothing was seen here.
    let (stranger, other) = (Authority::new("owner"), KeyPair::generate().unwrap());
    fs::write(dir.path().join(CERT_FILE), stranger.certify(&[device().uri()], None, &other, (-1, 1))).unwrap();
    fs::write(dir.path().join(KEY_FILE), other.serialize_pem()).unwrap();
    fs::write(dir.path().join(CA_FILE), &stranger.pem).unwrap();
    fs::write(&list, stranger.revocations(&[])).unwrap();
    running.load_anew(dir.path()).unwrap();
    fs::write(&seen, "rubbish").unwrap();
    refused(&dir, "crl.seen: does not say which revocation list was seen here last");
}

#[test]
fn a_list_that_cannot_be_remembered_counts_and_says_so() {
    let owner = Authority::new("owner");
    let key = KeyPair::generate().unwrap();
    let dir = folder(&owner.certify(&[device().uri()], None, &key, (-1, 1)), &key, &owner.pem);
    fs::write(dir.path().join(CRL_FILE), owner.revocations(&[])).unwrap();
    // A folder in the place of the temporary file, as nothing else stops a test that runs as root.
    let temporary = dir.path().join(format!(".{SEEN_FILE}.{}.tmp", std::process::id()));
    fs::create_dir(&temporary).unwrap();
    let identity = Identity::load(dir.path()).unwrap();
    let list = identity.revocation_list().unwrap();
    assert!(list.unremembered().unwrap().contains(SEEN_FILE), "{list:?}");
    assert!(list.is_out_of_date() && list.is_empty(), "{list:?}");
    fs::remove_dir(&temporary).unwrap();
    fs::write(dir.path().join(CRL_FILE), owner.revocation_list(2, 2999, &[&owner.issue(&Role::EdgeA)])).unwrap();
    let identity = Identity::load(dir.path()).unwrap();
    let list = identity.revocation_list().unwrap();
    assert_eq!((list.unremembered(), list.is_out_of_date(), list.len()), (None, false, 1));
}

/// A process that runs gets to know that it is itself revoked, with the list that says so.
#[test]
fn a_running_identity_learns_that_it_is_revoked() {
    let (owner, key) = (Authority::new("owner"), KeyPair::generate().unwrap());
    let dir = folder(&owner.certify(&[device().uri()], None, &key, (-1, 1)), &key, &owner.pem);
    let running = Identity::load(dir.path()).unwrap();
    running.check_standing().unwrap();
    fs::write(dir.path().join(CRL_FILE), owner.revocations(&[&running])).unwrap();
    let anew = running.load_anew(dir.path()).unwrap();
    assert!(matches!(anew.check_standing(), Err(IdentityError::Revoked { .. })));
    refused(&dir, "was revoked by the owner");
}
