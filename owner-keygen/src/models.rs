//! `add-model`: from a network to the bundles of owner and edges.

use std::path::{Path, PathBuf};

use twinmask_model::bundle::{DeviceModel, EdgeBundle};
use twinmask_model::preprocess::{Preprocess, PreprocessError};
use twinmask_onnx::Imported;

use crate::error::{OwnerError, UsageError};
use crate::hex::hex;
use crate::import::ImportRequest;
use crate::kept::Kept;
use crate::partition::Offload;
use crate::registry::{DeviceEntry, ModelEntry};
use crate::secure_file::{self, Batch};
use crate::store::{EDGE_BUNDLE, MODEL_BUNDLE, Store, check_name};
use crate::zoo::{self, Arch};

/// Where a network comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An ONNX file.
    Onnx(PathBuf),
    /// The zoo, with a seed for its weights.
    Zoo(Arch, u64),
}

/// What `add-model` is asked for.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// Name; a name that exists gets a new version.
    pub name: String,
    /// Where the network comes from.
    pub source: Source,
    /// How it is read and divided.
    pub import: ImportRequest,
    /// How pictures become tensors; by default what fits the source.
    pub preprocess: Option<Preprocess>,
    /// Class names.
    pub labels: Vec<String>,
    /// For networks that embed faces: the least cosine at which two pictures are the same person's, -1 to 1.
    pub threshold: Option<f32>,
}

/// Imports, partitions, quantizes and signs a model, and hands it to both edges. Returns its entry and what a person
/// should know.
///
/// # Errors
/// [`OwnerError`]; the deployment is as it was then.
pub fn add_model(store: &mut Store, request: ModelRequest) -> Result<(ModelEntry, Vec<String>), OwnerError> {
    check_name("model", &request.name)?;
    if let Some(t) = request.threshold.filter(|t| !(-1.0..=1.0).contains(t)) {
        return Err(UsageError::Threshold(t).into());
    }
    let Imported { graph, mut warnings, .. } = load(store, &request)?;
    let shape = graph.picture_shape().to_vec();
    let preprocess = match &request.preprocess {
        // A model that takes no pictures needs no preprocessing; one that does must get a fitting one.
        Some(p) => match p.picture(&shape) {
            Ok(_) | Err(PreprocessError::NoPicture(_)) => p.clone(),
            Err(e) => return Err(UsageError::Preprocess(e).into()),
        },
        None => default_preprocess(&request.source, &shape, &mut warnings),
    };
    let parts = request.import.divide(graph)?;
    let outsourced = parts.plan.rounds().len();
    if request.import.offload != Offload::All {
        warnings.push(Kept::of(&parts.graph).note());
    }
    let version = store.registry.next_version(&request.name);
    let key = store.sign_key()?;
    let edge = EdgeBundle { model: request.name.clone(), version, plan: parts.plan.clone(), weights: parts.weights };
    let (edge_bytes, digest) = edge.write(&key);
    let model = DeviceModel {
        model: request.name.clone(),
        version,
        digest,
        profile: request.import.profile,
        plan: parts.plan,
        graph: parts.graph,
        layers: parts.layers,
        preprocess,
        labels: request.labels,
        threshold: request.threshold,
    };
    let mut batch = Batch::default();
    let dir = store.model_dir(&request.name, version);
    batch.folder(&dir)?;
    batch.private(&dir.join(EDGE_BUNDLE), &edge_bytes)?;
    batch.private(&dir.join(MODEL_BUNDLE), &model.write(&key))?;
    // Without rounds, edges have nothing to do.
    let mut edges = edge_bundles(store, &request.name, version).into_iter().filter(|_| outsourced > 0);
    edges.try_for_each(|path| batch.private(&path, &edge_bytes))?;
    let source = match request.source {
        Source::Onnx(path) => path.display().to_string(),
        Source::Zoo(arch, seed) => format!("zoo {} seed {seed}", arch.name()),
    };
    let digest = hex(&digest);
    let ring = request.import.profile.to_string();
    let threshold = request.threshold;
    let entry = ModelEntry { name: request.name, version, digest, source, ring, threshold, withdrawn: false };
    let mut registry = store.registry.clone();
    registry.models.push(entry.clone());
    store.commit(batch, registry, Batch::default())?;
    Ok((entry, warnings))
}

/// Where the edges' folders hold a version of a model.
fn edge_bundles(store: &Store, model: &str, version: u32) -> [PathBuf; 2] {
    ["edge-a", "edge-b"].map(|edge| store.edge_dir(edge).join("models").join(format!("{model}-v{version}.twm")))
}

/// Takes a version of a model from the edges' folders, so that no edge serves it any more once it has the folder.
/// Returns the devices that were issued it and need another.
///
/// # Errors
/// [`OwnerError::Unknown`], or a file that cannot be removed; then it can be tried again.
pub fn withdraw_model(store: &mut Store, model: &str, version: u32) -> Result<Vec<String>, OwnerError> {
    let mut registry = store.registry.clone();
    let known = || {
        let all = store.registry.models.iter().filter(|m| !m.withdrawn);
        all.map(|m| format!("{} version {}", m.name, m.version)).collect::<Vec<_>>().join(", ")
    };
    let entry = registry.models.iter_mut().find(|m| m.name == model && m.version == version);
    entry
        .ok_or_else(|| OwnerError::Unknown {
            what: "model",
            name: format!("{model} version {version}"),
            known: known(),
        })?
        .withdrawn = true;
    for path in edge_bundles(store, model, version) {
        secure_file::remove(&path)?;
    }
    store.commit(Batch::default(), registry, Batch::default())?;
    let holds = |d: &&DeviceEntry| d.models.iter().any(|(name, v)| name == model && *v == version);
    Ok(store.registry.devices.iter().filter(holds).map(|d| d.name.clone()).collect())
}

fn load(store: &Store, request: &ModelRequest) -> Result<Imported, OwnerError> {
    match &request.source {
        Source::Onnx(path) => Ok(request.import.read(path)?),
        Source::Zoo(arch, seed) => {
            // Through a file, as any network: the zoo gets no way in of its own.
            // The name is one that is swept up if this is cut short.
            let path = store.owner_dir().join(format!(".zoo-{}.tmp", arch.name()));
            let imported = zoo::write_file(*arch, *seed, &path)
                .map_err(OwnerError::from)
                .and_then(|()| request.import.read(&path).map_err(OwnerError::from));
            let _ = std::fs::remove_file(&path);
            imported
        }
    }
}

fn default_preprocess(source: &Source, shape: &[u32], warnings: &mut Vec<String>) -> Preprocess {
    let preset = match source {
        Source::Zoo(Arch::LeNet, _) => "unit256",
        Source::Zoo(Arch::FacenetNn1 | Arch::FacenetIrv1, _) => "symmetric",
        Source::Zoo(..) => "imagenet",
        Source::Onnx(_) => {
            let preset = if shape.get(1) == Some(&3) { "imagenet" } else { "unit" };
            warnings.push(format!(
                "pictures are preprocessed as '{preset}'; say --preprocess if the network was trained otherwise"
            ));
            preset
        }
    };
    Preprocess::preset(preset).expect("a preset of this program")
}

/// Class names from a file, one per line.
///
/// # Errors
/// When it cannot be read or is no text.
pub fn read_labels(path: &Path) -> Result<Vec<String>, OwnerError> {
    let text = std::fs::read_to_string(path).map_err(|e| OwnerError::file(path, e))?;
    Ok(text.lines().map(|l| l.trim_end().to_owned()).collect())
}
