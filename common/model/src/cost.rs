//! What a graph costs: one FLOP is one addition, multiplication, comparison or function evaluation.

use crate::graph::{Graph, Node};
use crate::ops::operator::Cost;

/// FLOPs of the nodes that run on the device; [`Linear`](crate::ops::Linear) holes count only their bias additions.
#[must_use]
pub fn local_flops(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|n| of(graph, n).flops).sum()
}

/// Multiply-accumulates of the convolutions and matrix products that stay on the device.
#[must_use]
pub fn local_macs(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|n| of(graph, n).macs).sum()
}

fn of(graph: &Graph, node: &Node) -> Cost {
    node.op.operator().cost(&graph.operand_shapes(&node.inputs), graph.shape(node.output))
}
