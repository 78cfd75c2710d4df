//! `add-model` and `add-device`: from a network to bundles (paper Algorithm 1, Setup).

use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use twinmask_gemm::{Scratch, kernel};
use twinmask_masking::freivalds::Secrets;
use twinmask_masking::keys::s_in;
use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle, Rows, short};
use twinmask_model::preprocess::Preprocess;
use twinmask_model::ring_plan::Profile;
use twinmask_ring::pack;
use twinmask_transport::Role;
use zeroize::Zeroizing;

use crate::error::OwnerError;
use crate::onnx::{ImportOptions, Imported, import};
use crate::partition::{Offload, partition};
use crate::pki::{Validity, write_identity};
use crate::secure_file::{create_private_dir, write_private, write_public};
use crate::store::{DeviceEntry, ModelEntry, Store, check_name, hex_line};
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
}

/// Imports, partitions, quantizes and signs a model, and hands it to both edges. Returns its entry and what a person
/// should know.
///
/// # Errors
/// [`OwnerError`]; the registry is written last, so a failure leaves the deployment as it was.
pub fn add_model(store: &mut Store, request: ModelRequest) -> Result<(ModelEntry, Vec<String>), OwnerError> {
    check_name("model", &request.name)?;
    let Imported { graph, mut warnings, .. } = load(store, &request)?;
    let shape = graph.shape(graph.input).to_vec();
    let preprocess = match &request.preprocess {
        Some(p) => p.clone(),
        None => default_preprocess(&request.source, &shape, &mut warnings),
    };
    let parts = partition(graph, request.profile, &request.offload)?;
    let version = store.registry.newest(&request.name).map_or(1, |m| m.version + 1);
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
    };
    let dir = store.model_dir(&request.name, version);
    create_private_dir(&dir)?;
    write_private(&dir.join("edge.twm"), &edge_bytes)?;
    write_private(&dir.join("model.twm"), &model.write(&key))?;
    for edge in ["edge-a", "edge-b"] {
        let models = store.edge_dir(edge).join("models");
        create_private_dir(&models)?;
        write_private(&models.join(format!("{}-v{version}.twm", request.name)), &edge_bytes)?;
    }
    let source = match request.source {
        Source::Onnx(path) => path.display().to_string(),
        Source::Zoo(arch, seed) => format!("zoo {} seed {seed}", arch.name()),
    };
    let digest = digest.iter().map(|b| format!("{b:02x}")).collect();
    let entry = ModelEntry { name: request.name, version, digest, source, ring: request.profile.to_string() };
    store.registry.models.push(entry.clone());
    store.save()?;
    Ok((entry, warnings))
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
/// [`OwnerError`]; the registry is written last.
pub fn add_device(store: &mut Store, request: &DeviceRequest) -> Result<PathBuf, OwnerError> {
    check_name("device", &request.name)?;
    let role = Role::device(&request.name).map_err(|e| OwnerError::Usage(e.to_string()))?;
    let known = || store.registry.models.iter().map(|m| m.name.clone()).collect::<Vec<_>>().join(", ");
    let entry = store.registry.newest(&request.model);
    let entry = entry.ok_or_else(|| OwnerError::UnknownModel { name: request.model.clone(), known: known() })?;
    let version = entry.version;
    let bundle = device_bundle(store, request, version)?;
    let dir = store.device_dir(&request.name);
    create_private_dir(&dir.join("models"))?;
    create_private_dir(&dir)?;
    if !dir.join("identity").join("cert.pem").exists() {
        write_identity(&dir.join("identity"), &store.ca()?.issue(&role, Validity::default())?)?;
    }
    write_public(&dir.join("owner.pub"), hex_line(&store.public_key()?).as_bytes())?;
    write_private(&dir.join("models").join(format!("{}.twm", request.model)), &bundle.write(&store.sign_key()?))?;
    register(store, &request.name, (request.model.clone(), version));
    store.save()?;
    Ok(dir)
}

fn register(store: &mut Store, device: &str, model: (String, u32)) {
    let devices = &mut store.registry.devices;
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
    let kernel = kernel("portable").expect("the portable kernel is in every build");
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
