//! Partition: constant-weight layers of an imported graph become integer layers behind
//! [`Op::Linear`] holes; the rest stays on the device (ARCHITECTURE.md, "Data flow").

use std::collections::BTreeMap;

use crate::predict::Costs;
use twinmask_layer::{Conv, Fc, Geometry};
use twinmask_model::bundle::LayerScales;
use twinmask_model::dims::image;
use twinmask_model::graph::{Graph, Node, ValueId, elements};
use twinmask_model::ops::{Linear, Op};
use twinmask_model::plan::{Group, Layer, Plan, PlanError};
use twinmask_model::range::non_negative;
use twinmask_model::ring_plan::{self, FloatWeights, Profile};
use twinmask_model::rounds::depths;
use twinmask_model::shapes::{self, ShapeError};

/// Which layers leave the device.
#[derive(Debug, Clone, PartialEq)]
pub enum Offload {
    /// All constant-weight layers except depthwise convolutions (2-5 MAC per element moved do not pay).
    All,
    /// Of those the ones that pay on this device and link.
    Auto(Costs),
    /// Exactly the layers of these names.
    Named(Vec<String>),
}

/// A network divided between device and edges.
#[derive(Debug, Clone)]
pub struct Partitioned {
    /// The plan that both sides hold.
    pub plan: Plan,
    /// The device's graph.
    pub graph: Graph,
    /// Scales and biases of each layer, for the device.
    pub layers: Vec<LayerScales>,
    /// Integer weights of each layer, `[out_channels, fan_in]`, for the edges.
    pub weights: Vec<Vec<i16>>,
}

