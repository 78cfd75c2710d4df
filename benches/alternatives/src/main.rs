//! `alternatives`: see docs/alternatives.md.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use twinmask_alternatives::measure::Budget;
use twinmask_alternatives::roles::{self, Role};
use twinmask_alternatives::{compare, ends, leakage, onetime, twinmask};
use twinmask_benches::folders::results_dir;
use twinmask_benches::machine;

/// Experiments that train nothing.
const EXPERIMENTS: [&str; 3] = ["onetime", "ends", "twinmask"];

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

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Compare { out } => compare::run(&folder(out)),
        Command::Leakage(args) => leakage::cli::run(&args),
        Command::Role(role) => roles::play(role),
    }
}

fn folder(out: Option<PathBuf>) -> PathBuf {
    out.unwrap_or_else(|| results_dir().join("alternatives"))
}

fn run(args: &Run) -> Result<()> {
    machine::clean_environment()?;
    let out = folder(args.out.clone());
    std::fs::create_dir_all(&out)?;
    let all = EXPERIMENTS.map(str::to_owned).to_vec();
    for name in if args.experiments.is_empty() { &all } else { &args.experiments } {
        let found = match name.as_str() {
            "onetime" => onetime::experiment::run(args.budget, &out)?,
            "ends" => ends::run(args.budget, &out)?,
            "twinmask" => twinmask::run(args.budget, &out)?,
            other => bail!("no experiment '{other}': there are {}", EXPERIMENTS.join(", ")),
        };
        println!("{}: {} s", found.write(&out)?.display(), found.took_s);
    }
    Ok(())
}
