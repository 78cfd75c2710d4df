//! An edge as a child process on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Output, Running, command};

/// Time that an edge gets to load its models.
const START: Duration = Duration::from_secs(60);
/// Time that an edge gets to end: 10 s by contract, and slack.
const STOP: Duration = Duration::from_secs(15);

/// A running edge. Ended with SIGTERM when dropped, killed if that does not help.
pub struct Edge {
    process: Running,
    /// UDP address for devices.
    pub address: String,
    /// TCP address for administration.
    pub admin: String,
}

impl Edge {
    /// The command of the edge `name` (`edge-a` or `edge-b`) with the folder `dir` on free ports of loopback.
    #[must_use]
    pub fn command(name: &str, dir: &Path) -> Command {
        Self::command_at(name, dir, "127.0.0.1:0")
    }

    /// The same at the UDP address `listen`.
    #[must_use]
    pub fn command_at(name: &str, dir: &Path, listen: &str) -> Command {
        let mut command = command(crate::binaries::path(name));
        command.arg("--dir").arg(dir).args(["--listen", listen, "--admin", "127.0.0.1:0"]);
        command
    }

    /// Starts an edge and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready.
    #[must_use]
    pub fn start(command: &mut Command) -> Edge {
        Self::try_start(command).unwrap_or_else(|out| panic!("{command:?} ended: {out:?}"))
    }

    /// Starts an edge that may refuse to.
    ///
    /// # Errors
    /// What it left when it ended before it was ready.
    ///
    /// # Panics
    /// If it neither gets ready nor ends.
    pub fn try_start(command: &mut Command) -> Result<Edge, Output> {
        let mut process = Running::start(command);
        let begun = Instant::now();
        loop {
            let stdout = process.stdout();
            if let Some((line, _)) = stdout.split_once('\n') {
                let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("not a ready line: {line}"));
                let address = address.to_owned();
                let admin = ready_field(&process.stderr(), "admin");
                return Ok(Edge { process, address, admin });
            }
            if let Some(output) = process.poll() {
                return Err(output);
            }
            assert!(begun.elapsed() < START, "not ready: {}", process.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its log so far: JSON lines.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// A field of the line that it logged when it was ready.
    #[must_use]
    pub fn ready_field(&self, name: &str) -> String {
        ready_field(&self.log(), name)
    }

    /// Waits until `text` is in its log.
    ///
    /// # Panics
    /// After 20 s.
    #[track_caller]
    pub fn await_log(&self, text: &str) {
        until(&format!("'{text}' in the log"), || self.log().contains(text));
    }

    /// Status and body of a GET request to its administration address.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).expect("the administration address takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a positive time");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.expect("a status line"), body.expect("a body"))
    }

    /// The sum of the samples of a metric.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let samples = text.lines().filter(|l| l.strip_prefix(name).is_some_and(|l| l.starts_with(['{', ' '])));
        samples.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it with SIGTERM; what it left.
    ///
    /// # Panics
    /// If it is still there after 15 s.
    pub fn stop(&mut self) -> Output {
        self.signal(Signal::TERM);
        self.process.wait_mut(STOP)
    }

    /// Ends it as a power cut does.
    ///
    /// # Panics
    /// If it is still there after 15 s.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process.wait_mut(STOP);
    }

    /// Whether it is still running.
    pub fn is_alive(&mut self) -> bool {
        self.process.poll().is_none()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if self.is_alive() && !std::thread::panicking() {
            self.signal(Signal::TERM);
            let begun = Instant::now();
            while self.is_alive() && begun.elapsed() < STOP {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// After 20 s.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "20 s have passed without {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ready_field(log: &str, name: &str) -> String {
    let parsed = log.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let ready = parsed.map(|v| v["fields"].clone()).find(|f| f["message"] == "ready");
    let field = ready.map_or_else(|| panic!("no 'ready' in the log: {log}"), |f| f[name].clone());
    field.as_str().map_or_else(|| field.to_string(), str::to_owned)
}
