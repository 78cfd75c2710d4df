//! What the three kinds of bundles hold: [`EdgeBundle`] (plan and integer weights), [`DeviceModel`] (the device's
//! part of a network, kept by the owner without keys) and [`DeviceBundle`] (the same with one device's keys).

use std::collections::BTreeMap;

use ring::signature::Ed25519KeyPair;
use serde::{Deserialize, Serialize};
use twinmask_codec::LayerId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::container::{ContainerError, Kind, Reader, Storage, Writer};
use crate::graph::Graph;
use crate::plan::{Layer, Plan, PlanParts};
use crate::preprocess::Preprocess;
use crate::ring_plan::Profile;
use crate::shapes;

/// BLAKE3 digest of an edge bundle: the identity of a model version.
pub type Digest = [u8; 32];

/// Memory that decoding a bundle's metadata may claim, in bytes.
const META_LIMIT: usize = 64 << 20;
/// Memory that one inference's tensors may take on a device, in bytes.
pub const MEMORY_CAP: usize = 2 << 30;

/// First eight bytes of a digest in hex, for people.
#[must_use]
pub fn short(digest: &Digest) -> String {
    digest[..8].iter().map(|b| format!("{b:02x}")).collect()
}

fn malformed(section: &str, reason: impl std::fmt::Display) -> ContainerError {
    ContainerError::Section { section: section.into(), reason: reason.to_string() }
}

/// Integer weights `[out_channels, fan_in]` as stored: one byte each if they fit, else two.
fn weight_bytes(weights: &[i16], w_bits: u32) -> Vec<u8> {
    if w_bits <= 8 {
        weights.iter().map(|&w| w as i8 as u8).collect()
    } else {
        weights.iter().flat_map(|w| w.to_le_bytes()).collect()
    }
}

fn weights_from(bytes: &[u8], w_bits: u32, len: usize) -> Option<Vec<i16>> {
    if w_bits <= 8 {
        (bytes.len() == len).then(|| bytes.iter().map(|&b| i16::from(b as i8)).collect())
    } else {
        (bytes.len() == 2 * len).then(|| bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect())
    }
}

/// What an edge holds of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeBundle {
    /// Model name.
    pub model: String,
    /// Version of that name, from 1.
    pub version: u32,
    /// The plan.
    pub plan: Plan,
    /// Integer weights of each layer, `[out_channels, fan_in]`.
    pub weights: Vec<Vec<i16>>,
}

#[derive(Serialize, Deserialize)]
struct EdgeManifest {
    model: String,
    version: u32,
    plan: PlanParts,
}

impl EdgeBundle {
    /// The signed bundle and the digest that names it everywhere.
    #[must_use]
    pub fn write(&self, owner: &Ed25519KeyPair) -> (Vec<u8>, Digest) {
        let mut w = Writer::new(Kind::Edge);
        let manifest = EdgeManifest { model: self.model.clone(), version: self.version, plan: self.plan.to_parts() };
        w.section("manifest", Storage::Zstd, &twinmask_codec::encode(&manifest));
        for (i, (weights, layer)) in self.weights.iter().zip(self.plan.layers()).enumerate() {
            w.section(format!("weights.{i}"), Storage::Zstd, &weight_bytes(weights, layer.w_bits()));
        }
        w.finish(owner)
    }

    /// Reads and checks a bundle; also gives its digest.
    ///
    /// # Errors
    /// [`ContainerError`] when anything is off.
    pub fn read(bytes: &[u8], owner: &[u8; 32]) -> Result<(Self, Digest), ContainerError> {
        let reader = Reader::open(bytes, Kind::Edge, owner)?;
        let m: EdgeManifest = reader.decode::<_, META_LIMIT>("manifest")?;
        let plan = Plan::new(m.plan).map_err(|e| malformed("manifest", e))?;
        let mut weights = Vec::with_capacity(plan.layers().len());
        for (i, layer) in plan.layers().iter().enumerate() {
            let name = format!("weights.{i}");
            let stored = weights_from(&reader.section(&name)?, layer.w_bits(), layer.geometry().weight_len());
            weights.push(stored.ok_or_else(|| malformed(&name, "has the wrong length"))?);
        }
        Ok((Self { model: m.model, version: m.version, plan, weights }, reader.digest()))
    }
}

/// Scales and bias that turn one layer's integers back into activations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerScales {
    /// `s_w` per output channel.
    pub scales: Vec<f32>,
    /// Bias per output channel, if the layer has one.
    pub bias: Option<Vec<f32>>,
}

/// The device's part of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceModel {
    /// Model name.
    pub model: String,
    /// Version of that name, from 1.
    pub version: u32,
    /// Digest of the edge bundle that it works with.
    pub digest: Digest,
    /// Ring profile that it was planned with.
    pub profile: Profile,
    /// The plan, equal to the edge bundle's.
    pub plan: Plan,
    /// The local graph with [`Linear`](crate::ops::Linear) holes.
    pub graph: Graph,
    /// Per layer of the plan.
    pub layers: Vec<LayerScales>,
    /// How pictures become tensors.
    pub preprocess: Preprocess,
    /// Class names, if any.
    pub labels: Vec<String>,
    /// For networks that embed faces: the least cosine at which two pictures count as the same person.
    pub threshold: Option<f32>,
}

