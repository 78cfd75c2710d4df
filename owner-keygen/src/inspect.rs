//! `inspect`: what a model, bundle or deployment holds, for people and as JSON.

use std::path::Path;

use serde::Serialize;
use twinmask_codec::{Part, RoundId, packed_parts_len};
use twinmask_kernels::Kernels;
use twinmask_layer::Geometry;
use twinmask_model::analysis::{Analysis, Checks, Scheme, analyse};
use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle, Rows};
use twinmask_model::cost::local_flops;
use twinmask_model::graph::Graph;
use twinmask_model::plan::{Layer, Plan};
use twinmask_transport::owner_key::{self, OWNER_FILE};
use zeroize::Zeroizing;

use crate::error::{OwnerError, UsageError};
use crate::hex;
use crate::import::ImportRequest;
use crate::kept::Kept;
use crate::predict::Costs;
use crate::store::{EDGE_BUNDLE, MODEL_BUNDLE, model_dir, read_registry};

/// One layer of a report.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// Round that it belongs to.
    pub round: RoundId,
    /// Name.
    pub name: String,
    /// Shape in words.
    pub shape: String,
    /// Ring width, in bits.
    pub k: u32,
    /// Weight width, in bits.
    pub w_bits: u32,
    /// Activation magnitude bits.
    pub x_bits: u32,
    /// Whether activations are signed.
    pub signed: bool,
    /// Elements uploaded; siblings share the first one's.
    pub up: u64,
    /// Elements downloaded from each edge.
    pub down: u64,
    /// Million multiply-accumulates.
    pub mmac: f64,
    /// The same shape, for predictions.
    #[serde(skip)]
    geometry: Geometry,
    /// Predicted time on the device itself, ms.
    pub local_ms: f64,
    /// Predicted time outsourced: masking, transfer, the edges, and the round trip with the round's first layer, ms.
    pub outsourced_ms: f64,
    /// How an edge on this machine computes it, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<&'static str>,
}

/// Predicted payload bytes of one inference in mode `split`.
#[derive(Debug, Clone, Serialize)]
pub struct PredictedBytes {
    /// Device to edge B.
    pub up_b: usize,
    /// Edge A to device.
    pub down_a: usize,
    /// Edge B to device.
    pub down_b: usize,
}

/// What a network costs.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkReport {
    /// Model name.
    pub model: String,
    /// Version, 0 for a file that was not added yet.
    pub version: u32,
    /// Digest of the edge bundle, hex; empty for a file that was not added yet.
    pub digest: String,
    /// Ring profile, where known.
    pub ring: String,
    /// Rounds.
    pub rounds: usize,
    /// Elements up and down per inference.
    pub elements: (u64, u64),
    /// Million multiply-accumulates outsourced.
    pub mmac_offloaded: f64,
    /// Share of the network's own FLOPs (one addition or multiplication each) that the edges compute, in percent;
    /// absent where the device's graph is not at hand.
    pub outsourced_percent: Option<f64>,
    /// Predicted payload bytes in mode `split`.
    pub bytes: PredictedBytes,
    /// Predicted time of the outsourced layers on the device itself, and outsourced, ms.
    pub predicted_ms: (f64, f64),
    /// What the device holds of the weights; absent where its graph is not at hand.
    pub kept: Option<Kept>,
    /// Key material, where a device bundle was inspected.
    pub keys: Option<KeyBytes>,
    /// Bytes of transformed weights at an edge on this machine, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_memory: Option<usize>,
    /// The paper's analysis table, for the default checks (`docs/theory.md`).
    pub analysis: Analysis,
    /// Layers in the plan's order.
    pub layers: Vec<LayerReport>,
}

/// Bytes of key material on a device, constant in the number of requests.
#[derive(Debug, Clone, Serialize)]
pub struct KeyBytes {
    /// Device key and packed `S_out`.
    pub masking: usize,
    /// Projections `W^T s` of the Freivalds check.
    pub freivalds: usize,
    /// Weight rows for spot checks, at their stored width.
    pub sample_rows: usize,
}