/// Why a network cannot be divided.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// No constant-weight layer to outsource.
    #[error("the network has no Conv, Gemm or MatMul with constant weights to outsource")]
    Nothing,
    /// On this device and link every layer is faster locally.
    #[error(
        "with this device profile and link no layer gains from outsourcing: run the network on the device itself, or say --offload all"
    )]
    NothingPays,
    /// A name given by --offload is no offloadable layer.
    #[error("--offload names '{name}', which is no layer with constant weights; there are: {known}")]
    UnknownLayer {
        /// Name given.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// Not even the narrowest integers fit the ring.
    #[error("layer '{layer}' does not fit a ring of {width} bits even with 2-bit weights: choose a wider --ring")]
    Ring {
        /// Layer name.
        layer: String,
        /// Width asked for.
        width: u32,
    },
    /// A layer's shape is beyond what kernels take.
    #[error("layer '{layer}': {source}")]
    Geometry {
        /// Layer name.
        layer: String,
        /// What is wrong.
        source: twinmask_layer::GeometryError,
    },
    /// The divided graph does not check out.
    #[error("the divided network does not check out: {0}")]
    Graph(#[from] ShapeError),
    /// The divided graph has no path from its input to an output.
    #[error("the divided network does not check out: {0}")]
    Compact(String),
    /// The plan does not check out.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Divides `graph` for rings of `profile`.
///
/// # Errors
/// [`PartitionError`], naming the layer.
pub fn partition(mut graph: Graph, profile: Profile, offload: &Offload) -> Result<Partitioned, PartitionError> {
    let mut candidates = candidates(&graph, offload)?;
    if let Offload::Auto(costs) = offload {
        costs.choose(&graph, &mut candidates, profile.bits());
        if candidates.is_empty() {
            return Err(PartitionError::NothingPays);
        }
    }
    let floats = punch_holes(&mut graph, &candidates);
    let unsigned = non_negative(&graph);
    let mut plan = layout(&graph, &floats);
    let mut integers = Vec::with_capacity(floats.len());
    let widths = ring_plan::widths(profile, &traffic(&plan));
    let inputs = hole_inputs(&graph);
    for (g, width) in widths.into_iter().enumerate() {
        let layers = plan.groups[g].layers.clone();
        let weights: Vec<FloatWeights<'_>> = layers.iter().map(|&l| floats[l as usize].weights()).collect();
        plan.groups[g].signed = !unsigned[inputs[&layers[0]] as usize];
        let bits = ring_plan::choose(&weights, plan.groups[g].signed, width, profile)
            .ok_or_else(|| PartitionError::Ring { layer: plan.layers[layers[0] as usize].name.clone(), width })?;
        plan.groups[g].k = bits.k as u8;
        plan.groups[g].x_bits = bits.x_bits as u8;
        for (i, &l) in layers.iter().enumerate() {
            plan.layers[l as usize].w_bits = bits.w_bits[i] as u8;
            plan.layers[l as usize].bound = bits.bounds[i];
            integers.push((l, weights[i].quantize(bits.w_bits[i])));
        }
    }
    integers.sort_by_key(|(l, _)| *l);
    let (weights, scales): (Vec<_>, Vec<_>) = integers.into_iter().map(|(_, q)| q).unzip();
    let layers = scales.into_iter().zip(floats).map(|(scales, f)| LayerScales { scales, bias: f.bias }).collect();
    let graph = crate::onnx::compact(graph).map_err(PartitionError::Compact)?;
    plan.validate()?;
    shapes::check(&graph, twinmask_model::bundle::MEMORY_CAP)?;
    Ok(Partitioned { plan, graph, layers, weights })
}

/// A layer on its way from float to integer.
struct FloatLayer {
    name: String,
    geometry: Geometry,
    data: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl FloatLayer {
    fn weights(&self) -> FloatWeights<'_> {
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
    for (&i, geometry) in &all {
        let layer = || graph.nodes[i].name.clone();
        geometry.validate().map_err(|source| PartitionError::Geometry { layer: layer(), source })?;
    }
    Ok(all)
}

/// Geometry of a layer that is linear in its first operand.
fn geometry_of(graph: &Graph, node: &Node) -> Option<Geometry> {
    let x = graph.shape(*node.inputs.first()?);
    match &node.op {
        Op::Conv(op) => {
            let window = &op.window;
            let [c_in, h, w] = image(x).ok()?;
            Some(Geometry::Conv(Conv {
                c_in,
                h,
                w,
                c_out: graph.shape(node.inputs[1])[0],
                kh: window.kernel[0],
                kw: window.kernel[1],
                stride: window.stride,
                pad: window.pad,
                dilation: window.dilation,
                groups: op.groups,
            }))
        }
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
    let mut floats = BTreeMap::new();
    for (&i, &geometry) in candidates {
        let node = &graph.nodes[i];
        let data = graph.constants[&node.inputs[1]].clone();
        let bias = node.inputs.get(2).map(|b| graph.constants[b].clone());
        floats.insert(i, FloatLayer { name: node.name.clone(), geometry, data, bias });
        let shape = graph.shape(node.output).to_vec();
        graph.nodes[i].op = Op::Linear(Linear { layer: 0, shape });
        graph.nodes[i].inputs.truncate(1);
    }
    let depth = depths(graph);
    let mut order: Vec<usize> = candidates.keys().copied().collect();
    order.sort_by_key(|&i| {
        let input = graph.nodes[i].inputs[0];
        (depth[input as usize], input, i)
    });
    for (l, &i) in order.iter().enumerate() {
        if let Op::Linear(hole) = &mut graph.nodes[i].op {
            hole.layer = l as u32;
        }
    }
    order.iter().map(|i| floats.remove(i).expect("inserted above")).collect()
}

/// Input value of each layer's hole.
fn hole_inputs(graph: &Graph) -> BTreeMap<u32, ValueId> {
    let hole = |n: &Node| match &n.op {
        Op::Linear(hole) => Some((hole.layer, n.inputs[0])),
        _ => None,
    };
    graph.nodes.iter().filter_map(hole).collect()
}

/// Layers, groups and rounds; widths are filled in later.
fn layout(graph: &Graph, floats: &[FloatLayer]) -> Plan {
    let depth = depths(graph);
    let inputs = hole_inputs(graph);
    let mut plan = Plan { layers: vec![], groups: vec![], rounds: vec![] };
    let mut last = None;
    for (l, float) in floats.iter().enumerate() {
        let input = inputs[&(l as u32)];
        if last.replace(input) != Some(input) {
            let round = depth[input as usize] as usize;
            plan.rounds.resize(plan.rounds.len().max(round + 1), vec![]);
            plan.rounds[round].push(plan.groups.len() as u32);
            let len = float.geometry.in_len() as u32;
            plan.groups.push(Group { len, k: 0, x_bits: 0, signed: true, layers: vec![] });
        }
        let group = plan.groups.len() - 1;
        plan.groups[group].layers.push(l as u32);
        let (name, geometry) = (float.name.clone(), float.geometry);
        plan.layers.push(Layer { name, geometry, group: group as u32, w_bits: 0, bound: 0 });
    }
    plan
}

/// Elements up and down of each group.
fn traffic(plan: &Plan) -> Vec<u64> {
    let down = |layers: &[u32]| layers.iter().map(|&l| plan.layers[l as usize].geometry.out_len() as u64).sum::<u64>();
    plan.groups.iter().map(|g| u64::from(g.len) + down(&g.layers)).collect()
}
