//! The program keeps its memory, and with it the CA's key, from core dumps.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn the_owners_tool_dumps_no_core() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let fifo = dir.path().join("model.onnx");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("coreutils").success());
    let mut program = Command::new(env!("CARGO_BIN_EXE_owner-keygen"));
    let mut child = program.arg("inspect").arg(&fifo).stderr(Stdio::null()).spawn().expect("starts");
    // It has opened the pipe once this returns, and waits for bytes.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&fifo).expect("somebody reads");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
    let _ = pipe.write_all(b"no model");
    drop(pipe);
    child.wait().expect("ends");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(cores.split_ascii_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{cores}");
}
