//! The torture set (`tests/onnx/generate.py`): every file imports and agrees with onnxruntime, in float and in
//! integers, or is refused with the stated reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use twinmask_device::Model;
use twinmask_device::engine::Local;
use twinmask_device::engine::infer;
use twinmask_device::exec::{Program, Values};
use twinmask_masking::Integrity;
use twinmask_model::bundle::{DeviceBundle, DeviceModel, Rows};
use twinmask_model::graph::Port;
use twinmask_model::preprocess::Preprocess;
use twinmask_model::ring_plan::Profile;
use twinmask_onnx::{ImportOptions, Imported, import};
use twinmask_owner_keygen::partition::{Offload, PartitionError, Partitioned, partition};
use twinmask_ring::pack;

/// Most bytes that tensors of a case may take.
const MEMORY_CAP: usize = 64 << 20;
/// Largest difference from onnxruntime, relative to the output's largest magnitude: in float, and in integers of
/// `precise`.
const FLOAT_ERROR: f32 = 2e-5;
const INTEGER_ERROR: f32 = 1e-3;

/// One output that onnxruntime computed.
struct Reference {
    shape: Vec<u32>,
    data: Vec<f32>,
}

/// One file of the set.
struct Case {
    name: String,
    path: PathBuf,
    entry: Value,
    /// Empty for a file to be refused.
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Reference>,
}

impl Case {
    fn import(&self) -> Result<Imported, String> {
        let size = |i: usize| self.entry["input_size"][i].as_u64().map(|n| n as u32);
        let input_size = size(0).zip(size(1));
        import(&self.path, &ImportOptions { input_size, ..ImportOptions::default() }).map_err(|e| e.to_string())
    }

