//! Its command line and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use twinmask_model::container;
use twinmask_settings::{over_file, start_log, state_defaults, version};
use twinmask_transport::keep_memory;

use crate::cli::exit::exit_code;
use crate::cli::settings::{LOG, NEEDED, Settings};
use crate::cli::{bench, compare, demo, doctor, infer};
use crate::error::DeviceError;

/// Runs neural networks on private data with the heavy layers computed by two edge servers that learn nothing.
#[derive(Debug, Parser)]
#[command(name = "device", about, max_term_width = 100, disable_help_flag = true, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// TOML file with the same settings (underscores for dashes); command line and environment win over it
    #[arg(long, global = true, env = "TWINMASK_CONFIG", value_name = "FILE.toml", help_heading = NEEDED)]
    config: Option<PathBuf>,
    /// Print this help, or that of a command
    #[arg(short, long, global = true, action = ArgAction::Help, help_heading = "Other")]
    help: Option<bool>,
    /// Print the version, and those of what the edges have to match
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Other")]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Every option is also a variable (TWINMASK_EDGE_A) and a key of the file (edge_a). Results go to stdout, logs to
stderr (TWINMASK_LOG sets their filter; JSON unless that is a terminal).
Exit codes: 0 ok, 2 usage, 3 configuration or files, 4 network, 5 protocol or version, 6 integrity check failed.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Classify pictures (PNG, JPEG) or preprocessed tensors (.npy).
    Infer(infer::InferArgs),
    /// Tell whether two pictures show the same person, by a model that embeds faces.
    Compare(compare::CompareArgs),
    /// Measure latency, bytes and CPU time on seeded random input.
    Bench(bench::BenchArgs),
    /// Check folder, identity, models and both edges, and say what to do.
    Doctor(doctor::DoctorArgs),
    /// Owner, both edges and a device on this machine's loopback; nothing to set up.
    Demo(demo::DemoArgs),
}

fn command() -> clap::Command {
    let command = Cli::command().version(version(container::VERSION)).after_help(AFTER);
    state_defaults(command, &Settings::defaults())
}

/// Runs the command line and returns its exit code: 0 ok, 2 usage, 3 configuration or files, 4 network, 5 protocol or
/// version, 6 integrity check failed.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(e) = keep_memory() {
        eprintln!("warning: memory is not kept from core dumps, other processes and swap: {e}");
    }
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|e| e.exit());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(exit_code(&e))
        }
    }
}

fn run(Cli { settings, config, command, .. }: Cli) -> Result<()> {
    start_log(None, LOG.into())?;
    let settings = over_file(settings, config.as_deref())?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = twinmask_transport::runtime(&mut runtime).map_err(DeviceError::Runtime)?;
    runtime.block_on(async {
        match command {
            Command::Infer(args) => infer::run(settings, args).await,
            Command::Compare(args) => compare::run(settings, args).await,
            Command::Doctor(args) => doctor::run(settings, args).await,
            Command::Bench(args) => bench::run(settings, args).await,
            Command::Demo(args) => demo::run(settings, args).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_says_what_is_needed_first_and_what_holds_else() {
        let mut command = command();
        command.clone().debug_assert();
        let help = command.render_help().to_string();
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text} in {help}"));
        assert!(at("--edge-a") < at("--integrity") && at("--dir") < at("--codec") && at("--mode") < at("--help"));
        assert!(help.contains("[default: sample:16+freivalds]") && help.contains("[default: lan]"), "{help}");
        let version = command.render_version();
        assert!(
            version.starts_with("device ") && version.contains("wire ") && version.contains("bundles "),
            "{version}"
        );
    }
}
