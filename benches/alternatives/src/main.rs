//! `alternatives`: see docs/alternatives.md.

use anyhow::Result;
use clap::{Parser, Subcommand};
use twinmask_alternatives::leakage;

#[derive(Parser)]
#[command(name = "alternatives", about = "Other ways to offload a network privately, measured beside twinmask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The leakage rule of complement and partition: may these layers be cut from the rest?
    Leakage(leakage::cli::Leakage),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Leakage(args) => leakage::cli::run(&args),
    }
}
