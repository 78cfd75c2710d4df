//! `alternatives`: see docs/alternatives.md.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use twinmask_alternatives::measure::Budget;
use twinmask_alternatives::roles::{self, Role};
use twinmask_alternatives::{compare, leakage, untrained};
use twinmask_benches::folders::results_dir;
use twinmask_benches::machine;

#[derive(Parser)]
#[command(name = "alternatives", about = "Other ways to offload a network privately, measured beside twinmask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run experiments; results go to benches/results/alternatives
    Run(Run),
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

#[derive(Args)]
struct Run {
    /// Which; all if none is named
    experiments: Vec<String>,
    /// How much: smoke, normal, full
    #[arg(long, default_value = "normal")]
    budget: Budget,
    /// Folder of the results
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Compare { out } => compare::run(&folder(out)),
        Command::Leakage(args) => leakage::cli::run(&args),
        Command::Role(role) => roles::play(role),
    };
    done.map_or_else(
        |error| {
            eprintln!("alternatives: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn folder(out: Option<PathBuf>) -> PathBuf {
    out.unwrap_or_else(|| results_dir().join("alternatives"))
}

fn run(args: &Run) -> Result<()> {
    machine::clean_environment()?;
    let all = untrained::EXPERIMENTS.map(str::to_owned).to_vec();
    for name in if args.experiments.is_empty() { &all } else { &args.experiments } {
        untrained::run(name, args.budget, &folder(args.out.clone()))?;
    }
    Ok(())
}
