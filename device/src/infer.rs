//! One inference: for each round run the local segment, scale each distinct input, exchange; at the end the last segment
//! (ARCHITECTURE.md, "Data flow").

use std::time::{Duration, Instant};

use twinmask_kernels::elementwise;
use twinmask_model::graph::Port;
use twinmask_ring::fixed::Scale;

use crate::error::DeviceError;
use crate::exec::Values;
use crate::network::Network;

/// A group's tensor.
pub struct Input<'a> {
    /// Index of the group.
    pub group: usize,
    /// Elements.
    pub tensor: &'a [f32],
    /// How they become integers.
    pub scale: Scale,
}

/// Where the linear layers are computed: two edges, or this very device (`--local`).
pub trait Exchange {
    /// Computes round `r`: for each group of `inputs`, for each of its layers, the activations of the exact integers `W·x`
    /// into the next of `outputs`.
    #[expect(async_fn_in_trait, reason = "used within this crate's own tasks, no Send bound needed")]
    async fn round(
        &mut self,
        network: &Network,
        r: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), DeviceError>;
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
    input: &[f32],
    exchange: &mut impl Exchange,
) -> Result<Outcome, DeviceError> {
    let begun = Instant::now();
    if let Some(index) = input.iter().position(|v| !v.is_finite()) {
        return Err(DeviceError::Config(format!(
            "the input holds NaN or infinity (element {index}): nothing was sent"
        )));
    }
    values.start(&[input]).map_err(graph_error)?;
    let rounds = network.plan().rounds.len();
    let mut times = Vec::with_capacity(rounds);
    for r in 0..rounds {
        values.run_segment(r).map_err(graph_error)?;
        let layers = network.layers_of(r);
        let mut outputs: Vec<Vec<f32>> =
            layers.iter().map(|&l| values.buffer(network.plan().layers[l].geometry.out_len())).collect();
        let groups = network.plan().rounds[r].iter();
        let inputs: Vec<Input<'_>> = groups.map(|&g| tensor(network, values, g as usize)).collect::<Result<_, _>>()?;
        let sent = Instant::now();
        exchange.round(network, r, &inputs, &mut outputs).await?;
        times.push(sent.elapsed());
        for (&l, output) in layers.iter().zip(outputs) {
            values.set(network.layer_output[l].value, output).map_err(graph_error)?;
        }
    }
    values.run_segment(rounds).map_err(graph_error)?;
    let output = |port: &Port| {
        let value = network.program.graph().value(port.value);
        let data = values.get(port.value).map_err(graph_error)?.to_vec();
        Ok(Output { name: value.name.clone(), shape: value.shape.clone(), data })
    };
    let outputs = network.program.graph().outputs.iter().map(output).collect::<Result<_, DeviceError>>()?;
    Ok(Outcome { outputs, total: begun.elapsed(), rounds: times })
}

fn graph_error(e: crate::exec::ExecError) -> DeviceError {
    DeviceError::Config(e.to_string())
}

fn tensor<'a>(network: &Network, values: &'a Values, group: usize) -> Result<Input<'a>, DeviceError> {
    let planned = &network.plan().groups[group];
    let tensor = values.get(network.group_input[group]).map_err(graph_error)?;
    // An activation that is not finite after honest answers cannot come from a finite input: a failed check.
    let scale = elementwise::scale_of(tensor, u32::from(planned.x_bits), planned.signed).map_err(|e| {
        let name = &network.plan().layers[planned.layers[0] as usize].name;
        DeviceError::Integrity(format!("the input of layer {name}: {e}"))
    })?;
    Ok(Input { group, tensor, scale })
}
