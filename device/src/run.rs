//! One inference: for each round run the local segment, scale each distinct input, exchange; at the end the last
//! segment (ARCHITECTURE.md, "Data flow").

use std::time::{Duration, Instant};

use twinmask_codec::GroupId;
use twinmask_kernels::elementwise;
use twinmask_model::graph::Port;
use twinmask_ring::fixed::Scale;

use crate::error::{ComputationError, DeviceError};
use crate::exchange::{Exchange, GroupInput};
use crate::exec::{ExecError, Values};
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
/// [`DeviceError::Input`] or [`DeviceError::Exec`] for an input that cannot be used, before the first round;
/// [`DeviceError::Computation`] for one that gives no finite activations, after the last, so that the exchange can be
/// finished as any; else [`DeviceError`] at once. Nothing of a failed inference is kept.
pub async fn infer(
    model: &Model,
    values: &mut Values,
    inputs: &[Vec<f32>],
    exchange: &mut impl Exchange,
) -> Result<Outcome, DeviceError> {
    start(values, inputs)?;
    rounds(model, values, exchange).await
}

/// Takes `inputs`, the elements of each of the network's input tensors, for [`rounds`]: what cannot be used is refused
/// before anybody hears of the inference.
///
/// # Errors
/// [`DeviceError::Input`] for an element that is not finite, [`DeviceError::Exec`] for what the network does not take.
pub(crate) fn start(values: &mut Values, inputs: &[Vec<f32>]) -> Result<(), DeviceError> {
    for input in inputs {
        if let Some(index) = input.iter().position(|v| !v.is_finite()) {
            return Err(InputError::NotFinite { index }.into());
        }
    }
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    Ok(values.start(&slices)?)
}

/// Runs `model` on what [`start`] has taken, the linear layers by `exchange`.
///
/// An activation that is not finite, or an index that is none, may come of honest answers to a finite input. From there
/// on every round is of zeros, masked as any, and the local segments still run: the edges do not see where it was.
///
/// # Errors
/// [`DeviceError::Computation`] for such an activation or index, when all rounds are over and the exchange can be
/// finished; else [`DeviceError`] at once. Nothing of a failed inference is kept.
pub(crate) async fn rounds(
    model: &Model,
    values: &mut Values,
    exchange: &mut impl Exchange,
) -> Result<Outcome, DeviceError> {
    let begun = Instant::now();
    let mut fault = None;
    let rounds = model.plan().round_ids();
    let mut times = Vec::with_capacity(rounds.len());
    for r in rounds {
        run_segment(values, r.index(), &mut fault)?;
        let layers = model.layers_of(r);
        let mut outputs: Vec<Vec<f32>> =
            layers.iter().map(|&l| values.buffer(model.plan().layer(l).geometry().out_len())).collect();
        let groups = model.plan().round(r).iter();
        let mut inputs: Vec<GroupInput<'_>> =
            groups.map(|&g| tensor(model, values, g, &mut fault)).collect::<Result<_, _>>()?;
        if fault.is_some() {
            inputs.iter_mut().for_each(|input| input.scale = Scale::zero());
        }
        let sent = Instant::now();
        let exchanged = exchange.round(model, r, &inputs, &mut outputs).await;
        exchanged.map_err(|e| e.in_round(r, model.plan().rounds().len()))?;
        times.push(sent.elapsed());
        for (&l, output) in layers.iter().zip(outputs) {
            values.set(model.layer_output[l.index()].value, output)?;
        }
    }
    run_segment(values, times.len(), &mut fault)?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    let graph = model.program.graph();
    let output = |(port, spec): (&Port, &TensorSpec)| {
        let tensor = Tensor::of_network(spec.shape.clone(), spec.element, values.get(port.value)?.to_vec());
        Ok(Output { name: spec.name.clone(), tensor })
    };
    let outputs = graph.outputs.iter().zip(model.outputs()).map(output).collect::<Result<_, DeviceError>>()?;
    Ok(Outcome { outputs, total: begun.elapsed(), rounds: times })
}

/// Runs a segment; the first index that is none is kept as `fault`.
fn run_segment(values: &mut Values, r: usize, fault: &mut Option<ComputationError>) -> Result<(), DeviceError> {
    match values.run_segment(r) {
        Err(e @ ExecError::Index { .. }) => {
            fault.get_or_insert(ComputationError::Index(e));
            Ok(())
        }
        ran => Ok(ran?),
    }
}

/// The tensor of a group; the first that is not finite is kept as `fault`.
fn tensor<'a>(
    model: &Model,
    values: &'a Values,
    group: GroupId,
    fault: &mut Option<ComputationError>,
) -> Result<GroupInput<'a>, DeviceError> {
    let planned = model.plan().group(group);
    let tensor = values.get(model.group_input[group.index()])?;
    let scale = elementwise::scale_of(tensor, planned.x_bits(), planned.signed()).unwrap_or_else(|source| {
        let layer = model.plan().layer(planned.layers()[0]).name().to_owned();
        fault.get_or_insert(ComputationError::NotFinite { layer, source });
        Scale::zero()
    });
    Ok(GroupInput { group, tensor, scale })
}
