//! Every command that changes a deployment, killed at every write: processes of this very program die there.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use twinmask_model::bundle::{DeviceBundle, EdgeBundle};
use twinmask_transport::{CA_FILE, CERT_FILE, CRL_FILE, Identity, IdentityError, Role, owner_key, read_certificate};
use x509_parser::prelude::{CertificateRevocationList, FromDer, Pem};

use crate::devices::{DeviceRequest, add_device, rotate_keys};
use crate::error::OwnerError;
use crate::hex::hex;
use crate::identities::{refresh_revocations, revoke_certificate, revoke_identity, rotate_identity};
use crate::import::ImportRequest;
use crate::models::{ModelRequest, Source, add_model, withdraw_model};
use crate::secure_file::fault;
use crate::store::{Store, read_registry};
use crate::zoo::Arch;

/// What tells a process of this program what to do, where, and when to die.
const ORDERS: [&str; 3] = ["TWINMASK_KILLED_COMMAND", "TWINMASK_KILLED_DIR", "TWINMASK_KILLED_AT"];

/// The life of such a process; nothing when the tests are run as usual.
#[test]
fn process() {
    let [Ok(command), Ok(dir), Ok(at)] = ORDERS.map(std::env::var) else { return };
    fault::kill_at(at.parse().unwrap());
    run(&command, Path::new(&dir)).unwrap();
}

fn run(command: &str, dir: &Path) -> Result<(), OwnerError> {
    let open = || Store::open(dir);
    let cam = Role::device("cam").unwrap();
    match command {
        "init" => Store::init(dir).map(drop),
        "add-model" => model(&mut open()?),
        "add-device new" => issue(&mut open()?, "new"),
        "add-device cam" => issue(&mut open()?, "cam"),
        "rotate cam" => rotate_identity(&mut open()?, &cam, true),
        "rotate keys" => rotate_keys(&mut open()?, "cam").map(drop),
        "revoke cam" => revoke_identity(&mut open()?, &cam),
        "revoke certificate" => revoke_certificate(&mut open()?, &dir.join("devices/cam")).map(drop),
        "withdraw" => withdraw_model(&mut open()?, "net", 1).map(drop),
        "refresh" => refresh_revocations(&mut open()?, Some(7)).map(drop),
        other => panic!("no command {other}"),
    }
}

fn model(store: &mut Store) -> Result<(), OwnerError> {
    let request = ModelRequest {
        name: "net".into(),
        source: Source::Zoo(Arch::LeNet, 1),
        import: ImportRequest::default(),
        preprocess: None,
        labels: vec![],
        threshold: None,
    };
    add_model(store, request).map(drop)
}

fn issue(store: &mut Store, name: &str) -> Result<(), OwnerError> {
    let request = DeviceRequest { name: name.into(), model: "net".into(), all_weights: false, sample_rows: 3 };
    add_device(store, &request).map(drop)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn named<'a>(files: &'a [PathBuf], name: &'a str) -> impl Iterator<Item = &'a PathBuf> {
    files.iter().filter(move |f| f.file_name().is_some_and(|n| n == name))
}

/// The number of a revocation list.
fn number(list: &Path) -> u64 {
    let pem = Pem::iter_from_buffer(&fs::read(list).unwrap()).next().unwrap().unwrap();
    let (_, list) = CertificateRevocationList::from_der(&pem.contents).unwrap();
    list.crl_number().unwrap().try_into().unwrap()
}

/// Whatever has a name can be revoked, and no host has a list that the owner would number again.
fn check_recorded(dir: &Path) {
    let registry = read_registry(dir).unwrap();
    let ca = fs::read(dir.join("owner").join(CA_FILE)).unwrap();
    let files = files(dir);
    for file in named(&files, CERT_FILE) {
        let facts = read_certificate(&fs::read(file).unwrap(), CERT_FILE, &ca).unwrap();
        assert!(
            registry.identities.iter().any(|i| i.serial == hex(&facts.serial)),
            "{} is not on record",
            file.display()
        );
    }
    for file in named(&files, CRL_FILE) {
        assert!(number(file) <= registry.lists.number, "{} has a number to come", file.display());
    }
}

/// Every host's folder is all that it needs, and nothing else is left.
fn check_whole(dir: &Path) {
    let files = files(dir);
    let left = files.iter().find(|f| f.extension().is_some_and(|e| e == "tmp"));
    assert!(left.is_none() && !dir.join("owner.new").exists(), "{left:?} was left behind");
    let owner = owner_key::read(&dir.join("owner/owner.pub")).unwrap();
    for file in named(&files, CERT_FILE) {
        match Identity::load(file.parent().unwrap()) {
            Ok(_) | Err(IdentityError::Revoked { .. }) => {}
            Err(e) => panic!("{e}"),
        }
        assert!(file.with_file_name(CRL_FILE).exists());
    }
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "twm")) {
        let bytes = fs::read(file).unwrap();
        if file.starts_with(dir.join("devices")) {
            DeviceBundle::read(&bytes, &owner).unwrap();
        } else if !file.ends_with("model.twm") {
            EdgeBundle::read(&bytes, &owner).unwrap();
        }
    }
}

/// Lets `command` die at each of its writes in turn, on a deployment with a model and a device (`init`: on none).
fn kill_at_every_write(command: &str) {
    // In memory where that can be: all is synced often, and what counts here is the order.
    let memory = Some(Path::new("/dev/shm")).filter(|m| m.is_dir());
    let root = memory.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let (before, dir) = (root.path().join("before"), root.path().join("d"));
    if command != "init" {
        let mut store = Store::init(&before).unwrap();
        model(&mut store).unwrap();
        issue(&mut store, "cam").unwrap();
    }
    for at in 1.. {
        let _ = fs::remove_dir_all(&dir);
        if before.exists() {
            assert!(Command::new("cp").arg("-a").arg(&before).arg(&dir).status().unwrap().success());
        }
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "killed_tests::process"]);
        process.envs(ORDERS.iter().zip([command, dir.to_str().unwrap(), &at.to_string()]));
        let out = process.output().unwrap();
        let killed = match out.status.code() {
            Some(0) => false,
            Some(fault::KILLED) => true,
            _ => panic!("{}", String::from_utf8_lossy(&out.stdout)),
        };
        if command != "init" || dir.join("owner").exists() {
            check_recorded(&dir);
        }
        if !killed {
            check_whole(&dir);
            assert!(at > 4, "{at} steps are too few to be all writes");
            return;
        }
        match run(command, &dir) {
            // All but its last folder was safe.
            Err(OwnerError::Exists(_)) if command == "init" => drop(Store::open(&dir).unwrap()),
            again => again.unwrap_or_else(|e| panic!("{command} after a kill at write {at}: {e}")),
        }
        check_recorded(&dir);
        check_whole(&dir);
    }
}

/// If one of these fails, a kill at the wrong moment leaves a certificate that cannot be revoked, or a deployment that
/// takes more than the same command again.
macro_rules! killed {
    ($($name:ident: $command:literal;)*) => {$(
        #[test]
        fn $name() {
            kill_at_every_write($command);
        }
    )*};
}

killed! {
    at_init: "init";
    at_add_model: "add-model";
    at_add_device: "add-device new";
    at_add_device_again: "add-device cam";
    at_rotate_identity: "rotate cam";
    at_rotate_keys: "rotate keys";
    at_revoke_device: "revoke cam";
    at_revoke_certificate: "revoke certificate";
    at_withdraw: "withdraw";
    at_refresh: "refresh";
}
