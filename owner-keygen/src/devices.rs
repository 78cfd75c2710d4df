//! `add-device`: fresh masking keys of a model for one device (paper Algorithm 1, Setup).

use std::path::PathBuf;

use ring::rand::{SecureRandom, SystemRandom};
use twinmask_codec::LayerId;
use twinmask_masking::freivalds::Secrets;
use twinmask_masking::keys;
use twinmask_model::bundle::{DeviceBundle, DeviceModel, EdgeBundle, Rows, short};
use twinmask_model::plan::Layer;
use twinmask_transport::owner_key::OWNER_FILE;
use twinmask_transport::{Identity, Role};
use zeroize::Zeroizing;

use crate::error::{OwnerError, UsageError};
use crate::hex::hex_line;
use crate::registry::{DeviceEntry, Registry, Standing};
use crate::secure_file::{Batch, create_private_dir};
use crate::store::{EDGE_BUNDLE, MODEL_BUNDLE, Store, check_name};

/// Weight rows per layer that a device holds for spot checks unless told otherwise.
pub const SAMPLE_ROWS: usize = 64;

/// Models that one device may have: its certificate names them, and has to fit in a handshake.
const MOST_MODELS: usize = 100;

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

/// Issues a model to a device: fresh masking keys, secret sample rows, and an identity if it has none whose certificate
/// names the model. Certificates that it had stay valid. Returns the device's folder.
///
/// # Errors
/// [`OwnerError`]; the deployment is as it was then.
pub fn add_device(store: &mut Store, request: &DeviceRequest) -> Result<PathBuf, OwnerError> {
    check_name("device", &request.name)?;
    let role = Role::device(&request.name).map_err(UsageError::from)?;
    let known = || store.registry.models.iter().map(|m| m.name.clone()).collect::<Vec<_>>().join(", ");
    let entry = store.registry.newest(&request.model);
    let entry = entry.ok_or_else(|| OwnerError::UnknownModel { name: request.model.clone(), known: known() })?;
    let version = entry.version;
    let standing = store.registry.standing(&role);
    if standing == Standing::Revoked {
        return Err(OwnerError::Revoked(request.name.clone()));
    }
    let issued = store.registry.models_of(&role);
    if issued.len() >= MOST_MODELS && !issued.contains(&request.model) {
        return Err(UsageError::TooManyModels { device: request.name.clone(), most: MOST_MODELS }.into());
    }
    let (mut batch, mut registry) = (Batch::default(), store.registry.clone());
    let dir = store.device_dir(&request.name);
    batch.folder(&dir.join("models"))?;
    create_private_dir(&dir)?;
    stage_bundle(store, &mut batch, request, version, registry.next_issue())?;
    register(&mut registry, &request.name, (request.model.clone(), version));
    if standing == Standing::Unknown || !holds_identity(store, &role, &registry) {
        registry.issue((&store.ca()?, &store.mask_key()?), &mut batch, &role, &store.identity_dir(&role))?;
    }
    batch.public(&dir.join(OWNER_FILE), hex_line(&store.public_key()?).as_bytes())?;
    store.commit(Batch::default(), registry, batch)?;
    Ok(dir)
}

/// Whether the folder of `role` has an identity that is whole, valid, on record, and for all models that were issued.
/// One that was cut short half way is not.
fn holds_identity(store: &Store, role: &Role, registry: &Registry) -> bool {
    let fits = |i: Identity| {
        let named = registry.models_of(role).iter().all(|m| i.models().contains(m));
        i.role() == role && registry.knows(i.serial()) && i.mask_key().is_ok() && named
    };
    Identity::load_bare(&store.identity_dir(role)).is_ok_and(fits)
}

fn stage_bundle(
    store: &Store,
    batch: &mut Batch,
    request: &DeviceRequest,
    version: u32,
    issued: u64,
) -> Result<(), OwnerError> {
    let path = store.device_dir(&request.name).join("models").join(format!("{}.twm", request.model));
    Ok(batch.private(&path, &device_bundle(store, request, version, issued)?.write(&store.sign_key()?))?)
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
        stage_bundle(store, &mut batch, &request, version, registry.next_issue())?;
        register(&mut registry, device, (model.clone(), version));
        rotated.push((model.clone(), version));
    }
    store.commit(Batch::default(), registry, batch)?;
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

fn device_bundle(
    store: &Store,
    request: &DeviceRequest,
    version: u32,
    issued: u64,
) -> Result<DeviceBundle, OwnerError> {
    let owner = store.public_key()?;
    let dir = store.model_dir(&request.model, version);
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read(&path).map_err(|e| OwnerError::file(&path, e)).map(|bytes| (path, bytes))
    };
    let (path, bytes) = read(MODEL_BUNDLE)?;
    let model = DeviceModel::read(&bytes, &owner).map_err(|e| OwnerError::file(path, e))?;
    let (path, bytes) = read(EDGE_BUNDLE)?;
    let (edge, digest) = EdgeBundle::read(&bytes, &owner).map_err(|e| OwnerError::file(&path, e))?;
    if digest != model.digest || edge.plan != model.plan {
        return Err(OwnerError::file(
            path,
            format!("is bundle {}, not the one of this model; add the model again", short(&digest)),
        ));
    }
    let mut key = Zeroizing::new([0u8; 32]);
    SystemRandom::new().fill(key.as_mut()).map_err(|_| OwnerError::Random)?;
    let s_out = keys::s_out(&key, &digest, &edge.plan, &edge.weights);
    let project = |((l, layer), weights): ((LayerId, &Layer), &Vec<i16>)| {
        Secrets::expand(&key, &digest, l, layer.geometry()).project(layer.geometry(), weights)
    };
    let projections = edge.plan.numbered_layers().zip(&edge.weights).map(project).collect();
    let rows = sample_rows(&edge, if request.all_weights { usize::MAX } else { request.sample_rows })?;
    Ok(DeviceBundle { model, issued, key, s_out, rows, projections })
}

/// Up to `n` weight rows of each layer, drawn from the operating system's randomness: the edges must not know which.
fn sample_rows(edge: &EdgeBundle, n: usize) -> Result<Vec<Rows>, OwnerError> {
    let draw = |(layer, weights): (&Layer, &Vec<i16>)| {
        let (channels, fan_in) = (layer.geometry().out_channels(), layer.geometry().fan_in());
        let channels = draw_channels(channels, n)?;
        // Of its size from the start: growing would leave copies behind.
        let mut drawn = Vec::with_capacity(channels.len() * fan_in);
        channels.iter().for_each(|&c| drawn.extend_from_slice(&weights[c as usize * fan_in..][..fan_in]));
        Ok(Rows { channels, weights: drawn })
    };
    edge.plan.layers().iter().zip(&edge.weights).map(draw).collect()
}

/// A uniformly random subset of `n` of `channels`, ascending (a Fisher-Yates shuffle cut short).
fn draw_channels(channels: usize, n: usize) -> Result<Vec<u32>, OwnerError> {
    let mut all: Zeroizing<Vec<u32>> = Zeroizing::new((0..channels as u32).collect());
    let n = n.min(channels);
    if n < channels {
        let mut bytes = Zeroizing::new(vec![0u8; 8 * n]);
        SystemRandom::new().fill(&mut bytes).map_err(|_| OwnerError::Random)?;
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
            let left = (channels - i) as u128;
            all.swap(i, i + ((u128::from(word) * left) >> 64) as usize);
        }
    }
    all[..n].sort_unstable();
    Ok(all[..n].to_vec())
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
