//! Several owner's tools at a time, as real processes.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use twinmask_owner_keygen::store::Store;
use twinmask_transport::{CERT_FILE, Identity};

fn command(verb: &str, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_owner-keygen"));
    command.arg(verb).arg(dir).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn keygen(verb: &str, dir: &Path, args: &[&str]) -> Output {
    let out = command(verb, dir, args).output().unwrap();
    assert!(out.status.success(), "{verb} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn list(dir: &Path) -> Value {
    serde_json::from_slice(&keygen("list", dir, &["--json"]).stdout).unwrap()
}

fn deployment() -> (tempfile::TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("d");
    keygen("init", &dir, &[]);
    (root, dir)
}

fn serial(identity: &Path) -> String {
    Identity::load(identity).unwrap().serial().iter().map(|b| format!("{b:02x}")).collect()
}

/// If this fails, a device has a certificate that the owner knows nothing of and cannot revoke.
#[test]
fn devices_that_are_added_at_the_same_time_are_all_registered() {
    let (_root, dir) = deployment();
    keygen("add-model", &dir, &["--name", "net", "--zoo", "lenet"]);
    let names: Vec<String> = (1..=6).map(|n| format!("cam{n}")).collect();
    let start = |name: &String| command("add-device", &dir, &["--name", name, "--model", "net"]).spawn().unwrap();
    let running: Vec<Child> = names.iter().map(start).collect();
    for child in running {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let listing = list(&dir);
    let rows = listing["identities"].as_array().unwrap();
    let known: HashSet<&str> = rows.iter().map(|i| i["serial"].as_str().unwrap()).collect();
    for name in &names {
        let identity = dir.join("devices").join(name).join("identity");
        assert!(identity.join(CERT_FILE).exists());
        assert!(known.contains(serial(&identity).as_str()), "{name} is not in {listing}");
    }
    assert_eq!(listing["devices"].as_array().unwrap().len(), names.len());
    for name in &names {
        keygen("revoke", &dir, &["--device", name]);
    }
}

/// If this fails, two owners of one folder: the second's certificates are unknown to the first's CA.
#[test]
fn of_deployments_that_are_made_at_the_same_time_one_is_made() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("d");
    let running: Vec<Child> = (0..4).map(|_| command("init", &dir, &[]).spawn().unwrap()).collect();
    let outs: Vec<Output> = running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert_eq!(outs.iter().filter(|o| o.status.success()).count(), 1, "{outs:?}");
    for refused in outs.iter().filter(|o| !o.status.success()) {
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(3) && text.contains("holds a deployment already"), "{text}");
    }
    assert_eq!(list(&dir)["identities"].as_array().unwrap().len(), 2);
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

/// If this fails, a person does not learn why nothing happens, or commands that only look have to wait.
#[test]
fn who_waits_for_another_is_told_so() {
    let (_root, dir) = deployment();
    let store = Store::open(&dir).unwrap();
    list(&dir);
    let mut child = command("rotate", &dir, &["--identity", "edge-a"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for another owner-keygen") && line.contains("owner"), "{line}");
    assert!(child.try_wait().unwrap().is_none() && list(&dir)["identities"].as_array().unwrap().len() == 2);
    drop(store);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(list(&dir)["identities"].as_array().unwrap().len(), 3);
}
