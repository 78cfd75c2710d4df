//! `alternatives`: trains, attacks and measures other ways to offload a network privately.

use anyhow::Result;
use clap::{Parser, Subcommand};
use twinmask_alternatives::trained::{self, Options};

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
    /// Trains what is not trained yet, attacks it, and writes results; goes on where it was stopped.
    Run {
        /// Which experiments: obfuscator, partition, drift, gradients; all, if none is named.
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

fn main() -> Result<()> {
    trained::keep_pages()?;
    match Cli::parse().command {
        Command::Run { experiments, options, processes } => trained::run(&experiments, options, processes),
        Command::Job { experiment, name, options } => trained::job(experiment, &name, options),
    }
}