/// Reports of everything at `path`: an ONNX file, a bundle, or a deployment; times are predicted for `costs`. `import`
/// says how an ONNX file is read and divided; the others were when they were added. With `edge` they say by which
/// kernels an edge on this machine computes the layers.
///
/// # Errors
/// [`OwnerError`] when it is none of these, does not verify, or holds no weights for `edge`; [`UsageError::Divided`].
pub fn inspect(
    path: &Path,
    import: Option<&ImportRequest>,
    costs: &Costs,
    edge: bool,
) -> Result<Vec<NetworkReport>, OwnerError> {
    let mut reports = read(path, import, edge)?;
    reports.iter_mut().for_each(|r| predict(r, costs));
    Ok(reports)
}

/// Fills in the predicted times.
fn predict(report: &mut NetworkReport, costs: &Costs) {
    let mut last = None;
    for l in &mut report.layers {
        let round = if last.replace(l.round) == Some(l.round) { 0.0 } else { costs.round_ms() };
        l.local_ms = costs.local_ms(&l.geometry);
        l.outsourced_ms = round + costs.up_ms(l.up, l.k) + costs.answer_ms(&l.geometry, l.k);
    }
    let sum = |ms: fn(&LayerReport) -> f64| report.layers.iter().map(ms).sum();
    report.predicted_ms = (sum(|l| l.local_ms), sum(|l| l.outsourced_ms));
}

fn read(path: &Path, import: Option<&ImportRequest>, edge: bool) -> Result<Vec<NetworkReport>, OwnerError> {
    let extension = path.extension().and_then(|e| e.to_str());
    if extension == Some("onnx") && !path.is_dir() {
        return Ok(vec![onnx(path, import.unwrap_or(&ImportRequest::default()), edge)?]);
    }
    if import.is_some() {
        return Err(UsageError::Divided(path.into()).into());
    }
    if path.is_dir() {
        let models = read_registry(path)?.models;
        let dirs = models.iter().map(|m| model_dir(path, &m.name, m.version).join(MODEL_BUNDLE));
        return dirs.map(|p| bundle(&p, edge)).collect();
    }
    match extension {
        Some("twm") => Ok(vec![bundle(path, edge)?]),
        _ => Err(OwnerError::file(path, "is neither a deployment, nor an .onnx model, nor a .twm bundle")),
    }
}

fn onnx(path: &Path, import: &ImportRequest, edge: bool) -> Result<NetworkReport, OwnerError> {
    let parts = import.divide(import.read(path)?.graph)?;
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut out = report(&name, 0, None, import.profile.to_string(), &parts.plan, Some(&parts.graph));
    if edge {
        computed(&mut out, &parts.plan, &parts.weights);
    }
    Ok(out)
}

/// Fills in how an edge on this machine computes the layers of `plan`.
fn computed(report: &mut NetworkReport, plan: &Plan, weights: &[Vec<i16>]) {
    let kernel = Kernels::native().auto();
    let mut memory = 0;
    // The report's layers are in the order of their rounds; the plan's are not.
    let layers = plan.round_ids().flat_map(|r| plan.round_layers(r));
    for (l, row) in layers.zip(&mut report.layers) {
        let linear = kernel.prepare(plan.layer(l).geometry(), &weights[l.index()], plan.k_of(l));
        memory += linear.spare_memory();
        row.kernel = Some(linear.picked());
    }
    report.kernel_memory = Some(memory);
}

/// The owner's public key from the nearest `owner.pub` above a bundle.
fn owner_of(path: &Path) -> Result<[u8; 32], OwnerError> {
    let found = path.ancestors().skip(1).take(4).map(|d| d.join(OWNER_FILE)).find(|p| p.is_file());
    let file = found.ok_or_else(|| {
        OwnerError::file(path, "has no owner.pub in a folder above it, so its signature cannot be checked")
    })?;
    Ok(owner_key::read(&file)?)
}

