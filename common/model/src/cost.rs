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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Element;
    use crate::ops::{Conv, ConvTranspose, Dense, Linear, MatMul, Transpose, Unary, Window};
    use twinmask_codec::LayerId;

    #[test]
    fn counted_by_hand() {
        let mut g = Graph::default();
        let x = g.add_input("x", vec![1, 4, 6, 6], Element::F32);
        let mut costs = Vec::new();
        let mut add = |g: &mut Graph, op: crate::ops::Op, inputs: Vec<u32>| {
            let before = (local_flops(g), local_macs(g));
            let y = g.add_node("n", op, inputs, "y").expect("fits");
            costs.push((local_flops(g) - before.0, local_macs(g) - before.1));
            y
        };
        let window = Window { kernel: [3, 3], stride: [1, 1], pad: [0; 4], dilation: [1, 1] };
        let w = g.add_constant("w", vec![8, 2, 3, 3], vec![0.0; 144]);
        let y = add(&mut g, Conv { window, groups: 2 }.into(), vec![x, w]);
        let w = g.add_constant("w", vec![8, 1, 3, 3], vec![0.0; 72]);
        let y = add(&mut g, ConvTranspose { window, output_padding: [0; 2], groups: 8 }.into(), vec![y, w]);
        let w = g.add_constant("w", vec![5, 6], vec![0.0; 30]);
        let y = add(&mut g, Dense.into(), vec![y, w]);
        let t = add(&mut g, Transpose { perm: vec![0, 1, 3, 2] }.into(), vec![y]);
        let y = add(&mut g, MatMul.into(), vec![y, t]);
        let y = add(&mut g, Unary::Tanh.into(), vec![y]);
        add(&mut g, Linear { layer: LayerId::new(0), shape: vec![7] }.into(), vec![y]);
        // Outputs [1, 8, 4, 4], [1, 8, 6, 6], [1, 8, 6, 5], [1, 8, 5, 6], [1, 8, 6, 6], the same, [7].
        let macs = [128 * 18, 128 * 9, 240 * 6, 0, 288 * 5, 0, 0];
        let flops = [2 * macs[0], 2 * macs[1], 2 * macs[2], 0, 2 * macs[4], 4 * 288, 7];
        assert_eq!(costs, flops.into_iter().zip(macs).collect::<Vec<_>>());
    }
}
