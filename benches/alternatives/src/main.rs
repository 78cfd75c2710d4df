//! `alternatives`: trains, attacks and measures other ways to offload a network privately.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use twinmask_alternatives::data::default_folder;
use twinmask_alternatives::gradients::Study4;
use twinmask_alternatives::obfuscator::Study1;
use twinmask_alternatives::partition::Study3;
use twinmask_alternatives::train::{Budget, Run, Study, run_all, run_job};

/// Large tensors without a page fault for each page; see [`keep_pages`].
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains what is not trained yet, attacks it, and writes results.
    Run {
        /// Which experiments: obfuscator, drift, partition, gradients. All, if none is named.
        experiments: Vec<String>,
        #[command(flatten)]
        options: Options,
        /// Trainings at a time, each a process of one thread.
        #[arg(long, default_value_t = 2)]
        processes: usize,
    },
    /// One training of an experiment, as `run` starts it.
    #[command(hide = true)]
    Job {
        experiment: String,
        name: String,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args)]
struct Options {
    /// How much is trained.
    #[arg(long, value_enum, default_value = "normal")]
    budget: Budget,
    /// Everything random comes from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The data folder.
    #[arg(long, env = "TWINMASK_DATA", default_value_os_t = default_folder())]
    data: PathBuf,
    /// Where results go.
    #[arg(long, default_value_os_t = here("../results/alternatives"))]
    out: PathBuf,
    /// Where checkpoints and results of single trainings are kept.
    #[arg(long, default_value_os_t = here("target/runs"))]
    work: PathBuf,
}

impl Options {
    fn run(self) -> Run {
        let Self { budget, seed, data, out, work } = self;
        Run { data, out, work, budget, seed, restored: 0.0.into() }
    }
}

const STUDIES: [&dyn Study; 3] = [&Study1, &Study3, &Study4];

fn main() -> Result<()> {
    keep_pages()?;
    match Cli::parse().command {
        Command::Run { experiments, options, processes } => run_all(&chosen(&experiments)?, &options.run(), processes),
        Command::Job { experiment, name, options } => run_job(chosen(&[experiment])?[0], &options.run(), &name),
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static dyn Study>> {
    let known: Vec<_> = STUDIES.iter().map(|s| s.name()).collect();
    if let Some(other) = names.iter().find(|n| !known.contains(&n.as_str())) {
        bail!("no experiment {other}; there are {}", known.join(", "));
    }
    Ok(STUDIES.into_iter().filter(|s| names.is_empty() || names.iter().any(|n| n == s.name())).collect())
}

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Starts this program anew with mimalloc told to keep freed pages: it reads its environment before `main`.
fn keep_pages() -> Result<()> {
    const VARIABLE: &str = "MIMALLOC_PURGE_DELAY";
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut command = std::process::Command::new(std::env::current_exe().context("this program's own path")?);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, "-1");
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(error).context("starting this program anew")
}
