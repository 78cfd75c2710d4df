//! `--offload auto`: which layers leave the device, so that the predicted time is least.

use std::collections::BTreeMap;

use twinmask_layer::Geometry;
use twinmask_model::graph::{Graph, ValueId};

use crate::predict::Costs;

/// Layers that read one tensor: outsourced together or not at all, since they share an upload.
struct Siblings {
    nodes: Vec<usize>,
    /// When they are due if everything is outsourced.
    depth: u32,
    local_ms: f64,
    /// Upload and answers.
    outsourced_ms: f64,
}

/// Predicted times of the layers that could leave, ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// All of them on the device.
    pub none_ms: f64,
    /// All of them outsourced.
    pub all_ms: f64,
    /// As `auto` decides.
    pub auto_ms: f64,
}

/// A network whose siblings are outsourced or not.
struct Search<'a> {
    graph: &'a Graph,
    groups: Vec<Siblings>,
    round_ms: f64,
}

/// Narrows `candidates` (node index -> shape) to those to outsource with elements of `k` bits: the best that moves from
/// both ends lead to, so never slower, as predicted, than all of them or none.
///
/// A round costs its round trip unless all of it stays, so a move takes the groups of some rounds in a row (1, 2, 4, ..
/// of them), or one group, out or back in.
pub(super) fn narrow(costs: &Costs, graph: &Graph, candidates: &mut BTreeMap<usize, Geometry>, k: u32) -> Predicted {
    let search = Search::new(costs, graph, candidates, k);
    let ends = [false, true].map(|outsourced| vec![outsourced; search.groups.len()]);
    let [none_ms, all_ms] = ends.each_ref().map(|end| search.ms(end));
    let [none, all] = ends.map(|end| search.descend(end));
    let (auto_ms, best) = if all.0 < none.0 { all } else { none };
    for (group, outsourced) in search.groups.iter().zip(best) {
        if !outsourced {
            candidates.retain(|i, _| !group.nodes.contains(i));
        }
    }
    Predicted { none_ms, all_ms, auto_ms }
}

impl<'a> Search<'a> {
    fn new(costs: &Costs, graph: &'a Graph, candidates: &BTreeMap<usize, Geometry>, k: u32) -> Self {
        let depth = depths(graph, |i| candidates.contains_key(&i));
        let mut groups: BTreeMap<ValueId, Siblings> = BTreeMap::new();
        for (&i, layer) in candidates {
            let input = graph.nodes[i].inputs[0];
            let group = groups.entry(input).or_insert_with(|| {
                let outsourced_ms = costs.up_ms(layer.in_len() as u64, k);
                Siblings { nodes: vec![], depth: depth[input as usize], local_ms: 0.0, outsourced_ms }
            });
            group.nodes.push(i);
            group.local_ms += costs.local_ms(layer);
            group.outsourced_ms += costs.answer_ms(layer, k);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|g| g.depth);
        Self { graph, groups, round_ms: costs.round_ms() }
    }

    /// Predicted time, ms.
    fn ms(&self, outsourced: &[bool]) -> f64 {
        let mut leaves = vec![false; self.graph.nodes.len()];
        let mut ms = 0.0;
        for (group, &outsourced) in self.groups.iter().zip(outsourced) {
            group.nodes.iter().for_each(|&i| leaves[i] = outsourced);
            ms += if outsourced { group.outsourced_ms } else { group.local_ms };
        }
        let rounds = depths(self.graph, |i| leaves[i]).into_iter().max().unwrap_or(0);
        ms + f64::from(rounds) * self.round_ms
    }

    /// The best that moves lead to which shorten the time, and its time.
    fn descend(&self, mut state: Vec<bool>) -> (f64, Vec<bool>) {
        let mut ms = self.ms(&state);
        loop {
            let before = ms;
            for (first, end) in self.moves() {
                for to in [false, true] {
                    let old = state[first..end].to_vec();
                    state[first..end].fill(to);
                    let new = self.ms(&state);
                    if new < ms {
                        ms = new;
                    } else {
                        state[first..end].copy_from_slice(&old);
                    }
                }
            }
            if ms >= before {
                return (ms, state);
            }
        }
    }

    /// Stretches of groups: each alone, and those of 1, 2, 4, .. rounds in a row.
    fn moves(&self) -> Vec<(usize, usize)> {
        let at = |depth: u32| self.groups.partition_point(|g| g.depth < depth);
        let rounds = self.groups.last().map_or(0, |g| g.depth + 1);
        let lengths = std::iter::successors(Some(1u32), |n| n.checked_mul(2)).take_while(|&n| n < 2 * rounds);
        let stretches = lengths.flat_map(|n| (0..rounds).map(move |r| (at(r), at(r.saturating_add(n)))));
        (0..self.groups.len()).map(|g| (g, g + 1)).chain(stretches).collect()
    }
}

/// Rounds before each value if exactly the nodes of `leaves` were outsourced.
fn depths(graph: &Graph, leaves: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut depth = vec![0; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let input = node.inputs.iter().map(|&x| depth[x as usize]).max().unwrap_or(0);
        depth[node.output as usize] = input + u32::from(leaves(i));
    }
    depth
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
