//! A loaded model: the device's graph as a program, scales, keys and checks. Shared by all inferences.

use std::mem::take;
use std::sync::Arc;

use twinmask_codec::{LayerId, RoundId};
use twinmask_masking::integrity::Checker;
use twinmask_masking::{DeviceKeys, Integrity};
use twinmask_model::bundle::{DeviceBundle, DeviceModel, LayerScales, MEMORY_CAP};
use twinmask_model::cost;
use twinmask_model::graph::{Graph, Port, ValueId};
use twinmask_model::ops::Op;
use twinmask_model::plan::Plan;

use crate::error::{DeviceError, ModelError};
use crate::exec::{Program, Values};
use crate::input::{InputSpec, MAX_MEGAPIXELS, TensorSpec};
use crate::rescale::Rescale;

/// The value that a layer's answer is put in as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerOutput {
    pub(crate) value: ValueId,
    /// Whether it is what a ReLU makes of the answer.
    relu: bool,
}

/// A model, ready for inferences.
pub struct Model {
    bundle: DeviceModel,
    inputs: InputSpec,
    outputs: Vec<TensorSpec>,
    pub(crate) program: Arc<Program>,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) checker: Checker,
    /// Value that each group quantizes.
    pub(crate) group_input: Vec<ValueId>,
    /// What becomes of each layer's answer.
    pub(crate) layer_output: Vec<LayerOutput>,
    /// By layer, bias of each output channel, or zeros.
    shifts: Vec<Vec<f32>>,
}

impl Model {
    /// Expands keys and sorts the graph of a verified bundle.
    ///
    /// # Errors
    /// When the bundle lacks what `integrity` needs, or does not fit together.
    pub fn new(mut bundle: DeviceBundle, integrity: Integrity) -> Result<Self, DeviceError> {
        let name = bundle.model.model.clone();
        let of_model = |source: ModelError| DeviceError::Model { model: name.clone(), source };
        let keys = Arc::new(DeviceKeys::expand(&bundle).map_err(|e| of_model(e.into()))?);
        let program = Program::new(take(&mut bundle.model.graph), MEMORY_CAP).map_err(|e| of_model(e.into()))?;
        let (program, relus) = program.without_first_relus();
        let (group_input, layers) = holes(program.graph(), &bundle.model.plan);
        let with_relu = |v: ValueId| {
            relus.get(&v).map_or(LayerOutput { value: v, relu: false }, |&value| LayerOutput { value, relu: true })
        };
        let layer_output = layers.into_iter().map(with_relu).collect();
        let checker = Checker::new(integrity, &mut bundle).map_err(|e| of_model(e.into()))?;
        let shifts = |l: &LayerScales| l.bias.clone().unwrap_or_else(|| vec![0.0; l.scales.len()]);
        let shifts = bundle.model.layers.iter().map(shifts).collect();
        let spec = |port: &Port| tensor_spec(program.graph(), port);
        let tensors = program.graph().inputs.iter().map(spec).collect();
        let preprocess = bundle.model.preprocess.clone();
        let inputs = InputSpec { tensors, preprocess, max_megapixels: MAX_MEGAPIXELS };
        let outputs = program.graph().outputs.iter().map(spec).collect();
        let (bundle, program) = (bundle.model, Arc::new(program));
        Ok(Self { bundle, inputs, outputs, program, keys, checker, group_input, layer_output, shifts })
    }

    /// Refuses files of pictures with more megapixels (2^20) than this, instead of [`MAX_MEGAPIXELS`].
    #[must_use]
    pub const fn with_max_megapixels(mut self, most: u32) -> Self {
        self.inputs.max_megapixels = most;
        self
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.bundle.plan
    }

    /// The layers of round `r`, group by group.
    pub(crate) fn layers_of(&self, r: RoundId) -> Vec<LayerId> {
        self.plan().round_layers(r).collect()
    }

    /// Turns the integers of layer `l` into activations, for an input of which one integer step is worth `step`.
    pub(crate) fn rescale(&self, l: LayerId, step: f32) -> Rescale<'_> {
        let geometry = self.plan().layer(l).geometry();
        let low = if self.layer_output[l.index()].relu { 0.0 } else { f32::NEG_INFINITY };
        Rescale::new(geometry, &self.bundle.layers[l.index()].scales, &self.shifts[l.index()], step, low)
    }

    /// Model name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bundle.model
    }

    /// The model part of the bundle (its graph has moved into the program).
    #[must_use]
    pub const fn bundle(&self) -> &DeviceModel {
        &self.bundle
    }

    /// What an input must look like.
    #[must_use]
    pub const fn inputs(&self) -> &InputSpec {
        &self.inputs
    }

    /// The tensors that an inference gives, in the file's order.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Empty tensors for inferences with [`infer`](crate::engine::infer), one at a time.
    #[must_use]
    pub fn values(&self) -> Values {
        Values::new(Arc::clone(&self.program))
    }

    /// Multiply-accumulates that stay on the device (Conv, Gemm and MatMul only).
    #[must_use]
    pub fn local_macs(&self) -> u64 {
        cost::local_macs(self.program.graph())
    }
}

fn tensor_spec(graph: &Graph, port: &Port) -> TensorSpec {
    let value = graph.value(port.value);
    TensorSpec { name: value.name.clone(), shape: value.shape.clone(), element: port.element }
}

fn holes(graph: &Graph, plan: &Plan) -> (Vec<ValueId>, Vec<ValueId>) {
    let (mut inputs, mut outputs) = (vec![0; plan.groups().len()], vec![0; plan.layers().len()]);
    for node in &graph.nodes {
        if let Op::Linear(hole) = &node.op {
            inputs[plan.layer(hole.layer).group().index()] = node.inputs[0];
            outputs[hole.layer.index()] = node.output;
        }
    }
    (inputs, outputs)
}
