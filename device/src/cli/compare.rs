//! `device compare`: whether two pictures show the same person.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;

use crate::cli::load::input;
use crate::cli::patient;
use crate::cli::print::{self, say};
use crate::cli::settings::Settings;
use crate::device::Device;
use crate::embedding::Similarity;
use crate::run::Output;

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

fn cosine(text: &str) -> std::result::Result<f32, String> {
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

pub(crate) async fn run(settings: Settings, args: CompareArgs) -> Result<()> {
    let device = settings.builder_for(args.local)?.build()?;
    let model = device.model().bundle();
    let threshold = args.threshold.or(model.threshold).ok_or_else(|| {
        anyhow!(
            "the model {} has no threshold: say --threshold COSINE, or have the owner store one with \
             `owner-keygen add-model --threshold COSINE`",
            model.model
        )
    })?;
    let result = embed_both(&device, &args.a, &args.b).await;
    device.close().await;
    let (a, b) = result?;
    let Similarity { cosine, l2 } = Similarity::of(&a, &b)?;
    let name = |path: &Path| path.display().to_string();
    let same = cosine >= f64::from(threshold);
    let report = CompareReport { a: name(&args.a), b: name(&args.b), cosine, l2, threshold, same };
    if args.json {
        print::json(&report);
    } else {
        let verdict = if same { "same" } else { "different" };
        say!("{verdict}: cosine {cosine:.4}, L2 distance {l2:.4}, threshold {threshold}");
    }
    Ok(())
}

/// The first output of each, in one session. Both files are read before anything is sent.
async fn embed_both(device: &Device, a: &Path, b: &Path) -> Result<(Output, Output)> {
    let (a, b) = (input(device, a)?, input(device, b)?);
    let (a, b) = (patient::run(device, a).await?.0, patient::run(device, b).await?.0);
    let first = |mut outputs: Vec<Output>| outputs.swap_remove(0);
    Ok((first(a.outputs), first(b.outputs)))
}