fn bundle(path: &Path, edge: bool) -> Result<NetworkReport, OwnerError> {
    let read = |path: &Path| std::fs::read(path).map(Zeroizing::new).map_err(|e| OwnerError::file(path, e));
    let bytes = read(path)?;
    let owner = owner_of(path)?;
    if let Ok((bundle, digest)) = EdgeBundle::read(&bytes, &owner) {
        let mut out = report(&bundle.model, bundle.version, Some(digest), String::new(), &bundle.plan, None);
        if edge {
            computed(&mut out, &bundle.plan, &bundle.weights);
        }
        return Ok(out);
    }
    if let Ok(m) = DeviceModel::read(&bytes, &owner) {
        let mut out = of_model(&m);
        if edge {
            let beside = path.with_file_name(EDGE_BUNDLE);
            let (bundle, _) = EdgeBundle::read(&read(&beside)?, &owner).map_err(|e| OwnerError::file(&beside, e))?;
            computed(&mut out, &bundle.plan, &bundle.weights);
        }
        return Ok(out);
    }
    if edge {
        return Err(OwnerError::file(path, "holds no edge's weights: name an edge's bundle, a deployment or a model"));
    }
    let device = DeviceBundle::read(&bytes, &owner).map_err(|e| OwnerError::file(path, e))?;
    let mut out = of_model(&device.model);
    let row_bytes = |(rows, layer): (&Rows, &Layer)| rows.weights.len() * if layer.w_bits() <= 8 { 1 } else { 2 };
    out.keys = Some(KeyBytes {
        masking: 32 + device.s_out.iter().map(|s| s.len()).sum::<usize>(),
        freivalds: device.projections.iter().map(|p| 8 * p.len()).sum(),
        sample_rows: device.rows.iter().zip(device.model.plan.layers()).map(row_bytes).sum(),
    });
    Ok(out)
}

fn of_model(m: &DeviceModel) -> NetworkReport {
    report(&m.model, m.version, Some(m.digest), m.profile.to_string(), &m.plan, Some(&m.graph))
}

fn report(
    model: &str,
    version: u32,
    digest: Option<[u8; 32]>,
    ring: String,
    plan: &Plan,
    graph: Option<&Graph>,
) -> NetworkReport {
    let sum =
        |parts: fn(&Plan, RoundId) -> Vec<Part>| plan.round_ids().map(|r| packed_parts_len(&parts(plan, r))).sum();
    let down: usize = sum(Plan::answer_parts);
    let analysis = analyse(plan, graph.map(local_flops), Checks::default());
    NetworkReport {
        model: model.into(),
        version,
        digest: digest.map(|d| hex::hex(&d)).unwrap_or_default(),
        ring,
        rounds: plan.rounds().len(),
        elements: plan.elements(),
        mmac_offloaded: plan.macs() as f64 / 1e6,
        outsourced_percent: analysis.outsourced_percent,
        bytes: PredictedBytes { up_b: sum(Plan::upload_parts), down_a: down, down_b: down },
        predicted_ms: (0.0, 0.0),
        kept: graph.map(Kept::of),
        keys: None,
        kernel_memory: None,
        analysis,
        layers: layer_reports(plan),
    }
}

fn layer_reports(plan: &Plan) -> Vec<LayerReport> {
    let mut out = Vec::new();
    for round in plan.round_ids() {
        for l in plan.round_layers(round) {
            let layer = plan.layer(l);
            let group = plan.group(layer.group());
            out.push(LayerReport {
                round,
                name: layer.name().into(),
                shape: shape(layer.geometry()),
                k: plan.k_of(l),
                w_bits: layer.w_bits(),
                x_bits: group.x_bits(),
                signed: group.signed(),
                up: if group.layers()[0] == l { group.in_len() as u64 } else { 0 },
                down: layer.geometry().out_len() as u64,
                mmac: layer.geometry().macs() as f64 / 1e6,
                geometry: *layer.geometry(),
                local_ms: 0.0,
                outsourced_ms: 0.0,
                kernel: None,
            });
        }
    }
    out
}

fn shape(geometry: &Geometry) -> String {
    match geometry {
        Geometry::Conv(c) => {
            let groups = if c.groups > 1 { format!(" groups {}", c.groups) } else { String::new() };
            format!(
                "conv {}x{}x{} -> {}x{}x{}, {}x{} /{}{groups}",
                c.c_in,
                c.h,
                c.w,
                c.c_out,
                c.out_h(),
                c.out_w(),
                c.kh,
                c.kw,
                c.stride[0]
            )
        }
        Geometry::Fc(f) if f.rows == 1 => format!("fc {} -> {}", f.inputs, f.outputs),
        Geometry::Fc(f) => format!("fc {} rows, {} -> {}", f.rows, f.inputs, f.outputs),
    }
}

