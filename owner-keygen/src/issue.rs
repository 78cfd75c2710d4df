//! `add-model` and `add-device`: from a network to bundles (paper Algorithm 1, Setup).

use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use twinmask_kernels::{Kernels, Scratch};
use twinmask_masking::freivalds::Secrets;
use twinmask_masking::keys::s_in;
use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle, Rows, short};
use twinmask_model::preprocess::{Preprocess, PreprocessError};
use twinmask_model::ring_plan::Profile;
use twinmask_ring::pack;
use twinmask_transport::{CERT_FILE, Role};
use zeroize::Zeroizing;

use crate::error::OwnerError;
use crate::identities::{Standing, issue_identity};
use crate::onnx::{ImportOptions, Imported, import};
use crate::partition::{Offload, partition};
use crate::secure_file::{Batch, create_private_dir};
use crate::store::{DeviceEntry, ModelEntry, Registry, Store, check_name, hex_line};
use crate::zoo::{self, Arch};

/// Weight rows per layer that a device holds for spot checks unless told otherwise.
pub const SAMPLE_ROWS: usize = 64;

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
    /// Ring widths.
    pub profile: Profile,
    /// Which layers leave the device.
    pub offload: Offload,
    /// Height and width, where the file leaves them open.
    pub input_size: Option<(u32, u32)>,
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
        return Err(OwnerError::Usage(format!("--threshold {t} is no cosine: it lies between -1 and 1")));
    }
    let Imported { graph, mut warnings, .. } = load(store, &request)?;
    let shape = graph.picture_shape().to_vec();
    let preprocess = match &request.preprocess {
        // A model that takes no pictures needs no preprocessing; one that does must get a fitting one.
        Some(p) => match p.picture(&shape) {
            Ok(_) | Err(PreprocessError::NoPicture(_)) => p.clone(),
            Err(e) => return Err(OwnerError::Usage(format!("--preprocess: {e}"))),
        },
        None => default_preprocess(&request.source, &shape, &mut warnings),
    };
    let parts = partition(graph, request.profile, &request.offload)?;
    let version = store.registry.next_version(&request.name);
    let key = store.sign_key()?;
    let edge = EdgeBundle { model: request.name.clone(), version, plan: parts.plan.clone(), weights: parts.weights };
    let (edge_bytes, digest) = edge.write(&key);
    let model = DeviceModel {
        model: request.name.clone(),
        version,
        digest,
        profile: request.profile,
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
    batch.private(&dir.join("edge.twm"), &edge_bytes)?;
    batch.private(&dir.join("model.twm"), &model.write(&key))?;
    for path in edge_bundles(store, &request.name, version) {
        batch.private(&path, &edge_bytes)?;
    }
    let source = match request.source {
        Source::Onnx(path) => path.display().to_string(),
        Source::Zoo(arch, seed) => format!("zoo {} seed {seed}", arch.name()),
    };
    let digest = digest.iter().map(|b| format!("{b:02x}")).collect();
    let ring = request.profile.to_string();
    let threshold = request.threshold;
    let entry = ModelEntry { name: request.name, version, digest, source, ring, threshold, withdrawn: false };
    let mut registry = store.registry.clone();
    registry.models.push(entry.clone());
    store.commit(batch, registry)?;
    Ok((entry, warnings))
}

/// Where the edges' folders hold a version of a model.
fn edge_bundles(store: &Store, model: &str, version: u32) -> [PathBuf; 2] {
    ["edge-a", "edge-b"].map(|edge| store.edge_dir(edge).join("models").join(format!("{model}-v{version}.twm")))
}

/// Takes a version of a model from the edges' folders, so that no edge serves it any more once it has the folder. Returns
/// the devices that were issued it and need another.
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
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(OwnerError::file(path, e)),
            _ => {}
        }
    }
    store.commit(Batch::default(), registry)?;
    let holds = |d: &&DeviceEntry| d.models.iter().any(|(name, v)| name == model && *v == version);
    Ok(store.registry.devices.iter().filter(holds).map(|d| d.name.clone()).collect())
}

