//! A process that keeps its memory to itself, seen from outside.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{DumpableBehavior, Resource, Rlimit, dumpable_behavior, setrlimit};
use twinmask_transport::keep_memory;

/// Tells this test to be the child; says whether memory may be locked without limit.
const CHILD: &str = "TWINMASK_TEST_CHILD_MAY_LOCK";

/// Not a test: what the child process runs.
#[test]
#[ignore = "what the other test here starts as a process"]
fn child() {
    let Ok(may_lock) = std::env::var(CHILD) else { return };
    let limit = if may_lock == "true" { None } else { Some(1 << 16) };
    let set = setrlimit(Resource::Memlock, Rlimit { current: limit, maximum: limit });
    let kept = keep_memory().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    println!("\nchild {} {}", set.is_ok(), kept.locked);
    std::thread::park();
}

fn start(may_lock: bool) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--ignored", "--nocapture"]).env(CHILD, may_lock.to_string());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.find_map(|line| line.unwrap().strip_prefix("child ").map(str::to_owned));
    (child, said.expect("the child says how it is"))
}

fn of(child: &Child, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned()
}

#[test]
fn memory_is_kept() {
    for may_lock in [false, true] {
        let (mut child, said) = start(may_lock);
        let limits = of(&child, "limits", "Max core file size");
        let locked = of(&child, "status", "VmLck:");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(limits.split_ascii_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
        match (may_lock, said.as_str()) {
            (false, "true false") => assert_eq!(locked, "0 kB"),
            (true, "true true") => assert_ne!(locked, "0 kB"),
            (true, "false false") => println!("not tested: this user may not lift RLIMIT_MEMLOCK"),
            other => panic!("{other:?}, {locked}"),
        }
    }
}
