//! The program keeps its memory, and with it the device's keys, from core dumps.
#![cfg(all(target_os = "linux", feature = "cli"))]

use std::process::{Command, Stdio};

use twinmask_testkit::InMemory;

#[test]
fn the_device_dumps_no_core() {
    let deployment = InMemory::lenet();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("bound").to_string();
    let mut program = Command::new(env!("CARGO_BIN_EXE_device"));
    program.arg("--dir").arg(deployment.device_dir()).args(["--edge-a", &address, "--edge-b", &address, "bench"]);
    let mut child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let mut datagram = [0; 2048];
    silent.recv_from(&mut datagram).expect("it calls, and waits for an answer");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
    child.kill().expect("it runs");
    child.wait().expect("ends");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(cores.split_ascii_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{cores}");
}
