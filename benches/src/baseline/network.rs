//! A network divided as twinmask divides it, but in f32: the device's program, and the linear layers with their
//! weights.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use twinmask_codec::{LayerId, RoundId};
use twinmask_device::exec::{Program, Values};
use twinmask_model::bundle::MEMORY_CAP;
use twinmask_model::graph::{Graph, ValueId};
use twinmask_model::ops::Op;
use twinmask_model::plan::Plan;
use twinmask_model::ring_plan::Profile;
use twinmask_onnx::{ImportOptions, import};
use twinmask_owner_keygen::partition::{Offload, partition};

use super::sgemm::{FloatLayer, Scratch};

/// The device's part: everything but the linear layers, whose inputs and outputs it names.
pub struct Rounds {
    plan: Plan,
    program: Arc<Program>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

impl Rounds {
    /// The rounds of `plan` in `graph`, which has a hole for each of its layers.
    ///
    /// # Errors
    /// When the graph does not check out.
    pub fn new(plan: Plan, graph: Graph) -> Result<Self> {
        let (mut inputs, mut outputs) = (vec![0; plan.groups().len()], vec![0; plan.layers().len()]);
        for node in &graph.nodes {
            if let Op::Linear(hole) = &node.op {
                inputs[plan.layer(hole.layer).group().index()] = node.inputs[0];
                outputs[hole.layer.index()] = node.output;
            }
        }
        let program = Arc::new(Program::new(graph, MEMORY_CAP)?);
        Ok(Self { plan, program, inputs, outputs })
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Empty tensors for inferences, one at a time.
    #[must_use]
    pub fn values(&self) -> Values {
        Values::new(Arc::clone(&self.program))
    }

    /// Elements of the network's input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        let graph = self.program.graph();
        graph.value(graph.inputs[0].value).len()
    }

    /// Elements of the network's first output.
    #[must_use]
    pub fn output_len(&self) -> usize {
        let graph = self.program.graph();
        graph.value(graph.outputs[0].value).len()
    }

    /// Elements of the inputs and of the outputs of round `r`.
    #[must_use]
    pub fn lens(&self, r: RoundId) -> (usize, usize) {
        let groups = || self.plan.round(r).iter().map(|&g| self.plan.group(g));
        let out = |&l: &LayerId| self.plan.layer(l).geometry().out_len();
        (groups().map(|g| g.in_len()).sum(), groups().flat_map(|g| g.layers()).map(out).sum())
    }

    /// The inputs of round `r`, one per group, after running the local operators before it.
    ///
    /// # Errors
    /// When an operator refuses its operands.
    pub fn advance<'v>(&self, values: &'v mut Values, r: RoundId) -> Result<Vec<&'v [f32]>> {
        values.run_segment(r.index())?;
        let values: &'v Values = values;
        self.plan.round(r).iter().map(|&g| Ok(values.get(self.inputs[g.index()])?)).collect()
    }

    /// Puts in the outputs of round `r`: those of its layers one after the other.
    ///
    /// # Errors
    /// When their number is wrong.
    pub fn set(&self, values: &mut Values, r: RoundId, mut answer: &[f32]) -> Result<()> {
        for &g in self.plan.round(r) {
            for &l in self.plan.group(g).layers() {
                let n = self.plan.layer(l).geometry().out_len();
                let (own, rest) =
                    answer.split_at_checked(n).ok_or_else(|| anyhow!("the answer of round {r} is short"))?;
                let mut out = values.buffer(n);
                out.copy_from_slice(own);
                values.set(self.outputs[l.index()], out)?;
                answer = rest;
            }
        }
        Ok(())
    }

    /// The network's first output, after running the operators behind the last round.
    ///
    /// # Errors
    /// When an operator refuses its operands.
    pub fn finish<'v>(&self, values: &'v mut Values) -> Result<&'v [f32]> {
        values.run_segment(self.plan.rounds().len())?;
        Ok(values.get(self.program.graph().outputs[0].value)?)
    }
}

/// The server's part: the linear layers in f32 with bias.
pub struct FloatNetwork {
    /// Rounds, as the device has them.
    pub rounds: Rounds,
    layers: Vec<FloatLayer>,
}

impl FloatNetwork {
    /// Imports the ONNX file at `path` and divides it as `add-model` does; weights are the file's own.
    ///
    /// # Errors
    /// When it cannot be imported or divided.
    pub fn load(path: &Path) -> Result<Self> {
        let graph = import(path, &ImportOptions::default()).with_context(|| path.display().to_string())?.graph;
        let mut floats: Vec<(String, Vec<f32>)> = Vec::new();
        for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::Conv(_) | Op::Dense(_))) {
            if let Some(weights) = graph.constants.get(&node.inputs[1]) {
                floats.push((node.name.clone(), weights.clone()));
            }
        }
        // Weights do not depend on the ring; the widest takes every network.
        let parts = partition(graph, "precise".parse::<Profile>().map_err(|e| anyhow!("{e}"))?, &Offload::All)?;
        let layers = parts.plan.layers().iter().zip(parts.layers).map(|(layer, scales)| {
            let len = layer.geometry().weight_len();
            let found = floats.iter().position(|(name, w)| *name == layer.name() && w.len() == len);
            let (_, weights) =
                floats.swap_remove(found.ok_or_else(|| anyhow!("no weights of layer {}", layer.name()))?);
            Ok(FloatLayer::new(*layer.geometry(), weights, scales.bias))
        });
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { rounds: Rounds::new(parts.plan, parts.graph)?, layers })
    }

    /// The outputs of round `r`, layer after layer, for its `inputs`, group after group.
    ///
    /// # Panics
    /// If `inputs` does not have the length that [`Rounds::lens`] gives.
    pub fn round(&self, r: RoundId, mut inputs: &[f32], scratch: &mut Scratch) -> Vec<f32> {
        let plan = self.rounds.plan();
        let mut out = Vec::with_capacity(self.rounds.lens(r).1);
        for &g in plan.round(r) {
            let group = plan.group(g);
            let (x, rest) = inputs.split_at(group.in_len());
            for l in group.layers() {
                self.layers[l.index()].apply(x, &mut out, scratch);
            }
            inputs = rest;
        }
        out
    }

    /// The first output of the whole network for `input`.
    ///
    /// # Errors
    /// When an operator refuses its operands.
    pub fn infer(&self, values: &mut Values, input: &[f32], scratch: &mut Scratch) -> Result<Vec<f32>> {
        values.start(&[input])?;
        for r in self.rounds.plan().round_ids() {
            let inputs = self.rounds.advance(values, r)?.concat();
            let answer = self.round(r, &inputs, scratch);
            self.rounds.set(values, r, &answer)?;
        }
        Ok(self.rounds.finish(values)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::zoo_file;

    #[test]
    fn the_divided_network_computes_what_the_undivided_one_does() {
        let onnx = zoo_file("lenet").expect("the zoo has it");
        let whole = import(&onnx, &ImportOptions::default()).expect("its own file").graph;
        let output = whole.outputs[0].value;
        let program = Arc::new(Program::new(whole, MEMORY_CAP).expect("it checks out"));
        let network = FloatNetwork::load(&onnx).expect("its own file");
        let input: Vec<f32> = (0..network.rounds.input_len()).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut values = Values::new(program);
        values.start(&[&input]).expect("fits");
        values.run_segment(0).expect("runs");
        let expected = values.get(output).expect("computed");
        let got = network.infer(&mut network.rounds.values(), &input, &mut Scratch::default()).expect("runs");
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0 && got.len() == expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() <= 1e-4 * largest, "{got:?} instead of {expected:?}");
        }
    }
}
