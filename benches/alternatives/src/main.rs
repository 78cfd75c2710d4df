//! `alternatives`: see docs/alternatives.md.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use twinmask_alternatives::roles::{self, Role};
use twinmask_alternatives::trained::{self, Options};
use twinmask_alternatives::{compare, leakage, untrained};
use twinmask_benches::folders::results_dir;
use twinmask_benches::machine;

/// Large tensors without a page fault for each page; see [`trained::keep_pages`].
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "alternatives", about = "Other ways to offload a network privately, measured beside twinmask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs experiments; those that train go on where they were stopped
    Run {
        /// Which: obfuscator, partition, drift, gradients, onetime, ends, twinmask, payload; all, if none is named
        experiments: Vec<String>,
        #[command(flatten)]
        options: Options,
        /// Trainings at a time, each a process of one thread
        #[arg(long, default_value_t = 2)]
        processes: usize,
    },
    /// One training of an experiment, as `run` starts it
    #[command(hide = true)]
    Job {
        experiment: String,
        name: String,
        #[command(flatten)]
        options: Options,
    },
    /// One table and one page of all results
    Compare {
        /// Folder of the results
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The leakage rule of complement and partition: may these layers be cut from the rest?
    Leakage(leakage::cli::Leakage),
    #[command(flatten)]
    Role(Role),
}

fn main() -> ExitCode {
    done(trained::keep_pages().and_then(|()| machine::clean_environment()).and_then(|()| command()))
}

fn command() -> Result<()> {
    match Cli::parse().command {
        Command::Run { experiments, options, processes } => run(&experiments, options, processes),
        Command::Job { experiment, name, options } => trained::job(experiment, &name, options),
        Command::Compare { out } => compare::run(&out.unwrap_or_else(|| results_dir().join("alternatives"))),
        Command::Leakage(args) => leakage::cli::run(&args),
        Command::Role(role) => roles::play(role),
    }
}

fn done(result: Result<()>) -> ExitCode {
    result.map_or_else(
        |error| {
            eprintln!("alternatives: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// What trains first: the others fill in what rows of those leave out.
fn run(experiments: &[String], options: Options, processes: usize) -> Result<()> {
    let trains = |name: &String| trained::STUDIES.iter().any(|study| study.name() == name);
    let names = |all: Vec<String>| if experiments.is_empty() { all } else { experiments.to_vec() };
    let (training, others): (Vec<String>, Vec<String>) = names(all()).into_iter().partition(trains);
    if let Some(other) = others.iter().find(|name| !untrained::EXPERIMENTS.contains(&name.as_str())) {
        bail!("no experiment '{other}': there are {}", all().join(", "));
    }
    if !training.is_empty() {
        trained::run(&training, options.clone(), processes)?;
    }
    others.iter().try_for_each(|name| untrained::run(name, options.budget, &options.out).map(drop))
}

fn all() -> Vec<String> {
    let trained = trained::STUDIES.iter().map(|study| study.name());
    trained.chain(untrained::EXPERIMENTS).map(str::to_owned).collect()
}
