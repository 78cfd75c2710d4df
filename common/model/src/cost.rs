//! What a graph costs: one FLOP is one addition, multiplication, comparison or function evaluation.

use crate::graph::{Graph, Node, Op, Unary};

/// FLOPs of the nodes that run on the device; [`Op::Linear`] holes count only their bias additions.
#[must_use]
pub fn local_flops(graph: &Graph) -> u64 {
    graph.nodes.iter().map(|n| node_flops(graph, n)).sum()
}

fn node_flops(graph: &Graph, node: &Node) -> u64 {
    let out = graph.value(node.output).len() as u64;
    let input = graph.value(node.inputs[0]).len() as u64;
    let weights = |skip: usize| graph.shape(node.inputs[1])[skip..].iter().map(|&d| u64::from(d)).product::<u64>();
    match &node.op {
        Op::Linear { .. } => out,
        Op::Conv { .. } => 2 * out * weights(1),
        Op::ConvTranspose { .. } => 2 * input * weights(1),
        Op::Dense | Op::MatMul => 2 * out * u64::from(graph.shape(node.inputs[0]).last().copied().unwrap_or(1)),
        Op::Unary(Unary::Relu | Unary::Abs | Unary::Neg) => out,
        Op::Unary(Unary::Clip { .. } | Unary::LeakyRelu { .. }) => 2 * out,
        Op::Unary(_) => 4 * out,
        Op::Binary(_) => out,
        Op::Pool { window, .. } => out * u64::from(window.kernel[0]) * u64::from(window.kernel[1]),
        Op::Reduce { .. } | Op::ArgMax { .. } => input,
        Op::Softmax { .. } => 4 * out,
        Op::Normalize { .. } => 5 * out,
        Op::Lrn { size, .. } => out * (2 * u64::from(*size) + 4),
        Op::Resize { .. } => 4 * out,
        Op::Concat { .. } | Op::Reshape { .. } | Op::Transpose { .. } => 0,
        Op::Pad { .. } | Op::Slice { .. } | Op::Expand { .. } => 0,
    }
}
