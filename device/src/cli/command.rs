//! Its command line and exit codes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::Targets;

use crate::cli::exit::exit_code;
use crate::cli::settings::Settings;
use crate::cli::{bench, compare, demo, doctor, infer};
use crate::error::DeviceError;

/// Runs neural networks on private data with the heavy layers computed by two edge servers that learn nothing.
#[derive(Debug, Parser)]
#[command(name = "device", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Classify pictures (PNG, JPEG) or preprocessed tensors (.npy, float32).
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

/// Runs the command line and returns its exit code: 0 ok, 2 usage, 3 configuration or files, 4 network, 5 protocol or
/// version, 6 integrity check failed.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { settings, command } = Cli::parse();
    start_logging();
    let run = async {
        let settings = settings.with_file()?;
        match command {
            Command::Infer(args) => infer::run(settings, args).await,
            Command::Compare(args) => compare::run(settings, args).await,
            Command::Doctor(args) => doctor::run(settings, args).await,
            Command::Bench(args) => bench::run(settings, args).await,
            Command::Demo(args) => demo::run(settings, args).await,
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(|e| DeviceError::Runtime(e).into()).and_then(|rt| rt.block_on(run));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(exit_code(&e))
        }
    }
}

fn start_logging() {
    use tracing_subscriber::prelude::*;
    let asked = std::env::var("TWINMASK_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(tracing::Level::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
