//! Child processes that cannot hang a test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(5);

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Itself, having ended with `code`.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Output {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Itself, having ended well.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn expect_ok(self) -> Output {
        self.expect_code(0)
    }

    /// Itself, having ended with `code` and an error text in which all of `words` occur.
    ///
    /// # Panics
    /// If it ended otherwise or said something else, or panicked.
    #[track_caller]
    pub fn expect_error(self, code: i32, words: &[&str]) -> Output {
        let out = self.expect_code(code);
        for word in words {
            assert!(out.stderr.contains(word), "'{word}' is not in: {}", out.stderr);
        }
        assert!(!out.stderr.contains("panicked"), "{}", out.stderr);
        out
    }

    /// The lines of standard output as JSON.
    ///
    /// # Panics
    /// If one is none.
    #[must_use]
    pub fn json(&self) -> Vec<serde_json::Value> {
        let parse = |l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in {l}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// `program` without the `TWINMASK_*` variables of whoever runs the tests.
#[must_use]
pub fn command(program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TWINMASK_") {
            command.env_remove(name);
        }
    }
    command
}

/// A child process whose output goes to files. Killed when dropped.
pub struct Running {
    child: Child,
    files: TempDir,
    what: String,
}

impl Running {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Running {
        let files = tempfile::tempdir().expect("temporary folder");
        let file = |name| File::create(files.path().join(name)).expect("temporary file");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Running { child, files, what: format!("{command:?}") }
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.files.path().join(name)).expect("temporary file")).into_owned()
    }

    /// Its output, if it has ended.
    pub fn poll(&mut self) -> Option<Output> {
        let status = self.child.try_wait().expect("own child")?;
        Some(Output { code: status.code(), stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After `deadline`, with what it has said; it is killed then.
    pub fn wait(mut self, deadline: Duration) -> Output {
        self.wait_mut(deadline)
    }

    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_mut(&mut self, deadline: Duration) -> Output {
        let begun = Instant::now();
        loop {
            if let Some(output) = self.poll() {
                return output;
            }
            if begun.elapsed() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("{} ran over {deadline:?}\nstdout:\n{}\nstderr:\n{}", self.what, self.stdout(), self.stderr());
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// After `deadline`.
pub fn run(command: &mut Command, deadline: Duration) -> Output {
    Running::start(command).wait(deadline)
}
