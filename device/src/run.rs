//! One inference: for each round run the local segment, scale each distinct input, exchange; at the end the last
//! segment (ARCHITECTURE.md, "Data flow").

use std::time::{Duration, Instant};

use twinmask_codec::GroupId;
use twinmask_kernels::elementwise;
use twinmask_model::graph::Port;

use crate::error::{CheckError, DeviceError};
use crate::exchange::{Exchange, GroupInput};
use crate::exec::Values;
use crate::input::{InputError, Tensor, TensorSpec};
use crate::model::Model;

/// One output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Name from the model file.
    pub name: String,
    /// Shape and elements.
    pub tensor: Tensor,
}

/// What an inference gave and what it took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The network's outputs.
    pub outputs: Vec<Output>,
    /// Time of all rounds and segments.
    pub total: Duration,
    /// Time within exchanges, per round.
    pub rounds: Vec<Duration>,
}

/// Runs `model` on `inputs` (the elements of each of its input tensors), the linear layers by `exchange`.
///
/// # Errors
/// [`DeviceError`]; nothing of a failed inference is kept.
pub async fn infer(
    model: &Model,
    values: &mut Values,
    inputs: &[Vec<f32>],
    exchange: &mut impl Exchange,
) -> Result<Outcome, DeviceError> {
    let begun = Instant::now();
    for input in inputs {
        if let Some(index) = input.iter().position(|v| !v.is_finite()) {
            return Err(InputError::NotFinite { index }.into());
        }
    }
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    values.start(&slices)?;
    let rounds = model.plan().round_ids();
    let mut times = Vec::with_capacity(rounds.len());
    for r in rounds {
        values.run_segment(r.index())?;
        let layers = model.layers_of(r);
        let mut outputs: Vec<Vec<f32>> =
            layers.iter().map(|&l| values.buffer(model.plan().layer(l).geometry().out_len())).collect();
        let groups = model.plan().round(r).iter();
        let inputs: Vec<GroupInput<'_>> = groups.map(|&g| tensor(model, values, g)).collect::<Result<_, _>>()?;
        let sent = Instant::now();
        exchange.round(model, r, &inputs, &mut outputs).await?;
        times.push(sent.elapsed());
        for (&l, output) in layers.iter().zip(outputs) {
            values.set(model.layer_output[l.index()].value, output)?;
        }
    }
    values.run_segment(times.len())?;
    let graph = model.program.graph();
    let output = |(port, spec): (&Port, &TensorSpec)| {
        let tensor = Tensor::of_network(spec.shape.clone(), spec.element, values.get(port.value)?.to_vec());
        Ok(Output { name: spec.name.clone(), tensor })
    };
    let outputs = graph.outputs.iter().zip(model.outputs()).map(output).collect::<Result<_, DeviceError>>()?;
    Ok(Outcome { outputs, total: begun.elapsed(), rounds: times })
}

fn tensor<'a>(model: &Model, values: &'a Values, group: GroupId) -> Result<GroupInput<'a>, DeviceError> {
    let planned = model.plan().group(group);
    let tensor = values.get(model.group_input[group.index()])?;
    // An activation that is not finite after honest answers cannot come from a finite input: a failed check.
    let scale = elementwise::scale_of(tensor, planned.x_bits(), planned.signed()).map_err(|source| {
        let layer = model.plan().layer(planned.layers()[0]).name().to_owned();
        CheckError::NotFinite { layer, source }
    })?;
    Ok(GroupInput { group, tensor, scale })
}
