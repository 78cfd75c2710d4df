//! A process on a fraction of one processor: by a cgroup (version 2, else 1), or where neither can be written by
//! stopping and continuing it in a fixed rhythm.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Shortest quota that the scheduler takes, µs.
const LEAST_QUOTA_US: f64 = 1000.0;
/// Shortest period, µs: short against an inference, so that no inference fits into one quota unnoticed.
const LEAST_PERIOD_US: f64 = 10_000.0;

/// How processes are slowed down here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limiter {
    /// `cpu.max` below this folder.
    Cgroup2(PathBuf),
    /// `cpu.cfs_quota_us` below this folder.
    Cgroup1(PathBuf),
    /// SIGSTOP and SIGCONT.
    Signals,
}

/// A process under a quota; freed when dropped.
pub struct Limited(Hold);

enum Hold {
    Group { folder: PathBuf, parent: PathBuf, pid: u32 },
    Signals { stop: Arc<AtomicBool>, rhythm: Option<JoinHandle<()>> },
}

impl Limiter {
    /// The best that this system allows.
    #[must_use]
    pub fn find() -> Self {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let of_type = |kind: &str, option: &str| {
            let fields = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
            let fitting = fields
                .filter(|f| f.len() > 3 && f[2] == kind && (option.is_empty() || f[3].split(',').any(|o| o == option)));
            fitting.map(|f| PathBuf::from(f[1])).collect::<Vec<_>>()
        };
        for folder in of_type("cgroup2", "") {
            // Children have the controller only once the parent delegates it.
            let _ = std::fs::write(folder.join("cgroup.subtree_control"), "+cpu");
            if works(&folder, "cpu.max") {
                return Self::Cgroup2(folder);
            }
        }
        let first = of_type("cgroup", "cpu").into_iter().find(|f| works(f, "cpu.cfs_quota_us"));
        first.map_or(Self::Signals, Self::Cgroup1)
    }

    /// For results.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Cgroup2(_) => "cgroup v2, cpu.max".to_owned(),
            Self::Cgroup1(_) => "cgroup v1, cpu.cfs_quota_us".to_owned(),
            Self::Signals => "SIGSTOP and SIGCONT in a fixed rhythm (also while the process waits)".to_owned(),
        }
    }

    /// Holds all threads of the process `pid`, a child of this one, to `percent` of one processor together.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn apply(&self, pid: u32, percent: f64) -> Result<Limited> {
        let (quota, period) = quota(percent);
        let hold = match self {
            Self::Cgroup2(parent) => {
                let folder = group(parent)?;
                write(&folder, "cpu.max", &format!("{quota} {period}"))?;
                write(&folder, "cgroup.procs", &pid.to_string())?;
                Hold::Group { folder, parent: parent.clone(), pid }
            }
            Self::Cgroup1(parent) => {
                let folder = group(parent)?;
                write(&folder, "cpu.cfs_period_us", &period.to_string())?;
                write(&folder, "cpu.cfs_quota_us", &quota.to_string())?;
                write(&folder, "cgroup.procs", &pid.to_string())?;
                Hold::Group { folder, parent: parent.clone(), pid }
            }
            Self::Signals => {
                let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("process id")?;
                let stop = Arc::new(AtomicBool::new(false));
                let told = Arc::clone(&stop);
                let (run, pause) = (Duration::from_micros(quota), Duration::from_micros(period - quota));
                let rhythm = std::thread::spawn(move || beat(target, run, pause, &told));
                Hold::Signals { stop, rhythm: Some(rhythm) }
            }
        };
        Ok(Limited(hold))
    }
}

fn beat(target: Pid, run: Duration, pause: Duration, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(run);
        if !pause.is_zero() && kill_process(target, Signal::STOP).is_err() {
            return;
        }
        std::thread::sleep(pause);
        if kill_process(target, Signal::CONT).is_err() {
            return;
        }
    }
}

/// Quota and period for `percent` of one processor, µs.
fn quota(percent: f64) -> (u64, u64) {
    let period = (LEAST_QUOTA_US * 100.0 / percent).max(LEAST_PERIOD_US).round();
    ((period * percent / 100.0).round() as u64, period as u64)
}

/// A new group below `parent`.
fn group(parent: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("twinmask-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = parent.join(name);
    std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

fn works(parent: &Path, file: &str) -> bool {
    let Ok(folder) = group(parent) else { return false };
    let there = folder.join(file).exists();
    let _ = std::fs::remove_dir(&folder);
    there
}

fn write(folder: &Path, file: &str, text: &str) -> Result<()> {
    let path = folder.join(file);
    std::fs::write(&path, text).with_context(|| format!("writing '{text}' to {}", path.display()))
}

impl Drop for Limited {
    fn drop(&mut self) {
        match &mut self.0 {
            Hold::Group { folder, parent, pid } => {
                // A process that has ended is in no group any more.
                let _ = std::fs::write(parent.join("cgroup.procs"), pid.to_string());
                let _ = std::fs::remove_dir(folder);
            }
            Hold::Signals { stop, rhythm } => {
                stop.store(true, Ordering::Relaxed);
                drop(rhythm.take().map(JoinHandle::join));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_the_fraction_asked_for() {
        for (percent, expected) in
            [(100.0, (10_000, 10_000)), (10.0, (1000, 10_000)), (3.0, (1000, 33_333)), (1.0, (1000, 100_000))]
        {
            assert_eq!(quota(percent), expected);
        }
    }

    #[test]
    fn a_stopped_rhythm_leaves_the_process_running() {
        let mut child = std::process::Command::new("sleep").arg("20").spawn().expect("sleep runs");
        let held = Limiter::Signals.apply(child.id(), 10.0).expect("own child");
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it is there");
        assert!(!stat.contains(") T "), "{stat}");
        child.kill().expect("own child");
        child.wait().expect("own child");
    }
}
