//! Jobs of an experiment: each one process of one thread, so many at a time; a finished one is not run again.

use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::prelude::Device;
use serde_json::Value;
use twinmask_benches::machine::Machine;

use super::{Run, checkpoint, cpu_seconds};
use crate::{report, results::Experiment};

/// One training, or a few that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name in the experiment.
    pub name: String,
    /// Names of jobs whose results it reads.
    pub needs: Vec<String>,
}

impl Job {
    /// A job.
    pub fn new(name: impl Into<String>, needs: &[&str]) -> Self {
        Self { name: name.into(), needs: needs.iter().map(|&n| n.to_owned()).collect() }
    }
}

/// An experiment that trains.
pub trait Study {
    /// Name on the command line and of its results.
    fn name(&self) -> &'static str;

    /// Minutes on two cores that budget `normal` allows it.
    fn minutes(&self) -> u32;

    /// Its jobs; one comes after those that it needs.
    fn jobs(&self, run: &Run) -> Vec<Job>;

    /// Runs one job; what it gives is kept.
    ///
    /// # Errors
    /// When data are missing or files cannot be written.
    fn job(&self, run: &Run, name: &str) -> Result<Value>;

    /// Rows, tables, pictures and differences, from what the jobs gave.
    ///
    /// # Errors
    /// When a job is not done or pictures cannot be written.
    fn report(&self, run: &Run, found: &mut Experiment) -> Result<()>;
}

/// Runs what is not done of `studies`, with at most `processes` trainings at a time, and writes their results.
///
/// # Errors
/// When a job fails; those that were done stay so.
pub fn run_all(studies: &[&dyn Study], run: &Run, processes: usize) -> Result<()> {
    for study in studies {
        let jobs = study.jobs(run);
        run_jobs(study.name(), &jobs, run, processes.max(1))?;
        let seconds = jobs.iter().map(|j| Ok(run.outcome::<Value>(study.name(), &j.name)?.0));
        let seconds = seconds.sum::<Result<f64>>()?;
        let mut found = report::empty(study.name(), run.seed, run.budget, Machine::here().line(), seconds);
        std::fs::create_dir_all(&run.out).with_context(|| run.out.display().to_string())?;
        study.report(run, &mut found)?;
        found.write(&run.out)?;
        report::markdown(&found, &run.out)?;
        let (spent, allowed) = (seconds / 120.0, study.minutes());
        eprintln!("{}: {spent:.1} minutes of two cores (normal: {allowed}); {}", study.name(), run.out.display());
    }
    Ok(())
}

fn run_jobs(study: &str, jobs: &[Job], run: &Run, processes: usize) -> Result<()> {
    let done = |job: &str| run.result_path(study, job).exists();
    let mut running: Vec<(String, Child)> = Vec::new();
    let mut failed = None;
    loop {
        for (name, child) in &mut running {
            let status = child.try_wait().with_context(|| format!("{study} {name}"))?;
            failed = failed.or(status.filter(|s| !s.success()).map(|s| format!("{study} {name}: {s}")));
        }
        running.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
        let next = jobs.iter().find(|j| {
            !done(&j.name) && j.needs.iter().all(|n| done(n)) && running.iter().all(|(name, _)| *name != j.name)
        });
        match (next, &failed) {
            (Some(job), None) if running.len() < processes => {
                running.push((job.name.clone(), start(study, &job.name, run)?));
            }
            _ if running.is_empty() => break,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    if let Some(failed) = failed {
        bail!("{failed}; what was done is kept: the same command goes on");
    }
    let open: Vec<_> = jobs.iter().filter(|j| !done(&j.name)).map(|j| &j.name).collect();
    ensure!(open.is_empty(), "{study}: nothing gives what these need: {open:?}");
    Ok(())
}

fn start(study: &str, job: &str, run: &Run) -> Result<Child> {
    let program = std::env::current_exe().context("this program's own path")?;
    let folders = [("--data", &run.data), ("--out", &run.out), ("--work", &run.work)];
    let mut command = Command::new(program);
    command.args(["job", study, job, "--budget", &run.budget.to_string(), "--seed", &run.seed.to_string()]);
    for (flag, path) in folders {
        command.arg(flag).arg(path);
    }
    command.spawn().with_context(|| format!("starting {study} {job}"))
}

/// Runs one job in this process and keeps what it gives.
///
/// # Errors
/// When there is no such job, or what it gives.
pub fn run_job(study: &dyn Study, run: &Run, name: &str) -> Result<()> {
    let known = study.jobs(run).into_iter().any(|j| j.name == name);
    known.then_some(()).ok_or_else(|| anyhow!("{} has no job {name}", study.name()))?;
    let path = run.result_path(study.name(), name);
    let folder = path.parent().context("a folder")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    // Weights are drawn from the device's generator; jobs differ by name.
    Device::flex().seed(rand::Rng::random(&mut run.rng(&format!("{}/{name}", study.name()))));
    let value = study.job(run, name)?;
    checkpoint::write(&path, &(cpu_seconds() + run.restored.get(), value))
}
