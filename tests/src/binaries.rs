//! The four programs, built as they are shipped. While a test is being written, `TWINMASK_TEST_PROFILE=dev` has them
//! sooner.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the program `name` is; builds all four first (nothing happens when they are fresh).
///
/// `TWINMASK_TEST_DEVICE` names another device to be tested (`make arm`).
#[must_use]
pub fn path(name: &str) -> PathBuf {
    if let (Some(device), "device") = (std::env::var_os("TWINMASK_TEST_DEVICE"), name) {
        return device.into();
    }
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let target = target_dir();
        let sooner = std::env::var_os("TWINMASK_TEST_PROFILE").is_some_and(|p| p == "dev");
        let (profile, folder) = if sooner { ("dev", "debug") } else { ("release", "release") };
        build(&target, profile);
        target.join(folder)
    });
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// Cargo in the workspace, without what `cargo test` sets for this very package: build scripts watch some of it.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// `target/`, from the test's own `target/PROFILE/deps/NAME`.
pub(crate) fn target_dir() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    own.ancestors().nth(3).expect("a test lies in target/PROFILE/deps").into()
}

/// As `make build` does.
fn build(target: &Path, profile: &str) {
    let mut command = cargo();
    command.args(["build", "--profile", profile, "--quiet", "--target-dir"]).arg(target);
    for program in ["owner-keygen", "edge-a", "edge-b", "device"] {
        command.args(["-p", &format!("twinmask-{program}")]);
    }
    let out = command.args(["--features", "twinmask-device/cli"]).output().expect("cargo runs");
    assert!(out.status.success(), "cargo build:\n{}", String::from_utf8_lossy(&out.stderr));
}