/// The reports as text.
#[must_use]
pub fn text(reports: &[NetworkReport]) -> String {
    let mut out = String::new();
    for r in reports {
        let digest = r.digest.get(..16).unwrap_or("not added yet");
        out += &format!("{} version {} ({digest}), ring {}\n", r.model, r.version, r.ring);
        out += &format!("  rounds      {}\n", r.rounds);
        out += &format!("  elements    {} up, {} down from each edge\n", r.elements.0, r.elements.1);
        out += &format!("  outsourced  {:.1} MMAC", r.mmac_offloaded);
        out += &r
            .outsourced_percent
            .map(|p| format!(", {p:.2} % of the network's FLOPs\n"))
            .unwrap_or_else(|| "\n".into());
        let b = &r.bytes;
        out += &format!("  bytes       {} up to B, {} down from A, {} down from B\n", b.up_b, b.down_a, b.down_b);
        let (local, outsourced) = r.predicted_ms;
        out += &format!(
            "  predicted   {outsourced:.1} ms for the outsourced layers, {local:.1} ms if they stayed on the device\n"
        );
        if r.rounds == 0 {
            out += "  the network runs wholly on the device: no edge is asked\n";
        }
        if let Some(kept) = &r.kept {
            out += &format!("  kept        {}\n", kept.note());
        }
        if let Some(k) = &r.keys {
            out += &format!(
                "  keys        {} bytes masking, {} bytes Freivalds, {} bytes sample rows\n",
                k.masking, k.freivalds, k.sample_rows
            );
        }
        if let Some(bytes) = r.kernel_memory {
            out += &format!("  kernels     {bytes} bytes of transformed weights at an edge like this machine\n");
        }
        out += &table(&r.layers);
        out += &analysis_table(&r.analysis);
        out += "\n";
    }
    out
}

/// The analysis, a column per scheme.
fn analysis_table(analysis: &Analysis) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["per inference"].into_iter().chain(analysis.schemes.iter().map(|s| s.name)));
    let mut row = |label: &str, cell: &dyn Fn(&Scheme) -> String| {
        table.add_row(std::iter::once(label.to_owned()).chain(analysis.schemes.iter().map(cell)));
    };
    row("device FLOPs: masking", &|s| s.device.masking.to_string());
    row("device FLOPs: unmasking", &|s| s.device.unmasking.to_string());
    row("device FLOPs: scaling", &|s| s.device.scaling.to_string());
    row("device FLOPs: checks", &|s| s.device.checks.to_string());
    row("device FLOPs: non-linear", &|s| s.device.non_linear.map_or_else(|| "unknown".into(), |v| v.to_string()));
    row("device FLOPs: total", &|s| s.device.total().to_string());
    row("FLOPs of each edge", &|s| s.edges.iter().map(u64::to_string).collect::<Vec<_>>().join(" + "));
    row("elements up", &|s| s.elements.up.to_string());
    row("elements down", &|s| s.elements.down.to_string());
    row("elements A to B", &|s| s.elements.between.to_string());
    row("bytes up", &|s| s.bytes.up.to_string());
    row("bytes down", &|s| s.bytes.down.to_string());
    row("bytes A to B", &|s| s.bytes.between.to_string());
    row("stored bytes: masking", &|s| s.storage.masking.to_string());
    row("stored bytes: Freivalds", &|s| s.storage.freivalds.to_string());
    row("stored bytes: sample rows", &|s| s.storage.rows.to_string());
    row("stored bytes: 1,000 requests", &|s| s.storage_1000_requests.to_string());
    row("device spared", &|s| s.spared_percent.map_or_else(|| "unknown".into(), |p| format!("{p:.2} %")));
    format!("{table}\n")
}

fn table(layers: &[LayerReport]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    let kernel = layers.iter().any(|l| l.kernel.is_some()).then_some("kernel");
    let head = ["round", "layer", "shape", "k", "w", "x", "up", "down", "MMAC", "local ms", "outsourced ms"];
    table.set_header(head.into_iter().chain(kernel));
    for l in layers {
        let x = format!("{}{}", l.x_bits, if l.signed { "s" } else { "u" });
        let bits = [l.k.to_string(), l.w_bits.to_string(), x, l.up.to_string(), l.down.to_string()];
        let times = [l.mmac, l.local_ms, l.outsourced_ms].map(|v| format!("{v:.2}"));
        let names = [l.round.to_string(), l.name.clone(), l.shape.clone()];
        table.add_row(names.into_iter().chain(bits).chain(times).chain(l.kernel.map(str::to_owned)));
    }
    format!("{table}\n")
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
