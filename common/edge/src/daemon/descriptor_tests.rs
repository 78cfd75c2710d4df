//! An edge in a process of its own that may have few descriptors.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use twinmask_kernels::Kernels;
use twinmask_transport::{Client, TransportLimits};

use super::cli;
use super::daemon_tests::{Certified, Deployment};
use crate::{Role, Settings};

/// Says the edge's folder to the test that is the child.
const FOLDER: &str = "TWINMASK_TEST_FOLDER_OF_CHILD";
const DESCRIPTORS: u64 = 64;
const SOON: Duration = Duration::from_secs(15);

/// Not a test: what the child process runs.
#[test]
#[ignore = "what the other tests here start as a process"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let limit = Rlimit { current: Some(DESCRIPTORS), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).expect("lowers its own limit");
    let settings = Settings {
        dir: Some(folder.into()),
        listen: Some("127.0.0.1:0".to_owned()),
        admin: Some("127.0.0.1:0".to_owned()),
        ..Settings::default()
    };
    cli::serve(settings, Role::B, &Kernels::native()).expect("serves until it is told to end");
}

/// A child process, killed when dropped.
struct Edge {
    child: Child,
    addr: String,
    admin: SocketAddr,
}

impl Edge {
    fn start(folder: &Path) -> Edge {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["daemon::descriptor_tests::child", "--exact", "--ignored", "--nocapture"]);
        let mut child =
            command.env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let ready = log.by_ref().map_while(Result::ok).find(|line| line.contains("\"ready\"")).expect("gets ready");
        let field = |name: &str| {
            let value = ready.split_once(&format!("\"{name}\":\"")).expect("a field of the log").1;
            value.split('"').next().expect("its end").to_owned()
        };
        let (addr, admin) = (field("addr"), field("admin").parse().expect("an address"));
        std::thread::spawn(move || log.for_each(drop)); // so that the child does not wait for a reader
        Edge { child, addr, admin }
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: edge\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn reload(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id")).expect("not 0");
        kill_process(pid, Signal::HUP).expect("it runs");
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_requests_leave_descriptors_for_a_revocation() {
    let deployment = Deployment::new();
    let edge = Edge::start(deployment.b.path());
    let dial = async || {
        let (to, limits) = (Certified::EdgeB, TransportLimits::lan());
        Client::connect(&edge.addr, &to, &deployment.device, &limits, SOON).await
    };
    let connection = dial().await.expect("known");

    let mut half_sent = Vec::new();
    for _ in 0..3 * DESCRIPTORS {
        let mut stream = TcpStream::connect_timeout(&edge.admin, SOON).expect("connects");
        let _ = stream.write_all(b"GET /livez HTT");
        half_sent.push(stream);
    }
    let begun = Instant::now();
    let answer = edge.get("/livez").expect("is answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    println!("/livez beside {} half-sent requests: {:?}", half_sent.len(), begun.elapsed());

    deployment.authority.revoke(&deployment.device, &deployment.b.path().join("identity"));
    edge.reload();
    let reason = tokio::time::timeout(SOON, connection.closed()).await.expect("is shown out").to_string();
    assert!(reason.contains("was revoked by the owner"), "{reason}");
    let refused = dial().await.expect_err("revoked").to_string();
    assert!(refused.contains("was revoked by the owner"), "{refused}");
    drop(half_sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_dumps_no_core() {
    let deployment = Deployment::new();
    let edge = Edge::start(deployment.b.path());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", edge.child.id())).expect("it runs");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(cores.split_ascii_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{cores}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_sent_request_is_given_up() {
    let deployment = Deployment::new();
    let edge = Edge::start(deployment.b.path());
    let mut stream = TcpStream::connect_timeout(&edge.admin, SOON).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").expect("writes");
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    for (path, status) in [("/readyz", "200"), ("/metrics", "200"), ("/nothing", "404")] {
        let answer = edge.get(path).expect("is answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}