#[derive(Serialize, Deserialize)]
struct DeviceManifest {
    model: String,
    version: u32,
    digest: Digest,
    profile: Profile,
    plan: PlanParts,
    graph: Graph,
    layers: Vec<LayerScales>,
    preprocess: Preprocess,
    labels: Vec<String>,
    threshold: Option<f32>,
}

impl DeviceModel {
    fn put(&self, w: &mut Writer) {
        let manifest = DeviceManifest {
            model: self.model.clone(),
            version: self.version,
            digest: self.digest,
            profile: self.profile,
            plan: self.plan.to_parts(),
            graph: self.graph.clone(),
            layers: self.layers.clone(),
            preprocess: self.preprocess.clone(),
            labels: self.labels.clone(),
            threshold: self.threshold,
        };
        w.section("manifest", Storage::Zstd, &twinmask_codec::encode(&manifest));
        let ids: Vec<u32> = self.graph.constants.keys().copied().collect();
        w.section("constant-ids", Storage::Zstd, &twinmask_codec::encode(&ids));
        let data: Vec<u8> = self.graph.constants.values().flatten().flat_map(|v| v.to_le_bytes()).collect();
        w.section("constants", Storage::Zstd, &data);
    }

    fn take(reader: &Reader<'_>) -> Result<Self, ContainerError> {
        let m: DeviceManifest = reader.decode::<_, META_LIMIT>("manifest")?;
        let mut graph = m.graph;
        let ids: Vec<u32> = reader.decode::<_, META_LIMIT>("constant-ids")?;
        graph.constants = constants(&graph, &ids, &reader.section("constants")?)?;
        let model = Self {
            model: m.model,
            version: m.version,
            digest: m.digest,
            profile: m.profile,
            plan: Plan::new(m.plan).map_err(|e| malformed("manifest", e))?,
            graph,
            layers: m.layers,
            preprocess: m.preprocess,
            labels: m.labels,
            threshold: m.threshold,
        };
        model.validate().map_err(|e| malformed("manifest", e))?;
        Ok(model)
    }

    /// Checks graph, plan and scales against each other (shapes are inferred anew).
    fn validate(&self) -> Result<(), String> {
        shapes::check(&self.graph, MEMORY_CAP).map_err(|e| e.to_string())?;
        if self.threshold.is_some_and(|t| !(-1.0..=1.0).contains(&t)) {
            return Err("its threshold is no cosine".into());
        }
        if self.layers.len() != self.plan.layers().len() {
            return Err("scales for another number of layers".into());
        }
        for (scales, layer) in self.layers.iter().zip(self.plan.layers()) {
            let n = layer.geometry().out_channels();
            let bias = scales.bias.as_deref().unwrap_or(&[]);
            let finite = scales.scales.iter().chain(bias).all(|v| v.is_finite());
            if scales.scales.len() != n || !(bias.is_empty() || bias.len() == n) || !finite {
                return Err(format!("scales of layer {} do not fit its {n} channels", layer.name()));
            }
        }
        crate::rounds::check(&self.graph, &self.plan).map_err(|e| e.to_string())
    }

    /// The signed bundle of the owner's store.
    #[must_use]
    pub fn write(&self, owner: &Ed25519KeyPair) -> Vec<u8> {
        let mut w = Writer::new(Kind::Model);
        self.put(&mut w);
        w.finish(owner).0
    }

    /// Reads and checks a bundle of the owner's store.
    ///
    /// # Errors
    /// [`ContainerError`] when anything is off.
    pub fn read(bytes: &[u8], owner: &[u8; 32]) -> Result<Self, ContainerError> {
        Self::take(&Reader::open(bytes, Kind::Model, owner)?)
    }
}

fn constants(graph: &Graph, ids: &[u32], data: &[u8]) -> Result<BTreeMap<u32, Vec<f32>>, ContainerError> {
    let fail = || malformed("constants", "do not fit their shapes");
    let mut rest = data;
    let mut out = BTreeMap::new();
    for &id in ids {
        let len = graph.values.get(id as usize).and_then(|v| v.len().checked_mul(4)).ok_or_else(fail)?;
        let (head, tail) = rest.split_at_checked(len).ok_or_else(fail)?;
        out.insert(id, head.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
        rest = tail;
    }
    if rest.is_empty() && out.len() == ids.len() { Ok(out) } else { Err(fail()) }
}

/// Weight rows of one layer that the device holds, for spot checks or (all of them) for `--local`. Which they are is
/// secret: they are wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Rows {
    /// Output channels, ascending.
    pub channels: Vec<u32>,
    /// Their weights, `[channels, fan_in]`.
    pub weights: Vec<i16>,
}

