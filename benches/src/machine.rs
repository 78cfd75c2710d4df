//! What a benchmark ran on, and a process environment fit for measuring.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::folders::workspace;

/// Variables that make OpenBLAS run another CPU's code, or in threads of its own.
const CLEARED: [&str; 2] = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

/// Starts this program anew, without the variables that distort OpenBLAS and with one BLAS thread, if they are not so
/// already: the library reads them before `main`. Call this first.
///
/// # Errors
/// When the program cannot be started anew.
pub fn clean_environment() -> Result<()> {
    let clean = CLEARED.iter().all(|v| std::env::var_os(v).is_none());
    if clean && std::env::var("OPENBLAS_NUM_THREADS").is_ok_and(|n| n == "1") {
        return Ok(());
    }
    let mut command = Command::new(std::env::current_exe().context("this program's own path")?);
    for variable in CLEARED {
        command.env_remove(variable);
    }
    let error = command.args(std::env::args_os().skip(1)).env("OPENBLAS_NUM_THREADS", "1").exec();
    Err(error).context("starting this program anew")
}

/// Keeps this thread, and all threads and processes that it starts from now on, to `processors`.
///
/// # Errors
/// When one of them is not there.
pub fn keep_to(processors: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    processors.iter().for_each(|&i| set.set(i));
    sched_setaffinity(None, &set).with_context(|| format!("processors {processors:?}"))
}

/// Calls `start` with this thread kept to `processors`: the programs that it starts stay there.
///
/// # Errors
/// When one of them is not there, or what `start` gives.
pub fn on<T>(processors: &[usize], start: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = processors_allowed()?;
    keep_to(processors)?;
    let started = start();
    keep_to(&before)?;
    started
}

/// The processors that this thread may use.
///
/// # Errors
/// When the system does not tell.
pub fn processors_allowed() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("processors of this thread")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&i| allowed.is_set(i)).collect())
}

/// The last processor, which the system itself uses least, and the others.
///
/// # Errors
/// When the system does not tell.
pub fn last_and_others() -> Result<(usize, Vec<usize>)> {
    let mut all = processors_allowed()?;
    let last = all.pop().context("no processor")?;
    Ok((last, all))
}

/// A description for the head of every result.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// CPU model name.
    pub cpu: String,
    /// CPU family, model and stepping: the name alone does not tell generations apart on some hosts.
    pub cpu_id: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Instruction sets that kernels of this project look for.
    pub instructions: Vec<String>,
    /// Kernels of this build on this CPU.
    pub kernels: Vec<&'static str>,
    /// What OpenBLAS detected by itself.
    pub openblas_core: String,
    /// Operating system and version.
    pub system: String,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// One-minute load average when the benchmark began: near 0 on an idle machine.
    pub load: f64,
    /// Commit that was built, with `+` when files were changed since.
    pub commit: String,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn here() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|l| l.split(':').next().is_some_and(|k| k.trim() == name));
            line.and_then(|l| l.split_once(':')).map_or_else(|| "?".to_owned(), |(_, v)| v.trim().to_owned())
        };
        let flags = field("flags");
        let wanted = ["avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512vbmi", "aes", "vaes"];
        let proc = |file: &str| std::fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
        let first = |text: String| text.split_whitespace().next().and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0);
        let total = proc("meminfo").lines().find_map(|l| l.strip_prefix("MemTotal:").map(str::to_owned));
        Self {
            cpu: field("model name"),
            cpu_id: format!("family {} model {} stepping {}", field("cpu family"), field("model"), field("stepping")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: wanted
                .iter()
                .filter(|w| flags.split(' ').any(|f| f == **w))
                .map(ToString::to_string)
                .collect(),
            kernels: crate::kernels().names(),
            openblas_core: twinmask_openblas::corename(),
            system: format!("{} {}", proc("sys/kernel/ostype").trim(), proc("sys/kernel/osrelease").trim()),
            memory_gib: (first(total.unwrap_or_default()) / 104_857.6).round() / 10.0,
            load: first(proc("loadavg")),
            commit: commit(),
        }
    }

    /// One paragraph for people.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} ({}), {} cores, {} GiB, {}; {}; OpenBLAS core {}; load before {:.2}; commit {}",
            self.cpu,
            self.cpu_id,
            self.cores,
            self.memory_gib,
            self.system,
            self.instructions.join(" "),
            self.openblas_core,
            self.load,
            self.commit
        )
    }
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).current_dir(workspace()).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    head + if changed { "+" } else { "" }
}
