//! Folders that nobody can write to, not even the superuser that tests may run as.

use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "TWINMASK_READ_ONLY";

/// Runs the rest of the test called `test` in a process of its own that sees `folder` read-only: returns it there, and
/// nothing in this process, where the test is to end. Where no folder can be mounted, the test is skipped by name.
///
/// # Panics
/// If it fails there.
#[must_use]
pub fn read_only(test: &str, folder: impl FnOnce() -> PathBuf) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = folder();
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let unshared = |program: &Path, args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", mount]).arg(&folder).arg(program).args(args).env(FOLDER, &folder).output()
    };
    if !unshared(Path::new("true"), &[]).is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: {test}: no right to mount a folder");
        return None;
    }
    let program = std::env::current_exe().expect("a test knows its own path");
    let out = unshared(&program, &["--exact", test, "--nocapture"]).expect("runs");
    let text = [out.stdout, out.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    None
}