    /// The largest relative error of `results` (shape and elements).
    fn compare(&self, results: &[(Vec<u32>, Vec<f32>)]) -> Result<f32, String> {
        if results.len() != self.outputs.len() {
            return Err(format!("{} outputs, not {}", results.len(), self.outputs.len()));
        }
        let mut worst = 0.0f32;
        for ((shape, data), wanted) in results.iter().zip(&self.outputs) {
            if *shape != wanted.shape {
                return Err(format!("an output of shape {shape:?}, not {:?}", wanted.shape));
            }
            let largest = wanted.data.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
            for (a, b) in data.iter().zip(&wanted.data) {
                let error = (a - b).abs() / largest;
                worst = if error.is_nan() { f32::INFINITY } else { worst.max(error) };
            }
        }
        Ok(worst)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx")
}

fn cases() -> Vec<Case> {
    let manifest = std::fs::read(folder().join("manifest.json")).expect("the manifest");
    let entries: Vec<Value> = serde_json::from_slice(&manifest).expect("a list");
    let bytes = std::fs::read(folder().join("tensors.bin")).expect("the tensors");
    let tensors: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let tensor = |v: &Value| {
        let shape: Vec<u32> =
            v["shape"].as_array()?.iter().map(|d| d.as_u64().map(|d| d as u32)).collect::<Option<_>>()?;
        let (start, len) = (v["offset"].as_u64()? as usize, shape.iter().product::<u32>() as usize);
        Some(Reference { shape, data: tensors[start..start + len].to_vec() })
    };
    let case = |entry: Value| {
        let name = entry["name"].as_str().expect("a name").to_owned();
        let path = folder().join("models").join(format!("{name}.onnx"));
        let all = |key: &str| entry[key].as_array().into_iter().flatten().map(|o| tensor(o).expect("a tensor"));
        let (inputs, outputs) = (all("inputs").map(|t| t.data).collect(), all("outputs").collect());
        Case { name, path, entry, inputs, outputs }
    };
    entries.into_iter().map(case).collect()
}

/// Files with results, or files to be refused.
fn cases_to_be(refused: bool) -> Vec<Case> {
    cases().into_iter().filter(|c| c.entry["refused"].is_string() == refused).collect()
}

/// Runs `check` on each case, prints the largest errors, and fails with all complaints.
fn check_all(cases: &[Case], what: &str, limit: f32, check: impl Fn(&Case) -> Result<f32, String>) {
    let mut errors = Vec::new();
    let mut complaints = Vec::new();
    for case in cases {
        match check(case) {
            Ok(error) if error <= limit => errors.push((error, &case.name)),
            Ok(error) => complaints.push(format!("{}: relative error {error:.1e}, above {limit:.0e}", case.name)),
            Err(e) => complaints.push(format!("{}: {e}", case.name)),
        }
    }
    errors.sort_by(|a, b| b.0.total_cmp(&a.0));
    let worst = errors.iter().take(5).map(|(e, n)| format!("{n} {e:.1e}")).collect::<Vec<_>>().join(", ");
    println!("{what}: {} of {} files; worst: {worst}", errors.len(), cases.len());
    assert!(complaints.is_empty(), "{what}: {} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn run_float(case: &Case) -> Result<f32, String> {
    let graph = case.import()?.graph;
    let outputs = graph.outputs.clone();
    let program = Arc::new(Program::new(graph, MEMORY_CAP).map_err(|e| e.to_string())?);
    let mut values = Values::new(Arc::clone(&program));
    let inputs: Vec<&[f32]> = case.inputs.iter().map(Vec::as_slice).collect();
    values.start(&inputs).map_err(|e| e.to_string())?;
    values.run_segment(0).map_err(|e| e.to_string())?;
    let result = |port: &Port| {
        let data = values.get(port.value).map_err(|e| e.to_string())?.to_vec();
        Ok((program.graph().shape(port.value).to_vec(), data))
    };
    case.compare(&outputs.iter().map(result).collect::<Result<Vec<_>, String>>()?)
}

/// All that a device gets; its masking keys are zeros, since nothing leaves it here.
fn bundle(name: &str, parts: Partitioned) -> DeviceBundle {
    let plan = &parts.plan;
    let masks = |l| {
        let (part, mut packed) = (plan.answer_part(l), Vec::new());
        pack::pack(&vec![0; part.len], part.bits, &mut packed);
        packed.into()
    };
    let s_out = plan.layer_ids().map(masks).collect();
    let all = |(w, l): (Vec<i16>, &twinmask_model::plan::Layer)| Rows {
        channels: (0..l.geometry().out_channels() as u32).collect(),
        weights: w,
    };
    let rows = parts.weights.into_iter().zip(plan.layers()).map(all).collect();
    let model = DeviceModel {
        model: name.into(),
        version: 1,
        digest: [0; 32],
        profile: Profile::Precise,
        plan: parts.plan,
        graph: parts.graph,
        layers: parts.layers,
        preprocess: Preprocess::preset("raw").expect("a preset"),
        threshold: None,
        labels: vec![],
    };
    DeviceBundle { model, issued: 0, key: [0; 32].into(), s_out, rows, projections: vec![] }
}

fn run_integers(case: &Case) -> Result<f32, String> {
    let parts = partition(case.import()?.graph, Profile::Precise, &Offload::All).map_err(|e| e.to_string())?;
    let bundle = bundle(&case.name, parts);
    let mut local = Local::new(&bundle).map_err(|e| e.to_string())?;
    let network = Model::new(bundle, Integrity::NONE).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut values = network.values();
    let run = infer(&network, &mut values, &case.inputs, &mut local);
    let outcome = runtime.block_on(run).map_err(|e| e.to_string())?;
    case.compare(
        &outcome.outputs.into_iter().map(|o| (o.tensor.shape().to_vec(), o.tensor.to_f32())).collect::<Vec<_>>(),
    )
}

/// If this fails, the importer or an operator of the device means something else than ONNX does.
#[test]
fn every_file_agrees_with_onnxruntime_in_float() {
    let cases = cases_to_be(false);
    assert!(cases.len() >= 300, "{} files", cases.len());
    check_all(&cases, "float", FLOAT_ERROR, run_float);
}

/// If this fails, dividing or quantizing a network changes what it computes.
#[test]
fn every_file_agrees_with_onnxruntime_in_integers() {
    let mut cases = cases_to_be(false);
    cases.retain(|c| c.entry["local"] != true);
    check_all(&cases, "precise", INTEGER_ERROR, run_integers);
}

/// If this fails, a network with nothing to outsource is not refused, or with another reason.
#[test]
fn networks_without_layers_to_outsource_are_refused() {
    let mut cases = cases_to_be(false);
    cases.retain(|c| c.entry["local"] == true);
    assert!(!cases.is_empty());
    check_all(&cases, "nothing to outsource", 0.0, |case| {
        match partition(case.import()?.graph, Profile::Precise, &Offload::All) {
            Err(PartitionError::Nothing) => Ok(0.0),
            other => Err(format!("{other:?}")),
        }
    });
}

/// If this fails, a file that cannot be right is taken, or the reason does not help.
#[test]
fn files_to_be_refused_are_refused_with_the_stated_reason() {
    check_all(&cases_to_be(true), "refused", 0.0, |case| {
        let reason = case.entry["refused"].as_str().expect("a reason");
        match case.import() {
            Err(e) if e.contains(reason) && e.contains(&case.name) => Ok(0.0),
            Err(e) => Err(format!("'{reason}' is not in: {e}")),
            Ok(_) => Err("is imported".into()),
        }
    });
}

/// If this fails, a check above passes for files that prove nothing: a constant result, or a file that nobody reads.
#[test]
fn the_set_is_whole() {
    let cases = cases();
    let mut names: Vec<String> = cases.iter().map(|c| format!("{}.onnx", c.name)).collect();
    let files = std::fs::read_dir(folder().join("models")).expect("the folder").flatten();
    let mut found: Vec<String> = files.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    found.retain(|f| f.ends_with(".onnx"));
    names.sort();
    found.sort();
    assert_eq!(names, found);
    for case in cases.iter().filter(|c| !c.entry["refused"].is_string()) {
        assert!(!case.outputs.is_empty(), "{} has no output", case.name);
        for output in &case.outputs {
            let varied = output.data.len() == 1 || output.data.iter().any(|v| *v != output.data[0]);
            assert!(varied && output.data.iter().any(|v| *v != 0.0), "{}: a constant output", case.name);
        }
    }
}
