//! Range analysis: which values can never be negative. Their shares spend no bit on a sign. Signedness is fixed at
//! import; the network's input counts as signed, because applications may feed it any tensor.

use crate::graph::Graph;

/// For each value of `graph`, whether it is never negative.
#[must_use]
pub fn non_negative(graph: &Graph) -> Vec<bool> {
    let mut known = vec![false; graph.values.len()];
    for (&id, data) in &graph.constants {
        known[id as usize] = data.iter().all(|&v| v >= 0.0);
    }
    for node in &graph.nodes {
        let inputs: Vec<bool> = node.inputs.iter().map(|&i| known[i as usize]).collect();
        known[node.output as usize] = node.op.operator().non_negative(&inputs);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Element;
    use crate::ops::{Binary, Concat, Gather, Op, Unary, Where};

    #[test]
    fn relu_clears_the_sign_and_it_stays_clear() {
        let mut g = Graph::default();
        let x = g.add_input("x", vec![1, 2, 4, 4], Element::F32);
        let relu = g.add_node("relu", Unary::Relu, vec![x], "r").expect("fits");
        let both = g.add_node("concat", Concat { axis: 1 }, vec![relu, relu], "c").expect("fits");
        let mixed = g.add_node("mixed", Concat { axis: 1 }, vec![relu, x], "m").expect("fits");
        let six = g.add_node("clip", Unary::Clip { min: 0.0, max: 6.0 }, vec![mixed], "s").expect("fits");
        let difference = g.add_node("sub", Binary::Sub, vec![relu, relu], "d").expect("fits");
        let known = non_negative(&g);
        let of = |id| known[id as usize];
        assert_eq!(
            [of(x), of(relu), of(both), of(mixed), of(six), of(difference)],
            [false, true, true, false, true, false]
        );
    }

    #[test]
    fn choosing_and_gathering_keep_the_sign_of_what_is_taken() {
        let mut g = Graph::default();
        let x = g.add_input("x", vec![4], Element::F32);
        let relu = g.add_node("relu", Unary::Relu, vec![x], "r").expect("fits");
        let mut add = |name: &str, op: Op, inputs: Vec<u32>| g.add_node(name, op, inputs, name).expect("fits");
        let both = add("both", Where.into(), vec![x, relu, relu]);
        let one = add("one", Where.into(), vec![relu, relu, x]);
        let other = add("other", Where.into(), vec![relu, x, relu]);
        let picked = add("picked", Gather { axis: 0 }.into(), vec![relu, x]);
        let signed = add("signed", Gather { axis: 0 }.into(), vec![x, relu]);
        let known = non_negative(&g);
        assert_eq!([both, one, other, picked, signed].map(|v| known[v as usize]), [true, false, false, true, false]);
    }
}
