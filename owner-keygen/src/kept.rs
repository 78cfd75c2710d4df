//! Layers that stay on the device, whose weights it holds.

use serde::Serialize;
use twinmask_model::graph::Graph;
use twinmask_model::ops::Op;

/// What a device's graph holds of the network's weights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Names of the convolutions and fully connected layers with constant weights.
    pub layers: Vec<String>,
    /// Bytes of their weights, f32: in the bundle (where zstd may save a little) and in memory.
    pub weight_bytes: usize,
}

impl Kept {
    /// Of a device's graph.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut kept = Self::default();
        for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::Conv(_) | Op::Dense(_))) {
            if let Some(weights) = node.inputs.get(1).and_then(|w| graph.constants.get(w)) {
                kept.layers.push(node.name.clone());
                kept.weight_bytes += size_of_val(weights.as_slice());
            }
        }
        kept
    }

    /// For a person.
    #[must_use]
    pub fn note(&self) -> String {
        if self.layers.is_empty() {
            return "no weights of layers are on the device".into();
        }
        let (n, mb) = (self.layers.len(), self.weight_bytes as f64 / 1e6);
        let (first, more) = (self.layers[..n.min(3)].join(", "), if n > 3 { ", .." } else { "" });
        format!("the device holds the weights of {n} layers ({mb:.1} MB, f32), for who has it to read: {first}{more}")
    }
}