fn load(store: &Store, request: &ModelRequest) -> Result<Imported, OwnerError> {
    let options = ImportOptions { input_size: request.input_size, ..ImportOptions::default() };
    match &request.source {
        Source::Onnx(path) => Ok(import(path, &options)?),
        Source::Zoo(arch, seed) => {
            // Through a file, as any network: the zoo gets no way in of its own.
            let path = store.owner_dir().join(format!(".zoo-{}-{}.onnx", arch.name(), std::process::id()));
            let imported = zoo::write_file(*arch, *seed, &path)
                .map_err(OwnerError::from)
                .and_then(|()| import(&path, &options).map_err(OwnerError::from));
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

/// What `add-device` is asked for.
#[derive(Debug, Clone)]
pub struct DeviceRequest {
    /// Device name; one that exists keeps its identity and gets the model in addition or anew.
    pub name: String,
    /// Model name; its newest version is issued.
    pub model: String,
    /// Whether the device gets all weights, for `--local`.
    pub all_weights: bool,
    /// Weight rows per layer for spot checks.
    pub sample_rows: usize,
}

/// Issues a model to a device: fresh masking keys, secret sample rows, and an identity if it has none. Returns the
/// device's folder.
///
/// # Errors
/// [`OwnerError`]; the deployment is as it was then.
pub fn add_device(store: &mut Store, request: &DeviceRequest) -> Result<PathBuf, OwnerError> {
    check_name("device", &request.name)?;
    let role = Role::device(&request.name).map_err(|e| OwnerError::Usage(e.to_string()))?;
    let known = || store.registry.models.iter().map(|m| m.name.clone()).collect::<Vec<_>>().join(", ");
    let entry = store.registry.newest(&request.model);
    let entry = entry.ok_or_else(|| OwnerError::UnknownModel { name: request.model.clone(), known: known() })?;
    let version = entry.version;
    let standing = store.registry.standing(&role);
    if standing == Standing::Revoked {
        return Err(OwnerError::Revoked(request.name.clone()));
    }
    let (mut batch, mut registry) = (Batch::default(), store.registry.clone());
    let dir = store.device_dir(&request.name);
    batch.folder(&dir.join("models"))?;
    create_private_dir(&dir)?;
    stage_bundle(store, &mut batch, request, version)?;
    if standing == Standing::Unknown || !store.identity_dir(&role).join(CERT_FILE).exists() {
        issue_identity(store, &store.ca()?, &mut registry, &mut batch, &role)?;
    }
    batch.public(&dir.join("owner.pub"), hex_line(&store.public_key()?).as_bytes())?;
    register(&mut registry, &request.name, (request.model.clone(), version));
    store.commit(batch, registry)?;
    Ok(dir)
}

fn stage_bundle(store: &Store, batch: &mut Batch, request: &DeviceRequest, version: u32) -> Result<(), OwnerError> {
    let path = store.device_dir(&request.name).join("models").join(format!("{}.twm", request.model));
    Ok(batch.private(&path, &device_bundle(store, request, version)?.write(&store.sign_key()?))?)
}

/// Fresh masking keys, sample rows and Freivalds secrets for all models of `device`, in their newest versions and with
/// as many rows as before. Returns names and versions.
///
/// # Errors
/// [`OwnerError`]; the deployment is as it was then.
pub fn rotate_keys(store: &mut Store, device: &str) -> Result<Vec<(String, u32)>, OwnerError> {
    let devices = &store.registry.devices;
    let known = || devices.iter().map(|d| d.name.clone()).collect::<Vec<_>>().join(", ");
    let entry = devices.iter().find(|d| d.name == device);
    let entry = entry.ok_or_else(|| OwnerError::Unknown { what: "device", name: device.into(), known: known() })?;
    if Role::device(device).is_ok_and(|role| store.registry.standing(&role) == Standing::Revoked) {
        return Err(OwnerError::Revoked(device.into()));
    }
    let (mut batch, mut registry) = (Batch::default(), store.registry.clone());
    let mut rotated = Vec::new();
    for (model, _) in &entry.models {
        // A model that was withdrawn altogether is none to make keys for.
        let Some(version) = store.registry.newest(model).map(|m| m.version) else { continue };
        let path = store.device_dir(device).join("models").join(format!("{model}.twm"));
        let bytes = Zeroizing::new(std::fs::read(&path).map_err(|e| OwnerError::file(&path, e))?);
        let old = DeviceBundle::read(&bytes, &store.public_key()?).map_err(|e| OwnerError::file(&path, e))?;
        let request = DeviceRequest {
            name: device.into(),
            model: model.clone(),
            all_weights: old.has_all_weights(),
            sample_rows: old.rows.iter().map(|r| r.channels.len()).max().unwrap_or(SAMPLE_ROWS),
        };
        stage_bundle(store, &mut batch, &request, version)?;
        register(&mut registry, device, (model.clone(), version));
        rotated.push((model.clone(), version));
    }
    store.commit(batch, registry)?;
    Ok(rotated)
}

fn register(registry: &mut Registry, device: &str, model: (String, u32)) {
    let devices = &mut registry.devices;
    let at = devices.iter().position(|d| d.name == device).unwrap_or_else(|| {
        devices.push(DeviceEntry { name: device.into(), models: vec![] });
        devices.len() - 1
    });
    devices[at].models.retain(|(name, _)| *name != model.0);
    devices[at].models.push(model);
}

fn device_bundle(store: &Store, request: &DeviceRequest, version: u32) -> Result<DeviceBundle, OwnerError> {
    let owner = store.public_key()?;
    let dir = store.model_dir(&request.model, version);
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read(&path).map_err(|e| OwnerError::file(&path, e)).map(|bytes| (path, bytes))
    };
    let (path, bytes) = read("model.twm")?;
    let model = DeviceModel::read(&bytes, &owner).map_err(|e| OwnerError::file(path, e))?;
    let (path, bytes) = read("edge.twm")?;
    let (edge, digest) = EdgeBundle::read(&bytes, &owner).map_err(|e| OwnerError::file(&path, e))?;
    if digest != model.digest || edge.plan != model.plan {
        return Err(OwnerError::file(
            path,
            format!("is bundle {}, not the one of this model; add the model again", short(&digest)),
        ));
    }
    let mut key = Zeroizing::new([0u8; 32]);
    SystemRandom::new().fill(key.as_mut()).map_err(|_| OwnerError::Random)?;
    let s_out = masking_keys(&edge, &key, &digest);
    let secrets = |l: usize| Secrets::expand(&key, &digest, l as u32, &edge.plan.layers[l].geometry);
    let project = |(l, w): (usize, &Vec<i16>)| secrets(l).project(&edge.plan.layers[l].geometry, w);
    let projections = edge.weights.iter().enumerate().map(project).collect();
    let rows = sample_rows(&edge, if request.all_weights { usize::MAX } else { request.sample_rows })?;
    Ok(DeviceBundle { model, key, s_out, rows, projections })
}

/// `S_out = W·S_in mod 2^k` of each layer, packed.
fn masking_keys(edge: &EdgeBundle, key: &[u8; 32], digest: &[u8; 32]) -> Vec<Zeroizing<Vec<u8>>> {
    let plan = &edge.plan;
    let kernel = Kernels::native().named("portable").expect("the portable kernel is in every build");
    let mut scratch = Scratch::default();
    let mut s_out = vec![Zeroizing::new(Vec::new()); plan.layers.len()];
    for (g, group) in plan.groups.iter().enumerate() {
        let k = u32::from(group.k);
        let s = s_in(key, digest, g as u32, k, group.len as usize);
        for &l in &group.layers {
            let l = l as usize;
            let geometry = &plan.layers[l].geometry;
            let mut z = Zeroizing::new(vec![0; geometry.out_len()]);
            kernel.prepare(geometry, &edge.weights[l], k).apply(&s, &mut z, &mut scratch);
            pack::pack(&z, k, &mut s_out[l]);
        }
    }
    s_out
}

/// Up to `n` weight rows of each layer, drawn from the operating system's randomness: the edges must not know which.
fn sample_rows(edge: &EdgeBundle, n: usize) -> Result<Vec<Rows>, OwnerError> {
    let draw = |(layer, weights): (&twinmask_model::plan::Layer, &Vec<i16>)| {
        let (channels, fan_in) = (layer.geometry.out_channels(), layer.geometry.fan_in());
        let channels = draw_channels(channels, n)?;
        let weights = channels.iter().flat_map(|&c| weights[c as usize * fan_in..][..fan_in].iter().copied()).collect();
        Ok(Rows { channels, weights })
    };
    edge.plan.layers.iter().zip(&edge.weights).map(draw).collect()
}

/// A uniformly random subset of `n` of `channels`, ascending (a Fisher-Yates shuffle cut short).
fn draw_channels(channels: usize, n: usize) -> Result<Vec<u32>, OwnerError> {
    let mut all: Vec<u32> = (0..channels as u32).collect();
    let n = n.min(channels);
    if n < channels {
        let mut bytes = vec![0u8; 8 * n];
        SystemRandom::new().fill(&mut bytes).map_err(|_| OwnerError::Random)?;
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
            let left = (channels - i) as u128;
            all.swap(i, i + ((u128::from(word) * left) >> 64) as usize);
        }
    }
    all.truncate(n);
    all.sort_unstable();
    Ok(all)
}

/// Class names from a file, one per line.
///
/// # Errors
/// When it cannot be read or is no text.
pub fn read_labels(path: &Path) -> Result<Vec<String>, OwnerError> {
    let text = std::fs::read_to_string(path).map_err(|e| OwnerError::file(path, e))?;
    Ok(text.lines().map(|l| l.trim_end().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_channels_are_a_random_subset() {
        let mut hits = [0u32; 20];
        for _ in 0..400 {
            let drawn = draw_channels(20, 5).expect("randomness");
            assert!(drawn.len() == 5 && drawn.windows(2).all(|w| w[0] < w[1]) && drawn[4] < 20);
            drawn.iter().for_each(|&c| hits[c as usize] += 1);
        }
        // Expected 100 each, standard deviation 8.7: seven of them.
        assert!(hits.iter().all(|h| (39..161).contains(h)), "{hits:?}");
        assert_eq!(draw_channels(3, usize::MAX).expect("all"), [0, 1, 2]);
    }
}
