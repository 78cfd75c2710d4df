//! `device compare`: whether two pictures show the same person.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::infer::Runner;
use super::{Settings, print_json};
use crate::embedding::Similarity;
use crate::error::DeviceError;
use crate::infer::Output;
use crate::input;

/// Arguments of `device compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// PNG or JPEG picture, or .npy float32 tensor of the model's input shape.
    a: PathBuf,
    /// The other one.
    b: PathBuf,
    /// Least cosine of the same person, -1 to 1 [default: the one stored with the model].
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, value_parser = cosine)]
    threshold: Option<f32>,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
    /// Compute the quantized linear layers on this device (needs all weights); no edge is contacted.
    #[arg(long)]
    local: bool,
}

fn cosine(text: &str) -> Result<f32, String> {
    let parsed = text.parse().ok().filter(|t| (-1.0..=1.0).contains(t));
    parsed.ok_or_else(|| format!("'{text}' is no cosine: it lies between -1 and 1"))
}

#[derive(Serialize)]
struct CompareReport {
    a: String,
    b: String,
    cosine: f64,
    l2: f64,
    threshold: f32,
    same: bool,
}

pub(crate) async fn run(settings: Settings, args: CompareArgs) -> Result<(), DeviceError> {
    let mut runner = Runner::new(&settings, args.local)?;
    let model = runner.network().model();
    let threshold = args.threshold.or(model.threshold).ok_or_else(|| {
        DeviceError::Config(format!(
            "the model {} has no threshold: say --threshold COSINE, or have the owner store one with \
             `owner-keygen add-model --threshold COSINE`",
            model.model
        ))
    })?;
    let result = embed_both(&mut runner, &args.a, &args.b).await;
    if let Runner::Private(device, ..) = &mut runner {
        device.close().await;
    }
    let (a, b) = result?;
    let Similarity { cosine, l2 } = Similarity::of(&a, &b)?;
    let name = |path: &Path| path.display().to_string();
    let same = cosine >= f64::from(threshold);
    let report = CompareReport { a: name(&args.a), b: name(&args.b), cosine, l2, threshold, same };
    if args.json {
        print_json(&report);
    } else {
        let verdict = if same { "same" } else { "different" };
        say!("{verdict}: cosine {cosine:.4}, L2 distance {l2:.4}, threshold {threshold}");
    }
    Ok(())
}

/// The first output of each, in one session. Both files are read before anything is sent.
async fn embed_both(runner: &mut Runner, a: &Path, b: &Path) -> Result<(Output, Output), DeviceError> {
    let spec = runner.network().input_spec();
    let load = |path: &Path| input::load(path, &spec).map_err(|e| DeviceError::Config(e.to_string()));
    let (a, b) = (load(a)?, load(b)?);
    let (a, b) = (runner.infer(a).await?.0, runner.infer(b).await?.0);
    let first = |mut outputs: Vec<Output>| outputs.swap_remove(0);
    Ok((first(a.outputs), first(b.outputs)))
}
