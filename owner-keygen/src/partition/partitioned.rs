//! What a partition comes to: the plan, and the integers of both sides.

use twinmask_codec::GroupId;
use twinmask_model::bundle::{LayerScales, MEMORY_CAP};
use twinmask_model::graph::{Graph, compact};
use twinmask_model::plan::{GroupParts, Layer, LayerParts, Plan, PlanError, PlanParts};
use twinmask_model::ring_plan::{GroupBits, LayerBits, Profile};
use twinmask_model::shapes;

use super::bits;
use super::cut::{Cut, FloatLayer, Offload};
use super::error::PartitionError;
use super::layout::Layout;

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

/// Divides `graph` for rings of `profile`.
///
/// # Errors
/// [`PartitionError`], naming the layer.
pub fn partition(graph: Graph, profile: Profile, offload: &Offload) -> Result<Partitioned, PartitionError> {
    let cut = Cut::new(graph, profile, offload)?;
    let layout = Layout::of(&cut);
    let bits = bits::choose(&cut, &layout, profile)?;
    Partitioned::new(cut, &layout, &bits)
}

impl Partitioned {
    /// Quantizes the layers of `cut` to the widths of their groups.
    fn new(cut: Cut, layout: &Layout, bits: &[GroupBits]) -> Result<Self, PartitionError> {
        let plan = plan(&cut, layout, bits)?;
        let quantize = |(float, planned): (&FloatLayer, &Layer)| float.weights().quantize(planned.w_bits());
        let (weights, scales): (Vec<_>, Vec<_>) = cut.layers().iter().zip(plan.layers()).map(quantize).unzip();
        let (graph, biases) = cut.into_device_parts();
        let layers = scales.into_iter().zip(biases).map(|(scales, bias)| LayerScales { scales, bias }).collect();
        let graph = compact(graph)?;
        shapes::check(&graph, MEMORY_CAP)?;
        Ok(Self { plan, graph, layers, weights })
    }
}

/// Puts the plan together. The layers of one group after the other are all layers in their order.
fn plan(cut: &Cut, layout: &Layout, bits: &[GroupBits]) -> Result<Plan, PlanError> {
    let (mut layers, mut groups) = (Vec::with_capacity(cut.layers().len()), Vec::with_capacity(bits.len()));
    for (siblings, bits) in layout.groups().iter().zip(bits) {
        let group = GroupId::at(groups.len());
        for (&l, &LayerBits { w_bits, bound }) in siblings.layers().iter().zip(bits.layers()) {
            let (name, geometry) = (cut.layer(l).name().to_owned(), *cut.layer(l).geometry());
            layers.push(LayerParts { name, geometry, group, w_bits: w_bits as u8, bound });
        }
        groups.push(GroupParts {
            len: siblings.len() as u32,
            k: bits.k() as u8,
            x_bits: bits.x_bits() as u8,
            signed: bits.signed(),
            layers: siblings.layers().to_vec(),
        });
    }
    Plan::new(PlanParts { layers, groups, rounds: layout.rounds().to_vec() })
}
