//! The arrows of ARCHITECTURE.md, and what the shipped programs are made of.

use std::collections::BTreeSet;
use std::path::Path;

use twinmask_tests::binaries::{cargo, path, workspace};
use twinmask_tests::imports::{Imports, sources};

/// Names of all packages that `package` is built from, itself included, dev and build dependencies left out.
fn tree(package: &str) -> BTreeSet<String> {
    let out = cargo()
        .args(["tree", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}", "-p", package])
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let names: BTreeSet<String> = text.lines().filter_map(|l| l.split(' ').next().map(str::to_owned)).collect();
    assert!(names.contains(package), "{names:?}");
    names
}

#[track_caller]
fn check_free(package: &str, of: &[&str]) {
    let tree = tree(package);
    for name in of {
        assert!(!tree.contains(*name), "{package} depends on {name}");
    }
}

const IMPORTER: [&str; 3] = ["rten-onnx", "twinmask-onnx", "twinmask-owner-keygen"];
const BLAS: [&str; 3] = ["blas-src", "openblas-src", "ndarray"];
const ASYNC: [&str; 3] = ["tokio", "quinn", "quinn-proto"];

/// If this fails, an edge's program holds the code that handles device secrets, or the importer.
#[test]
fn edges_know_no_device_secrets() {
    for edge in ["twinmask-edge-a", "twinmask-edge-b"] {
        check_free(edge, &["twinmask-masking", "twinmask-device"]);
        check_free(edge, &IMPORTER);
        assert!(tree(edge).contains("openblas-src"), "{edge} has lost its BLAS kernel");
    }
}

/// If this fails, the protocol cannot be used or tested without an async runtime.
#[test]
fn the_protocol_has_no_runtime() {
    for package in ["ring", "codec", "layer", "kernels", "model", "exec", "onnx", "masking", "wire"] {
        check_free(&format!("twinmask-{package}"), &ASYNC);
    }
    assert!(tree("twinmask-transport").contains("quinn"), "the names have changed, so nothing was checked");
}

/// If this fails, hostile ONNX files reach programs that are online.
#[test]
fn only_the_owner_reads_onnx() {
    for package in [
        "ring",
        "codec",
        "layer",
        "kernels",
        "model",
        "exec",
        "masking",
        "wire",
        "transport",
        "settings",
        "edge",
        "device",
        "edge-a",
        "edge-b",
    ] {
        check_free(&format!("twinmask-{package}"), &IMPORTER);
    }
    let owner = tree("twinmask-owner-keygen");
    assert!(IMPORTER.iter().all(|name| owner.contains(*name)), "the names have changed, so nothing was checked");
}

/// If this fails, a device needs a BLAS library.
#[test]
fn the_device_has_no_blas() {
    check_free("twinmask-device", &BLAS);
    check_free("twinmask-device", &["twinmask-edge"]);
}

/// If this fails, crates depend on each other in ways that ARCHITECTURE.md does not know.
#[test]
fn arrows() {
    let allowed: [(&str, &[&str]); 16] = [
        ("twinmask-ring", &[]),
        ("twinmask-codec", &["ring"]),
        ("twinmask-layer", &[]),
        ("twinmask-heap", &[]),
        ("twinmask-kernels", &["ring", "layer"]),
        ("twinmask-openblas", &["ring", "layer", "kernels"]),
        ("twinmask-model", &["ring", "codec", "layer"]),
        ("twinmask-exec", &["ring", "codec", "layer", "kernels", "model"]),
        ("twinmask-onnx", &["ring", "codec", "layer", "model"]),
        ("twinmask-masking", &["ring", "codec", "layer", "kernels", "model"]),
        ("twinmask-wire", &["ring", "codec"]),
        ("twinmask-transport", &["ring", "codec", "wire"]),
        ("twinmask-settings", &["ring", "codec", "wire", "transport"]),
        ("twinmask-edge", &["ring", "codec", "layer", "kernels", "model", "wire", "transport", "settings", "heap"]),
        (
            "twinmask-device",
            &["ring", "codec", "layer", "kernels", "model", "exec", "masking", "wire", "transport", "settings"],
        ),
        (
            "twinmask-owner-keygen",
            &["ring", "codec", "layer", "kernels", "model", "onnx", "masking", "wire", "transport"],
        ),
    ];
    for (package, below) in allowed {
        let expected: BTreeSet<String> =
            below.iter().map(|b| format!("twinmask-{b}")).chain([package.to_owned()]).collect();
        let found: BTreeSet<String> = tree(package).into_iter().filter(|n| n.starts_with("twinmask-")).collect();
        assert!(found.is_subset(&expected), "{package} depends on {found:?}");
    }
}

/// If this fails, two files can only be understood together.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources(workspace());
    let imports = Imports::of(&sources);
    let (files, pairs) = (imports.files().len(), imports.pairs());
    assert!(files > 150 && pairs > 300, "only {files} files with {pairs} imports were found");
    let unread: Vec<_> = sources.keys().filter(|f| !imports.files().contains(*f) && !f.contains("test")).collect();
    assert!(unread.is_empty(), "no module leads to {unread:?}");
    let circles = imports.circles();
    assert!(circles.is_empty(), "{} circles:\n{}", circles.len(), circles.join("\n\n"));
}

fn manifests(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && name != "fuzz" && !name.to_string_lossy().starts_with('.') {
            manifests(&path, found);
        } else if name == "Cargo.toml" {
            found.push(path);
        }
    }
}

/// If this fails, `unsafe` may appear outside of its one room.
#[test]
fn unsafe_code_lives_in_one_room() {
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace's manifest");
    assert!(root.contains("unsafe_code = \"forbid\""));
    let mut found = Vec::new();
    manifests(workspace(), &mut found);
    assert!(found.len() >= 12, "{found:?}");
    let rooms = ["", "common/kernels/", "common/openblas/", "common/heap/"];
    let exempt = rooms.map(|room| workspace().join(room).join("Cargo.toml"));
    for manifest in found.iter().filter(|m| !exempt.contains(m)) {
        let text = std::fs::read_to_string(manifest).expect("a manifest");
        // A workspace of its own has nothing to take them from.
        let own = text.contains("\n[workspace]\n") && text.contains("unsafe_code = \"forbid\"");
        assert!(
            own || text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            manifest.display()
        );
    }
}

/// If this fails, the two edges are no longer one program with two names.
#[test]
fn the_edges_mains_are_short() {
    for edge in ["edge-a", "edge-b"] {
        let sources: Vec<_> =
            std::fs::read_dir(workspace().join(edge).join("src")).expect("sources").flatten().collect();
        assert_eq!(sources.len(), 1, "{edge} has more than main.rs");
        let text = std::fs::read_to_string(sources[0].path()).expect("main.rs");
        assert!(text.lines().count() < 30 && text.contains("twinmask_edge::run"), "{edge}");
    }
}

/// If this fails, the device's program is too large for a small device, or links BLAS.
#[test]
fn the_device_is_small() {
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace's manifest");
    assert!(root.contains("strip = true"), "what is shipped is not stripped");
    let bytes = std::fs::read(path("device")).expect("the device's program");
    assert!(bytes.len() <= 7_600_000, "{} bytes", bytes.len());
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(!holds(b"libopenblas") && !holds(b"cblas_dgemm"), "the device links BLAS");
    assert!(holds(b"twinmask/2"), "this is not the device's program");
}
