//! Child processes with a deadline, and what they took.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(5);

/// A command of `words` (a program and its arguments) without this shell's `TWINMASK_*` settings, with one BLAS thread.
///
/// # Panics
/// If there are no words.
#[must_use]
pub fn command<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new(words.first().expect("a program"));
    command.args(&words[1..]);
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("TWINMASK_")) {
        command.env_remove(name);
    }
    command.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE").env("OPENBLAS_NUM_THREADS", "1");
    command
}

/// A process that is killed when dropped.
pub struct Guard(Child);

impl Guard {
    /// Starts `command`, whose standard output goes nowhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("{command:?}"))?))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` to its end and returns its standard output, one line of JSON.
///
/// # Errors
/// When it fails or takes longer than `deadline`; it is killed then.
pub fn json(command: &mut Command, deadline: Duration) -> Result<serde_json::Value> {
    let what = format!("{command:?}");
    let files = tempfile::tempdir()?;
    let file = |name| std::fs::File::create(files.path().join(name));
    let child = command.stdin(Stdio::null()).stdout(file("out")?).stderr(file("err")?).spawn();
    let mut child = Guard(child.with_context(|| what.clone())?);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if begun.elapsed() > deadline {
            bail!("{what} takes longer than {deadline:?}");
        }
        std::thread::sleep(TICK);
    };
    let read = |name| std::fs::read_to_string(files.path().join(name)).unwrap_or_default();
    if !status.success() {
        let said = read("err");
        eprintln!("{what}: {status}");
        bail!("{}", said.trim().lines().last().unwrap_or("it ended without a word"));
    }
    let out = read("out");
    serde_json::from_str(out.trim()).with_context(|| format!("{what} said {out:?}"))
}

/// Largest resident set so far of the process `pid` (`self`: this one), MB; 0 where the system does not tell.
#[must_use]
pub fn peak_rss_mb(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.trim().strip_suffix(" kB")).and_then(|n| n.trim().parse::<f64>().ok());
    (kb.unwrap_or(0.0) / 1024.0 * 10.0).round() / 10.0
}
