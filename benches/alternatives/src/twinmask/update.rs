//! What a model update costs: the owner adds the new version, both edges get its weights, every device a bundle with a
//! new `S_out`; results are those of the new network at once.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use twinmask_benches::deployment::Deployment;
use twinmask_device::Mode;
use twinmask_device::engine::DeviceDir;
use twinmask_model::analysis::{Checks, analyse};
use twinmask_onnx::{ImportOptions, import};
use twinmask_ring::prf::Key;

use super::private::{DEVICE, Seeing, infer_all};
use crate::measure::SEED;
use crate::measure::digits::Digits;
use crate::measure::link::MODEL;
use crate::measure::network::accuracy;
use crate::results::{Cell, Table, Value};

/// Largest change of a weight, of the largest one in its tensor.
const NOISE: f32 = 0.05;

/// Updates the network of `onnx` to one with other weights; the table of what that costs, and the cell that says so.
///
/// # Errors
/// When a step fails, or a private result after it is not the new network's.
pub(super) async fn run(onnx: &Path, digits: &Digits) -> Result<(Table, Cell)> {
    let deployment = Deployment::new()?;
    deployment.add(MODEL, onnx, MODEL, DEVICE)?;
    let before = accuracy(onnx, digits)?;
    let newer = deployment.path("newer.onnx");
    std::fs::write(&newer, moved(onnx)?)?;
    let after = accuracy(&newer, digits)?;

    let file = newer.display().to_string();
    let added = timed(|| deployment.keygen("add-model", &["--name", MODEL, "--onnx", &file, "--ring", MODEL]))?;
    let issued = timed(|| deployment.issue(MODEL, DEVICE))?;
    let pair = deployment.edges(false, &[])?;
    let seen = infer_all(&deployment, &pair, Mode::Split, digits, Seeing::Nothing).await?;
    let private = digits.percent(&seen.answers);

    let plan = DeviceDir::open(&deployment.device(DEVICE))?.load(Some(MODEL))?.model.plan;
    let keys = analyse(&plan, None, Checks::default()).schemes[0].storage.masking;
    let size =
        |path: &Path| std::fs::metadata(path).map(|m| m.len() as f64).with_context(|| path.display().to_string());
    let to_edge = size(&deployment.path(&format!("edge-b/models/{MODEL}-v2.twm")))?;
    let lines: [(&str, f64); 7] = [
        ("plain network before, % of the digits", before),
        ("plain network after, %", after),
        ("twinmask after, %, each result equal bit for bit to the plain integer network", private),
        ("owner: importing and signing the new version, s", added),
        ("owner: new keys for one device (S_in, S_out = W·S_in, checks), s", issued),
        ("of it to the device: S_out and its key, bytes", keys as f64),
        ("to each edge: weights, bytes", to_edge),
    ];
    let rows = lines.map(|(what, value)| vec![what.into(), Value::Number(value)]).to_vec();
    let note = "Both edges keep the old version until it is withdrawn, so devices change one by one.";
    let columns = ["", "measured"].map(str::to_owned).to_vec();
    let cell = Cell::measured(format!(
        "yes: a new S_out of {keys} bytes per device in {issued:.2} s, nothing retrained; accuracy {private:.2} % \
         where the new plain network has {after:.2} %"
    ));
    Ok((Table { columns, rows, note: Some(note.into()) }, cell))
}

fn timed(step: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    step()?;
    Ok((begun.elapsed().as_secs_f64() * 1e3).round() / 1e3)
}

/// The ONNX file with seeded noise on all weights that stand in it as little-endian f32.
fn moved(onnx: &Path) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(onnx).with_context(|| onnx.display().to_string())?;
    let graph = import(onnx, &ImportOptions::default())?.graph;
    let key = Key::derive("alternatives update", &[&SEED.to_le_bytes()]);
    let mut found = 0;
    for (&id, weights) in graph.constants.iter().filter(|(_, w)| w.len() > 16) {
        let stored: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let Some(at) = bytes.windows(stored.len()).position(|w| w == stored) else { continue };
        let largest = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let noise = key.elements(id.into(), 24, weights.len());
        for (i, (w, n)) in weights.iter().zip(noise).enumerate() {
            let moved = w + largest * NOISE * (n as f32 / (1 << 23) as f32 - 1.0);
            bytes[at + 4 * i..][..4].copy_from_slice(&moved.to_le_bytes());
        }
        found += 1;
    }
    if found == 0 {
        bail!("{}: no weights as little-endian f32", onnx.display());
    }
    Ok(bytes)
}
