//! `device infer`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::cli::patient;
use crate::cli::print::{self, say};
use crate::cli::report::InferReport;
use crate::cli::settings::Settings;
use crate::device::Device;
use crate::input::{Input, npy};
use crate::run::Output;

/// Arguments of `device infer`.
#[derive(Debug, Args)]
pub(crate) struct InferArgs {
    /// PNG or JPEG pictures, or .npy tensors of the model's input shape and element type.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// How many classes to show.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// One JSON object per input and line.
    #[arg(long)]
    json: bool,
    /// Write the first output as .npy (several inputs: stacked on a new first axis).
    #[arg(long, value_name = "FILE.npy")]
    save_output: Option<PathBuf>,
    /// Compute the quantized linear layers on this device (needs all weights); no edge is contacted.
    #[arg(long)]
    local: bool,
}

pub(crate) async fn run(settings: Settings, args: InferArgs) -> Result<()> {
    let builder = settings.builder_for(args.local)?;
    let check = builder.checks().to_string();
    let device = builder.build()?;
    let result = all(&device, &check, &args).await;
    device.close().await;
    result
}

async fn all(device: &Device, check: &str, args: &InferArgs) -> Result<()> {
    let mut saved = Vec::new();
    for path in &args.inputs {
        let (inference, busy) = patient::run(device, Input::file(path)).await?;
        let report = InferReport::new(path.display().to_string(), device.model(), check, (&inference, busy), args.top);
        if args.json {
            print::json(&report);
        } else {
            print_text(&report);
        }
        saved.extend(inference.outputs.into_iter().next());
    }
    match &args.save_output {
        Some(path) => save(path, &saved),
        None => Ok(()),
    }
}

fn print_text(report: &InferReport) {
    say!("{}", report.input);
    for entry in &report.top {
        say!("  {:6.2} %  {}", entry.score * 100.0, entry.label);
    }
}

fn save(path: &Path, outputs: &[Output]) -> Result<()> {
    let Some(first) = outputs.first() else { return Ok(()) };
    let mut shape: Vec<u32> = first.tensor.shape().to_vec();
    if outputs.len() > 1 {
        shape.insert(0, outputs.len() as u32);
    }
    let data: Vec<f32> = outputs.iter().flat_map(|o| o.tensor.to_f32()).collect();
    Ok(npy::write(path, &shape, &data)?)
}
