//! One inference: for each round run the local segment; per distinct input scale, round, exchange; scale back, add
//! the bias; at the end the last segment (ARCHITECTURE.md, "Data flow").

use std::time::{Duration, Instant};

use twinmask_gemm::elementwise;
use twinmask_model::bundle::LayerScales;
use twinmask_model::graph::ValueId;

use crate::error::DeviceError;
use crate::exec::Values;
use crate::network::Network;

/// A group's quantized tensor.
pub struct Quantized {
    /// Index of the group.
    pub group: usize,
    /// Integers of `x_bits` magnitude bits.
    pub x: Vec<i32>,
    /// What one integer step is worth.
    pub scale: f32,
}

/// Where the linear layers are computed: two edges, or this very device (`--local`).
pub trait Exchange {
    /// Computes round `r`: for each group of `inputs`, for each of its layers, the exact integers `W·x`.
    #[expect(async_fn_in_trait, reason = "used within this crate's own tasks, no Send bound needed")]
    async fn round(&mut self, r: usize, inputs: &[Quantized]) -> Result<Vec<Vec<Vec<i32>>>, DeviceError>;
}

/// One output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name from the model file.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<u32>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// What an inference gave and what it took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The network's outputs.
    pub outputs: Vec<Output>,
    /// Time of the whole inference.
    pub total: Duration,
    /// Time within exchanges, per round.
    pub rounds: Vec<Duration>,
}

impl Outcome {
    /// Time outside exchanges: what the device itself computed.
    #[must_use]
    pub fn device(&self) -> Duration {
        self.total.saturating_sub(self.rounds.iter().sum())
    }
}

/// Runs `network` on `input` (elements of its input tensor), the linear layers by `exchange`.
///
/// # Errors
/// [`DeviceError`]; nothing of a failed inference is kept.
pub async fn infer(
    network: &Network,
    values: &mut Values,
    input: Vec<f32>,
    exchange: &mut impl Exchange,
) -> Result<Outcome, DeviceError> {
    let begun = Instant::now();
    if let Some(index) = input.iter().position(|v| !v.is_finite()) {
        return Err(DeviceError::Config(format!(
            "the input holds NaN or infinity (element {index}): nothing was sent"
        )));
    }
    values.start(input).map_err(graph_error)?;
    let rounds = network.plan().rounds.len();
    let mut times = Vec::with_capacity(rounds);
    for r in 0..rounds {
        values.run_segment(r).map_err(graph_error)?;
        let groups = &network.plan().rounds[r];
        let inputs: Vec<Quantized> =
            groups.iter().map(|&g| quantize(network, values, g as usize)).collect::<Result<_, _>>()?;
        let sent = Instant::now();
        let answers = exchange.round(r, &inputs).await?;
        times.push(sent.elapsed());
        for (quantized, layers) in inputs.iter().zip(answers) {
            let group = &network.plan().groups[quantized.group];
            for (&l, y) in group.layers.iter().zip(layers) {
                put_back(network, values, l as usize, &y, quantized.scale)?;
            }
        }
    }
    values.run_segment(rounds).map_err(graph_error)?;
    let output = |&id: &ValueId| {
        let value = network.program.graph().value(id);
        let data = values.get(id).map_err(graph_error)?.to_vec();
        Ok(Output { name: value.name.clone(), shape: value.shape.clone(), data })
    };
    let outputs = network.program.graph().outputs.iter().map(output).collect::<Result<_, DeviceError>>()?;
    Ok(Outcome { outputs, total: begun.elapsed(), rounds: times })
}

fn graph_error(e: crate::exec::ExecError) -> DeviceError {
    DeviceError::Config(e.to_string())
}

fn quantize(network: &Network, values: &Values, group: usize) -> Result<Quantized, DeviceError> {
    let planned = &network.plan().groups[group];
    let tensor = values.get(network.group_input[group]).map_err(graph_error)?;
    let mut x = vec![0; tensor.len()];
    // An activation that is not finite after honest answers cannot come from a finite input: a failed check.
    let scale = elementwise::quantize(tensor, u32::from(planned.x_bits), planned.signed, &mut x).map_err(|e| {
        let name = &network.plan().layers[planned.layers[0] as usize].name;
        DeviceError::Integrity(format!("the input of layer {name}: {e}"))
    })?;
    Ok(Quantized { group, x, scale })
}

/// Integers back to activations: `y * s_x * s_w[channel] + bias[channel]`.
fn put_back(network: &Network, values: &mut Values, l: usize, y: &[i32], scale: f32) -> Result<(), DeviceError> {
    let geometry = &network.plan().layers[l].geometry;
    let LayerScales { scales, bias } = &network.model.layers[l];
    let shift = |c: usize| bias.as_ref().map_or(0.0, |b| b[c]);
    let mut out = values.buffer(y.len());
    // Rows of one channel (Conv), or rows of all channels (FC), so that the inner loops vectorise.
    match geometry {
        twinmask_gemm::Geometry::Conv(_) => {
            let positions = geometry.positions();
            for (c, (out, y)) in out.chunks_exact_mut(positions).zip(y.chunks_exact(positions)).enumerate() {
                elementwise::scale(y, scale * scales[c], shift(c), out);
            }
        }
        twinmask_gemm::Geometry::Fc(_) => {
            for (i, (o, &y)) in out.iter_mut().zip(y).enumerate() {
                let c = i % scales.len();
                *o = y as f32 * (scale * scales[c]) + shift(c);
            }
        }
    }
    values.set(network.layer_output[l], out).map_err(graph_error)
}
