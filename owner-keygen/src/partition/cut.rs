//! The cut: which layers leave the device. In the graph a hole takes the place of each.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use twinmask_codec::{LayerId, RoundId};
use twinmask_layer::{Fc, Geometry};
use twinmask_model::dims::elements;
use twinmask_model::graph::{Graph, Node, ValueId};
use twinmask_model::ops::{Linear, Op};
use twinmask_model::ring_plan::{FloatWeights, Profile};
use twinmask_model::rounds::depths;

use super::error::PartitionError;
use super::search::{self, Predicted};
use crate::predict::Costs;

/// Which layers leave the device.
#[derive(Debug, Clone, PartialEq)]
pub enum Offload {
    /// All constant-weight layers except depthwise convolutions (2-5 MAC per element moved do not pay).
    All,
    /// Of those the ones that pay on this device and link; none, if that is fastest.
    Auto(Costs),
    /// None: the device runs the network alone.
    None,
    /// Exactly the layers of these names.
    Named(Vec<String>),
}

/// What `--offload auto` decides for `graph` with rings of `profile`: the layers that leave the device, and what is
/// predicted.
///
/// # Errors
/// [`PartitionError`] when there is nothing to cut out.
pub fn decide(graph: &Graph, profile: Profile, costs: &Costs) -> Result<(Vec<String>, Predicted), PartitionError> {
    let mut candidates = candidates(graph, &Offload::All)?;
    let predicted = search::narrow(costs, graph, &mut candidates, profile.bits());
    Ok((candidates.keys().map(|&i| graph.nodes[i].name.clone()).collect(), predicted))
}

/// A graph with holes, and what was cut out of it.
#[derive(Debug)]
pub(super) struct Cut {
    graph: Graph,
    layers: Vec<FloatLayer>,
}

/// Most weights of all layers together: 2 GB as edges hold them. Layers of one constant have it each.
const MOST_WEIGHTS: usize = 1 << 30;

/// A layer that leaves the device, its numbers still in float, shared by all layers of one constant.
#[derive(Debug)]
pub(super) struct FloatLayer {
    name: String,
    geometry: Geometry,
    data: Rc<Vec<f32>>,
    bias: Option<Rc<Vec<f32>>>,
    input: ValueId,
    round: RoundId,
}

impl Cut {
    /// Cuts out of `graph` what `offload` says; `profile` tells `auto` how wide elements are on the wire.
    ///
    /// # Errors
    /// [`PartitionError`] when there is nothing to cut out, or a name is no layer's.
    pub(super) fn new(mut graph: Graph, profile: Profile, offload: &Offload) -> Result<Self, PartitionError> {
        let mut candidates = candidates(&graph, offload)?;
        if let Offload::Auto(costs) = offload {
            search::narrow(costs, &graph, &mut candidates, profile.bits());
        }
        let layers = punch_holes(&mut graph, &candidates);
        Ok(Self { graph, layers })
    }

    /// The device's graph.
    pub(super) const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Layers by [`LayerId`]: ascending by round, siblings together.
    pub(super) fn layers(&self) -> &[FloatLayer] {
        &self.layers
    }

    /// Layer `l`.
    pub(super) fn layer(&self, l: LayerId) -> &FloatLayer {
        &self.layers[l.index()]
    }

    /// The graph, and the biases of all layers.
    pub(super) fn into_device_parts(self) -> (Graph, Vec<Option<Vec<f32>>>) {
        (self.graph, self.layers.into_iter().map(|l| l.bias.map(Rc::unwrap_or_clone)).collect())
    }
}

impl FloatLayer {
    /// Name from the model file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Shape.
    pub(super) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The value that it reads.
    pub(super) const fn input(&self) -> ValueId {
        self.input
    }

    /// When that value is ready.
    pub(super) const fn round(&self) -> RoundId {
        self.round
    }

    /// Its weights, for quantization.
    pub(super) fn weights(&self) -> FloatWeights<'_> {
        FloatWeights { data: &self.data, rows: self.geometry.out_channels(), positions: self.geometry.positions() }
    }
}

