//! Folders that nobody can write to, not even the superuser that tests may run as, and disks that are full.

use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "TWINMASK_MOUNTED";

/// Runs the rest of the test called `test` in a process of its own that sees `folder` read-only: returns it there, and
/// nothing in this process, where the test is to end. Where no folder can be mounted, the test is skipped by name.
///
/// # Panics
/// If it fails there.
#[must_use]
pub fn read_only(test: &str, folder: impl FnOnce() -> PathBuf) -> Option<PathBuf> {
    mounted(test, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"", folder)
}

/// The same with `folder` on a disk of its own of `mb` MiB.
///
/// # Panics
/// If it fails there.
#[must_use]
pub fn small_disk(test: &str, mb: u32, folder: impl FnOnce() -> PathBuf) -> Option<PathBuf> {
    let mount = format!("mount -t tmpfs -o size={mb}m,mode=700 tmpfs \"$0\"");
    // What is in it moves there: the mount hides it.
    let copy = format!("mkdir \"$0.old\" && cp -a \"$0/.\" \"$0.old\" && {mount} && cp -a \"$0.old/.\" \"$0\"");
    mounted(test, &copy, folder)
}

fn mounted(test: &str, mount: &str, folder: impl FnOnce() -> PathBuf) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder: PathBuf = folder().components().collect(); // without a slash at its end
    let script = format!("{mount} && exec \"$@\"");
    let unshared = |script: &str, program: &Path, args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(&folder).arg(program).args(args).env(FOLDER, &folder).output()
    };
    let trial = "mount --bind \"$0\" \"$0\" && exec \"$@\"";
    if !unshared(trial, Path::new("true"), &[]).is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: {test}: no right to mount a folder");
        return None;
    }
    let program = std::env::current_exe().expect("a test knows its own path");
    let out = unshared(&script, &program, &["--exact", test, "--nocapture"]).expect("runs");
    let text = [out.stdout, out.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    None
}
