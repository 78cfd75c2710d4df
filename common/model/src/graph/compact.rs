//! What no output needs is dropped from a graph.

use super::Graph;

/// A graph that has no path from its input to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no output depends on the network's input")]
pub struct Disconnected;

/// Drops nodes and values that no output depends on, and renumbers.
///
/// # Errors
/// [`Disconnected`] when the network's input is among what is dropped.
pub fn compact(mut graph: Graph) -> Result<Graph, Disconnected> {
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|&o| live[o as usize] = true);
    for node in graph.nodes.iter().rev() {
        if live[node.output as usize] {
            node.inputs.iter().for_each(|&i| live[i as usize] = true);
        }
    }
    if !live[graph.input as usize] {
        return Err(Disconnected);
    }
    let mut out = Graph::default();
    let mut new = vec![0; graph.values.len()];
    for (id, value) in std::mem::take(&mut graph.values).into_iter().enumerate() {
        if live[id] {
            new[id] = out.add_value(value.name, value.shape);
        }
    }
    for (id, data) in graph.constants {
        if live[id as usize] {
            out.constants.insert(new[id as usize], data);
        }
    }
    for mut node in graph.nodes {
        if live[node.output as usize] {
            node.inputs.iter_mut().for_each(|i| *i = new[*i as usize]);
            node.output = new[node.output as usize];
            out.nodes.push(node);
        }
    }
    out.input = new[graph.input as usize];
    out.outputs = graph.outputs.iter().map(|&o| new[o as usize]).collect();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Binary, Op, Unary};

    #[test]
    fn what_no_output_needs_is_dropped_and_the_rest_renumbered() {
        let mut g = Graph::default();
        g.add_constant("unused", vec![3], vec![0.0; 3]);
        let x = g.add_value("x", vec![1, 3]);
        g.input = x;
        g.add_node("dead", Op::Unary(Unary::Abs), vec![x], "d").expect("fits");
        let c = g.add_constant("c", vec![3], vec![1.0, 2.0, 3.0]);
        let y = g.add_node("sum", Op::Binary(Binary::Add), vec![x, c], "y").expect("fits");
        g.outputs = vec![y];
        let small = compact(g.clone()).expect("connected");
        let names: Vec<&str> = small.values.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["x", "c", "y"]);
        assert_eq!((small.input, small.outputs.as_slice(), small.nodes.len()), (0, &[2][..], 1));
        assert_eq!((small.nodes[0].inputs.as_slice(), small.nodes[0].output), (&[0, 1][..], 2));
        assert_eq!(small.constants, [(1, vec![1.0, 2.0, 3.0])].into());
        g.outputs = vec![c];
        assert_eq!(compact(g), Err(Disconnected));
    }
}
