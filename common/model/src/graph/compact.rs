//! What no output needs is dropped from a graph.

use super::{Graph, Port};

/// A graph that has no path from its input to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no output depends on the network's input")]
pub struct Disconnected;

/// Drops nodes and values that no output depends on, and renumbers.
///
/// # Errors
/// [`Disconnected`] when no output depends on any of the network's inputs.
pub fn compact(mut graph: Graph) -> Result<Graph, Disconnected> {
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|o| live[o.value as usize] = true);
    for node in graph.nodes.iter().rev() {
        if live[node.output as usize] {
            node.inputs.iter().for_each(|&i| live[i as usize] = true);
        }
    }
    if !graph.inputs.iter().any(|i| live[i.value as usize]) {
        return Err(Disconnected);
    }
    // Whoever runs the network gives all its inputs, read or not.
    graph.inputs.iter().for_each(|i| live[i.value as usize] = true);
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
    let renumbered = |port: &Port| Port { value: new[port.value as usize], ..*port };
    out.inputs = graph.inputs.iter().map(renumbered).collect();
    out.outputs = graph.outputs.iter().map(renumbered).collect();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Element;
    use crate::ops::{Binary, Unary};

    #[test]
    fn what_no_output_needs_is_dropped_and_the_rest_renumbered() {
        let mut g = Graph::default();
        g.add_constant("unused", vec![3], vec![0.0; 3]);
        let x = g.add_input("x", vec![1, 3], Element::F32);
        g.add_node("dead", Unary::Abs, vec![x], "d").expect("fits");
        let c = g.add_constant("c", vec![3], vec![1.0, 2.0, 3.0]);
        let y = g.add_node("sum", Binary::Add, vec![x, c], "y").expect("fits");
        g.outputs = vec![Port::f32(y)];
        let small = compact(g.clone()).expect("connected");
        let names: Vec<&str> = small.values.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["x", "c", "y"]);
        assert_eq!((small.inputs, small.outputs, small.nodes.len()), (vec![Port::f32(0)], vec![Port::f32(2)], 1));
        assert_eq!((small.nodes[0].inputs.as_slice(), small.nodes[0].output), (&[0, 1][..], 2));
        assert_eq!(small.constants, [(1, vec![1.0, 2.0, 3.0])].into());
        g.outputs = vec![Port::f32(c)];
        assert_eq!(compact(g), Err(Disconnected));
    }
}
