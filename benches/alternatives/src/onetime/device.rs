//! The device: masks with `S_in`, opens with `S_out`, and runs the network's other operators itself.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use twinmask_benches::baseline::network::Rounds;
use twinmask_codec::{GroupId, LayerId, RoundId};
use twinmask_device::engine::DeviceDir;
use twinmask_device::exec::Values;
use twinmask_kernels::elementwise;
use twinmask_layer::Geometry;
use twinmask_model::bundle::{Digest, LayerScales};
use twinmask_model::plan::Plan;
use twinmask_ring::fixed::{Scale, x_max};
use twinmask_ring::mask;
use twinmask_transport::{Connection, RecvHalf, SendHalf};

use super::protocol::{pack_parts, read, unpack_parts, write};
use super::samples::Samples;
use super::store::{KeyStore, RequestKey};

/// An edge's answer was not `W·v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCheck {
    /// The layer.
    pub layer: String,
}

impl fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the edge answered layer {} wrongly: nothing of this inference may be used", self.layer)
    }
}

impl std::error::Error for FailedCheck {}

/// A device with one model and a connection to the edge.
pub struct Device {
    rounds: Rounds,
    values: Values,
    scales: Vec<LayerScales>,
    digest: Digest,
    samples: Samples,
    stream: (SendHalf, RecvHalf),
    sent_first: Vec<u32>,
}

/// A group's tensor as integers.
struct Quantized {
    x: Vec<i32>,
    step: f32,
}

impl Device {
    /// Loads `model` from the device's folder, as `owner-keygen` wrote it. Each answer has `samples` of its outputs
    /// checked, chosen by `seed`.
    ///
    /// # Errors
    /// When the folder cannot be used or the edge is gone.
    pub async fn open(dir: &Path, model: &str, edge: &Connection, samples: usize, seed: &[u8; 32]) -> Result<Self> {
        let bundle = DeviceDir::open(dir)?.load(Some(model))?;
        let samples = Samples::new(bundle.rows, samples, seed);
        let model = bundle.model;
        let rounds = Rounds::new(model.plan, model.graph)?;
        let values = rounds.values();
        let stream = edge.open_bi().await?;
        let (scales, digest) = (model.layers, model.digest);
        Ok(Self { rounds, values, scales, digest, samples, stream, sent_first: Vec::new() })
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        self.rounds.plan()
    }

    /// Elements of the network's input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.rounds.input_len()
    }

    /// Opens a file of keys for this model.
    ///
    /// # Errors
    /// [`KeyError`](super::KeyError).
    pub fn keys(&self, path: &Path) -> Result<KeyStore, super::KeyError> {
        KeyStore::open(path, self.plan(), &self.digest)
    }

    /// What the edge got of the network's input in the last inference: `x + S_in` of the first group.
    #[must_use]
    pub fn sent_first(&self) -> &[u32] {
        &self.sent_first
    }

    /// Runs the network on `input`, using up `key`.
    ///
    /// # Errors
    /// [`FailedCheck`] when the edge answered wrongly; else when the input cannot be used or the edge is gone. The
    /// device is of no use after that.
    pub async fn infer(&mut self, key: RequestKey, input: &[f32]) -> Result<Vec<f32>> {
        self.values.start(&[input])?;
        for r in self.rounds.plan().round_ids() {
            let integers = self.quantize(r)?;
            let payload = self.mask(r, &integers, &key)?;
            write(&mut self.stream.0, r, &payload).await?;
            let parts = self.plan().answer_parts(r);
            let answer = read(&mut self.stream.1, r, &parts).await?.ok_or_else(|| anyhow!("the edge has gone"))?;
            let answers = unpack_parts(&answer, &parts)?;
            let activations = self.open_round(r, &integers, &answers, &key)?;
            self.rounds.set(&mut self.values, r, &activations)?;
        }
        Ok(self.rounds.finish(&mut self.values)?.to_vec())
    }

    fn quantize(&mut self, r: RoundId) -> Result<Vec<Quantized>> {
        let plan = self.rounds.plan();
        let tensors = self.rounds.advance(&mut self.values, r)?;
        let each = plan.round(r).iter().zip(tensors).map(|(&g, tensor)| {
            let group = plan.group(g);
            let scale: Scale = elementwise::scale_of(tensor, group.x_bits(), group.signed())?;
            let mut x = vec![0; tensor.len()];
            elementwise::quantize(tensor, scale, &mut x);
            Ok(Quantized { x, step: scale.step() })
        });
        each.collect()
    }

    /// `x + S_in` of each group of the round, packed.
    fn mask(&mut self, r: RoundId, integers: &[Quantized], key: &RequestKey) -> Result<Vec<u8>> {
        let plan = self.rounds.plan();
        let masked = |(&g, q): (&GroupId, &Quantized)| {
            let group = plan.group(g);
            let high = x_max(group.x_bits());
            let low = if group.signed() { -high } else { 0 };
            let mut v = vec![0; q.x.len()];
            let fits = elementwise::mask(&q.x, &key.s_in[g.index()], mask(group.k()), low, high, &mut v);
            fits.then_some(v).context("an integer beyond its group's bits")
        };
        let shares = plan.round(r).iter().zip(integers).map(masked).collect::<Result<Vec<_>>>()?;
        if r.index() == 0 {
            self.sent_first.clone_from(&shares[0]);
        }
        Ok(pack_parts(&shares, &self.plan().upload_parts(r)))
    }

    /// The activations of all layers of the round, one after the other.
    fn open_round(&mut self, r: RoundId, x: &[Quantized], z: &[Vec<u32>], key: &RequestKey) -> Result<Vec<f32>> {
        let plan = self.rounds.plan().clone();
        let (mut out, mut z) = (Vec::new(), z.iter());
        for (&g, q) in plan.round(r).iter().zip(x) {
            let words: Vec<u32> = q.x.iter().map(|&v| v as u32).collect();
            for &l in plan.group(g).layers() {
                let z = z.next().context("an answer is missing")?;
                let mut y = vec![0; z.len()];
                elementwise::unmask_sum(z, &key.s_out[l.index()], plan.k_of(l), 0, &mut y);
                if !self.samples.hold(&plan, l, &words, &y) {
                    return Err(FailedCheck { layer: plan.layer(l).name().to_owned() }.into());
                }
                self.rescale(l, &y, q.step, &mut out);
            }
        }
        Ok(out)
    }

    /// Integers back to activations: `y * step * scale[channel] + bias[channel]`.
    fn rescale(&self, l: LayerId, y: &[i32], step: f32, out: &mut Vec<f32>) {
        let geometry = self.plan().layer(l).geometry();
        let LayerScales { scales, bias } = &self.scales[l.index()];
        let zeros = vec![0.0; scales.len()];
        let shifts = bias.as_ref().unwrap_or(&zeros);
        let begin = out.len();
        out.resize(begin + y.len(), 0.0);
        let out = &mut out[begin..];
        match geometry {
            Geometry::Conv(_) => {
                let n = geometry.positions();
                for (((y, out), &scale), &shift) in y.chunks(n).zip(out.chunks_mut(n)).zip(scales).zip(shifts) {
                    elementwise::rescale(y, step * scale, shift, f32::NEG_INFINITY, out);
                }
            }
            Geometry::Fc(_) => {
                for (y, out) in y.chunks(scales.len()).zip(out.chunks_mut(scales.len())) {
                    elementwise::rescale_each(y, step, scales, shifts, f32::NEG_INFINITY, out);
                }
            }
        }
    }
}
