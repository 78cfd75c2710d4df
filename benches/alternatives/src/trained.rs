//! The experiments that train, as the command line starts them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::budget::Budget;
use crate::data;
use crate::drift::study::Study2;
use crate::gradients::study::Study4;
use crate::obfuscator::study::Study1;
use crate::partition::study::Study3;
use crate::train::{Run, Study, run_all, run_job};

/// All of them, in the order in which they are run.
pub const STUDIES: [&dyn Study; 4] = [&Study1, &Study3, &Study2, &Study4];

/// What a run is given.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How much is trained.
    #[arg(long, value_enum, default_value = "normal")]
    pub budget: Budget,
    /// Everything random comes from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The data folder of what trains; the rest goes by `TWINMASK_DATA`.
    #[arg(long, default_value_os_t = data::folder())]
    pub data: PathBuf,
    /// Where results go.
    #[arg(long, default_value_os_t = here("../results/alternatives"))]
    pub out: PathBuf,
    /// Where checkpoints and results of single trainings are kept.
    #[arg(long, default_value_os_t = here("target/runs"))]
    pub work: PathBuf,
}

impl Options {
    fn run(self) -> Run {
        let Self { budget, seed, data, out, work } = self;
        Run { data, out, work, budget, seed, restored: 0.0.into() }
    }
}

/// Trains what is not trained yet of the experiments `names` (all, if there are none), with at most `processes`
/// trainings at a time, and writes their results.
///
/// # Errors
/// When a name is of no experiment, data are missing, or files cannot be written.
pub fn run(names: &[String], options: Options, processes: usize) -> Result<()> {
    run_all(&chosen(names)?, &options.run(), processes)
}

/// One training of an experiment, as [`run`] starts it in a process of its own.
///
/// # Errors
/// As [`run`].
pub fn job(experiment: String, name: &str, options: Options) -> Result<()> {
    run_job(chosen(&[experiment])?[0], &options.run(), name)
}

fn chosen(names: &[String]) -> Result<Vec<&'static dyn Study>> {
    let known: Vec<_> = STUDIES.iter().map(|s| s.name()).collect();
    if let Some(other) = names.iter().find(|n| !known.contains(&n.as_str())) {
        bail!("no experiment {other} trains; {} do", known.join(", "));
    }
    Ok(STUDIES.into_iter().filter(|s| names.is_empty() || names.iter().any(|n| n == s.name())).collect())
}

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Starts this program anew with mimalloc told to keep freed pages (a third of the time of training): it reads its
/// environment before `main`. Call this first.
///
/// # Errors
/// When the program cannot be started anew.
pub fn keep_pages() -> Result<()> {
    const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut command = std::process::Command::new(std::env::current_exe().context("this program's own path")?);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, "-1");
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(error).context("starting this program anew")
}
