//! Rounds: a linear layer runs as soon as its input is there. The depth of a value is the number of rounds that must
//! have been answered before it can be computed; the layers that read a value of depth r belong to round r.

use crate::graph::Graph;
use crate::ops::Op;
use crate::plan::Plan;
use twinmask_codec::{GroupId, LayerId, RoundId};

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

/// A device's graph that is not the one that its plan was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoleError {
    /// A hole for a layer that there is not.
    #[error("hole {0} is not in the plan")]
    Unplanned(LayerId),
    /// A hole of another size than its layer.
    #[error("hole of layer {0} does not fit its geometry")]
    Size(String),
    /// A layer with two holes.
    #[error("layer {0} fills two holes")]
    Twice(String),
    /// A layer without a hole.
    #[error("layer {0} fills no hole")]
    Missing(LayerId),
    /// A group whose input is ready at another time, or is not one value.
    #[error("group {group} does not belong to round {round}")]
    Round {
        /// The group.
        group: GroupId,
        /// The round that the plan gives it.
        round: RoundId,
    },
}

/// Checks that the holes of a device's graph are the plan's layers: each layer once, its input and output as long
/// as its geometry says, siblings on one value, rounds as [`depths`] gives them.
///
/// # Errors
/// [`HoleError`]: which layer or round contradicts the graph.
pub fn check(graph: &Graph, plan: &Plan) -> Result<(), HoleError> {
    let depth = depths(graph);
    let mut input_of = vec![None; plan.layers().len()];
    for node in &graph.nodes {
        let Op::Linear(hole) = &node.op else { continue };
        let id = hole.layer;
        let planned = plan.layers().get(id.index()).ok_or(HoleError::Unplanned(id))?;
        let (input, g) = (node.inputs[0], planned.geometry());
        if graph.value(input).len() != g.in_len() || graph.value(node.output).len() != g.out_len() {
            return Err(HoleError::Size(planned.name().into()));
        }
        if input_of[id.index()].replace(input).is_some() {
            return Err(HoleError::Twice(planned.name().into()));
        }
    }
    for round in plan.round_ids() {
        for &group in plan.round(round) {
            let layers = plan.group(group).layers();
            let first = input_of[layers[0].index()].ok_or(HoleError::Missing(layers[0]))?;
            if RoundId::new(depth[first as usize]) != round || layers.iter().any(|l| input_of[l.index()] != Some(first))
            {
                return Err(HoleError::Round { group, round });
            }
        }
    }
    Ok(())
}
