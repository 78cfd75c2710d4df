//! Range analysis: which values can never be negative. Their shares spend no bit on a sign. Signedness is fixed at
//! import; the network's input counts as signed, because applications may feed it any tensor.

use crate::graph::{Binary, Graph, Op, PadMode, ReduceKind, Unary};

/// For each value of `graph`, whether it is never negative.
#[must_use]
pub fn non_negative(graph: &Graph) -> Vec<bool> {
    let mut known = vec![false; graph.values.len()];
    for (&id, data) in &graph.constants {
        known[id as usize] = data.iter().all(|&v| v >= 0.0);
    }
    for node in &graph.nodes {
        let input = |i: usize| known[node.inputs[i] as usize];
        let all = || node.inputs.iter().all(|&i| known[i as usize]);
        known[node.output as usize] = match &node.op {
            Op::Unary(unary) => non_negative_unary(*unary, input(0)),
            Op::Binary(binary) => match binary {
                Binary::Add | Binary::Mul | Binary::Div | Binary::Min | Binary::Pow | Binary::PRelu => all(),
                Binary::Max => input(0) || input(1),
                Binary::Sub => false,
            },
            Op::Pool { .. } | Op::Concat { .. } | Op::Reshape { .. } | Op::Transpose { .. } => all(),
            Op::Slice { .. } | Op::Expand { .. } | Op::Resize { .. } | Op::Lrn { .. } => all(),
            Op::Reduce { kind, .. } => *kind == ReduceKind::L2 || all(),
            Op::ArgMax { .. } => true,
            Op::Softmax { log, .. } => !log,
            Op::Pad { mode, .. } => input(0) && !matches!(mode, PadMode::Constant(v) if *v < 0.0),
            Op::Linear { .. }
            | Op::Conv { .. }
            | Op::ConvTranspose { .. }
            | Op::Dense
            | Op::MatMul
            | Op::Normalize { .. } => false,
        };
    }
    known
}

fn non_negative_unary(unary: Unary, input: bool) -> bool {
    match unary {
        Unary::Relu | Unary::Sigmoid | Unary::HardSigmoid { .. } | Unary::Exp => true,
        Unary::Sqrt | Unary::Abs | Unary::Softplus => true,
        Unary::Clip { min, .. } => min >= 0.0,
        Unary::LeakyRelu { .. } | Unary::Elu { .. } | Unary::HardSwish | Unary::Tanh => input,
        Unary::Gelu { .. } | Unary::Erf | Unary::Reciprocal => input,
        Unary::Log | Unary::Neg => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_clears_the_sign_and_it_stays_clear() {
        let mut g = Graph::default();
        let x = g.add_value("x", vec![1, 2, 4, 4]);
        g.input = x;
        let relu = g.add_node("relu", Op::Unary(Unary::Relu), vec![x], "r").expect("fits");
        let both = g.add_node("concat", Op::Concat { axis: 1 }, vec![relu, relu], "c").expect("fits");
        let mixed = g.add_node("mixed", Op::Concat { axis: 1 }, vec![relu, x], "m").expect("fits");
        let six = g.add_node("clip", Op::Unary(Unary::Clip { min: 0.0, max: 6.0 }), vec![mixed], "s").expect("fits");
        let difference = g.add_node("sub", Op::Binary(Binary::Sub), vec![relu, relu], "d").expect("fits");
        let known = non_negative(&g);
        let of = |id| known[id as usize];
        assert_eq!(
            [of(x), of(relu), of(both), of(mixed), of(six), of(difference)],
            [false, true, true, false, true, false]
        );
    }
}
