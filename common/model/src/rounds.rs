//! Rounds: a linear layer runs as soon as its input is there. The depth of a value is the number of rounds that must
//! have been answered before it can be computed; the layers that read a value of depth r belong to round r.

use crate::graph::{Graph, Op};
use crate::plan::Plan;

/// Depth of each value of `graph`, whose nodes stand in topological order.
#[must_use]
pub fn depths(graph: &Graph) -> Vec<u32> {
    let mut depth = vec![0; graph.values.len()];
    for node in &graph.nodes {
        let input = node.inputs.iter().map(|&i| depth[i as usize]).max().unwrap_or(0);
        depth[node.output as usize] = input + u32::from(matches!(node.op, Op::Linear { .. }));
    }
    depth
}

/// Checks that the holes of a device's graph are the plan's layers: each layer once, its input and output as long
/// as its geometry says, siblings on one value, rounds as [`depths`] gives them.
///
/// # Errors
/// Says which layer or round contradicts the graph.
pub fn check(graph: &Graph, plan: &Plan) -> Result<(), String> {
    let depth = depths(graph);
    let mut input_of = vec![None; plan.layers.len()];
    for node in &graph.nodes {
        let Op::Linear { layer, .. } = node.op else { continue };
        let planned = plan.layers.get(layer as usize).ok_or_else(|| format!("hole {layer} is not in the plan"))?;
        let (input, g) = (node.inputs[0], &planned.geometry);
        if graph.value(input).len() != g.in_len() || graph.value(node.output).len() != g.out_len() {
            return Err(format!("hole of layer {} does not fit its geometry", planned.name));
        }
        if input_of[layer as usize].replace(input).is_some() {
            return Err(format!("layer {} fills two holes", planned.name));
        }
    }
    for (r, round) in plan.rounds.iter().enumerate() {
        for &g in round {
            let layers = &plan.groups[g as usize].layers;
            let first = input_of[layers[0] as usize].ok_or_else(|| format!("layer {} fills no hole", layers[0]))?;
            if depth[first as usize] as usize != r || layers.iter().any(|&l| input_of[l as usize] != Some(first)) {
                return Err(format!("group {g} does not belong to round {r}"));
            }
        }
    }
    Ok(())
}