/// One device's bundle: model part, keys and weight rows. Secret as a whole.
pub struct DeviceBundle {
    /// The device's part of the network.
    pub model: DeviceModel,
    /// Above that of all bundles that the owner issued before: the second of its clock since 1970, or one more than the
    /// last; 0 if it did not count.
    pub issued: u64,
    /// Device key that `S_in` is expanded from (PROTOCOL.md, "Keys").
    pub key: Zeroizing<[u8; 32]>,
    /// `S_out = W·S_in mod 2^k` of each layer, packed.
    pub s_out: Vec<Zeroizing<Vec<u8>>>,
    /// Weight rows of each layer.
    pub rows: Vec<Rows>,
    /// `W^T s mod 2^61 - 1` of each layer for the Freivalds check, `[groups, fan_in]` (PROTOCOL.md, "Integrity").
    pub projections: Vec<Zeroizing<Vec<u64>>>,
}

impl DeviceBundle {
    /// The signed bundle; the result is secret.
    #[must_use]
    pub fn write(&self, owner: &Ed25519KeyPair) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::new(Kind::Device);
        self.model.put(&mut w);
        if self.issued != 0 {
            w.section("issued", Storage::Plain, &self.issued.to_le_bytes());
        }
        w.section("key", Storage::Plain, self.key.as_ref());
        for (i, ((s_out, rows), projection)) in self.s_out.iter().zip(&self.rows).zip(&self.projections).enumerate() {
            let projection: Zeroizing<Vec<u8>> =
                Zeroizing::new(projection.iter().flat_map(|v| v.to_le_bytes()).collect());
            w.section(format!("freivalds.{i}"), Storage::Plain, &projection);
            w.section(format!("s_out.{i}"), Storage::Plain, s_out);
            let channels = Zeroizing::new(twinmask_codec::encode(&rows.channels));
            w.section(format!("channels.{i}"), Storage::Zstd, &channels);
            let weights = weight_bytes(&rows.weights, self.model.plan.layers()[i].w_bits());
            w.section(format!("rows.{i}"), Storage::Zstd, &Zeroizing::new(weights));
        }
        Zeroizing::new(w.finish(owner).0)
    }

    /// Reads and checks a device's bundle.
    ///
    /// # Errors
    /// [`ContainerError`] when anything is off.
    pub fn read(bytes: &[u8], owner: &[u8; 32]) -> Result<Self, ContainerError> {
        let reader = Reader::open(bytes, Kind::Device, owner)?;
        let model = DeviceModel::take(&reader)?;
        let issued = match reader.names().any(|n| n == "issued") {
            true => {
                let bytes = reader.section("issued")?;
                let bytes = bytes.as_slice().try_into().map_err(|_| malformed("issued", "has the wrong length"))?;
                u64::from_le_bytes(bytes)
            }
            false => 0,
        };
        let mut key = Zeroizing::new([0u8; 32]);
        let stored = reader.section("key")?;
        if stored.len() != key.len() {
            return Err(malformed("key", "has the wrong length"));
        }
        key.copy_from_slice(&stored);
        let (mut s_out, mut rows, mut projections) = (Vec::new(), Vec::new(), Vec::new());
        for (l, layer) in model.plan.numbered_layers() {
            let packed = reader.section(&format!("s_out.{l}"))?;
            if packed.len() != model.plan.answer_part(l).packed_len() {
                return Err(malformed(&format!("s_out.{l}"), "has the wrong length"));
            }
            s_out.push(packed);
            rows.push(Self::take_rows(&reader, l, layer)?);
            projections.push(Self::take_projection(&reader, l, layer)?);
        }
        Ok(Self { model, issued, key, s_out, rows, projections })
    }

    fn take_rows(reader: &Reader<'_>, l: LayerId, layer: &Layer) -> Result<Rows, ContainerError> {
        let name = format!("rows.{l}");
        let channels: Vec<u32> = reader.decode::<_, META_LIMIT>(&format!("channels.{l}"))?;
        let ascending = channels.windows(2).all(|w| w[0] < w[1]);
        if !ascending || channels.last().is_some_and(|&c| c as usize >= layer.geometry().out_channels()) {
            return Err(malformed(&name, "belong to no ascending channels of the layer"));
        }
        let len = channels.len() * layer.geometry().fan_in();
        let weights = weights_from(&reader.section(&name)?, layer.w_bits(), len);
        Ok(Rows { channels, weights: weights.ok_or_else(|| malformed(&name, "have the wrong length"))? })
    }

    fn take_projection(reader: &Reader<'_>, l: LayerId, layer: &Layer) -> Result<Zeroizing<Vec<u64>>, ContainerError> {
        let name = format!("freivalds.{l}");
        let bytes = reader.section(&name)?;
        if bytes.len() != 8 * layer.geometry().groups() * layer.geometry().fan_in() {
            return Err(malformed(&name, "has the wrong length"));
        }
        let word = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("chunks of eight bytes"));
        Ok(Zeroizing::new(bytes.chunks_exact(8).map(word).collect()))
    }

    /// Whether every row of every layer is there, as `--local` needs.
    #[must_use]
    pub fn has_all_weights(&self) -> bool {
        self.rows.iter().zip(self.model.plan.layers()).all(|(r, l)| r.channels.len() == l.geometry().out_channels())
    }
}
