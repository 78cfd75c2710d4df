//! Rounds: a linear layer runs as soon as its input is there. The depth of a value is the number of rounds that must
//! have been answered before it can be computed; the layers that read a value of depth r belong to round r.

use crate::graph::Graph;
use crate::ops::Op;
use crate::plan::Plan;

/// Depth of each value of `graph`, whose nodes stand in topological order.
#[must_use]
pub fn depths(graph: &Graph) -> Vec<u32> {
    let mut depth = vec![0; graph.values.len()];
    for node in &graph.nodes {
        let input = node.inputs.iter().map(|&i| depth[i as usize]).max().unwrap_or(0);
        depth[node.output as usize] = input + u32::from(matches!(node.op, Op::Linear(_)));
    }
    depth
}

/// A plan that contradicts the graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoundsError {
    /// A hole of a layer that the plan does not have.
    #[error("hole {0} is not in the plan")]
    Hole(u32),
    /// A hole of another size than its layer's.
    #[error("hole of layer {0} does not fit its geometry")]
    Geometry(String),
    /// A layer with two holes.
    #[error("layer {0} fills two holes")]
    Twice(String),
    /// A layer without a hole.
    #[error("layer {0} fills no hole")]
    Missing(u32),
    /// A group whose input is not ready in its round, or whose layers read several values.
    #[error("group {group} does not belong to round {round}")]
    Round {
        /// The group.
        group: u32,
        /// The round that the plan gives it.
        round: usize,
    },
}

/// Checks that the holes of a device's graph are the plan's layers: each layer once, its input and output as long
/// as its geometry says, siblings on one value, rounds as [`depths`] gives them.
///
/// # Errors
/// [`RoundsError`], which says which layer or round contradicts the graph.
pub fn check(graph: &Graph, plan: &Plan) -> Result<(), RoundsError> {
    let depth = depths(graph);
    let mut input_of = vec![None; plan.layers.len()];
    for node in &graph.nodes {
        let Op::Linear(hole) = &node.op else { continue };
        let layer = hole.layer;
        let planned = plan.layers.get(layer as usize).ok_or(RoundsError::Hole(layer))?;
        let (input, g) = (node.inputs[0], &planned.geometry);
        if graph.value(input).len() != g.in_len() || graph.value(node.output).len() != g.out_len() {
            return Err(RoundsError::Geometry(planned.name.clone()));
        }
        if input_of[layer as usize].replace(input).is_some() {
            return Err(RoundsError::Twice(planned.name.clone()));
        }
    }
    for (r, round) in plan.rounds.iter().enumerate() {
        for &g in round {
            let layers = &plan.groups[g as usize].layers;
            let first = input_of[layers[0] as usize].ok_or(RoundsError::Missing(layers[0]))?;
            if depth[first as usize] as usize != r || layers.iter().any(|&l| input_of[l as usize] != Some(first)) {
                return Err(RoundsError::Round { group: g, round: r });
            }
        }
    }
    Ok(())
}