/// Node indices of the layers to outsource, with their geometry.
fn candidates(graph: &Graph, offload: &Offload) -> Result<BTreeMap<usize, Geometry>, PartitionError> {
    let mut all = BTreeMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let constant = node.inputs[1..].iter().all(|id| graph.constants.contains_key(id));
        if let Some(geometry) = geometry_of(graph, node).filter(|_| constant) {
            all.insert(i, geometry);
        }
    }
    let named = |i: &usize| graph.nodes[*i].name.as_str();
    let known = all.keys().map(named).collect::<Vec<_>>().join(", ");
    match offload {
        Offload::All | Offload::Auto(_) => all.retain(|_, g| !matches!(g, Geometry::Conv(c) if c.is_depthwise())),
        Offload::None => return Ok(BTreeMap::new()),
        Offload::Named(names) => {
            if let Some(name) = names.iter().find(|n| !all.keys().any(|i| named(i) == n.as_str())) {
                return Err(PartitionError::UnknownLayer { name: name.clone(), known });
            }
            all.retain(|i, _| names.iter().any(|n| n == named(i)));
        }
    }
    if all.is_empty() {
        return Err(PartitionError::Nothing);
    }
    let mut weights = 0usize;
    for (&i, geometry) in &all {
        let layer = || graph.nodes[i].name.clone();
        geometry.validate().map_err(|source| PartitionError::Geometry { layer: layer(), source })?;
        weights = weights.saturating_add(geometry.weight_len());
        if weights > MOST_WEIGHTS {
            return Err(PartitionError::Weights { layer: layer(), most: MOST_WEIGHTS });
        }
    }
    Ok(all)
}

/// Geometry of a layer that is linear in its first operand.
fn geometry_of(graph: &Graph, node: &Node) -> Option<Geometry> {
    let x = graph.shape(*node.inputs.first()?);
    match &node.op {
        Op::Conv(op) => op.layer(x, graph.shape(node.inputs[1])).map(Geometry::Conv),
        Op::Dense(_) => {
            let (&inputs, rows) = x.split_last()?;
            let outputs = graph.shape(node.inputs[1])[0];
            Some(Geometry::Fc(Fc { rows: u32::try_from(elements(rows)).ok()?, inputs, outputs }))
        }
        _ => None,
    }
}

/// Replaces the candidates by holes and returns their float layers by layer id: ascending by round, siblings together.
fn punch_holes(graph: &mut Graph, candidates: &BTreeMap<usize, Geometry>) -> Vec<FloatLayer> {
    let mut operands = BTreeMap::new();
    for &i in candidates.keys() {
        let shape = graph.shape(graph.nodes[i].output).to_vec();
        operands.insert(i, graph.nodes[i].inputs.split_off(1));
        graph.nodes[i].op = Op::Linear(Linear { layer: LayerId::new(0), shape });
    }
    let depth = depths(graph);
    let due = |i: usize| {
        let input = graph.nodes[i].inputs[0];
        (depth[input as usize], input, i)
    };
    let mut order: Vec<_> = candidates.keys().map(|&i| due(i)).collect();
    order.sort_unstable();
    let numbers = take_constants(graph, operands.values().flatten());
    let float = |(l, &(depth, input, i)): (usize, &(u32, ValueId, usize))| {
        if let Op::Linear(hole) = &mut graph.nodes[i].op {
            hole.layer = LayerId::at(l);
        }
        let data = |id: &ValueId| Rc::clone(&numbers[id]);
        FloatLayer {
            name: graph.nodes[i].name.clone(),
            geometry: candidates[&i],
            data: data(&operands[&i][0]),
            bias: operands[&i].get(1).map(data),
            input,
            round: RoundId::new(depth),
        }
    };
    order.iter().enumerate().map(float).collect()
}

/// The data of these constants, out of the graph unless a node that stays reads it, too.
fn take_constants<'a>(graph: &mut Graph, ids: impl Iterator<Item = &'a ValueId>) -> BTreeMap<ValueId, Rc<Vec<f32>>> {
    let mut read: BTreeSet<ValueId> = graph.nodes.iter().flat_map(|n| n.inputs.iter().copied()).collect();
    read.extend(graph.outputs.iter().map(|o| o.value));
    let mut taken = BTreeMap::new();
    for &id in ids {
        let constants = &mut graph.constants;
        taken.entry(id).or_insert_with(|| {
            let data = if read.contains(&id) { constants.get(&id).cloned() } else { constants.remove(&id) };
            Rc::new(data.unwrap_or_default())
        });
    }
    taken
}
