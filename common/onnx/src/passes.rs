//! Passes over the imported graph.

use std::collections::{BTreeMap, BTreeSet};

use twinmask_model::graph::{Graph, Node, ValueId};
use twinmask_model::ops::{Binary, Op};

/// Folds multiplications and additions by per-channel constants (BatchNormalization above all) into the constant
/// weights and bias of the convolution or matrix product before them, where nothing else reads that layer's output.
/// Arithmetic in f64.
pub(super) fn fuse(graph: &mut Graph) {
    let mut readers = vec![0u32; graph.values.len()];
    let read = graph.nodes.iter().flat_map(|n| n.inputs.iter().copied()).chain(graph.outputs.iter().map(|o| o.value));
    read.for_each(|v| readers[v as usize] += 1);
    // Value -> the layer that computes it.
    let mut layer_of: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let is_layer = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_));
        if is_layer && node.inputs[1..].iter().all(|v| graph.constants.contains_key(v)) {
            layer_of.insert(node.output, i);
        } else if let Some((layer, scale, shift)) = affine(graph, node, &layer_of, &readers) {
            let output = node.output;
            rescale(graph, layer, &scale, &shift);
            graph.nodes[layer].output = output;
            layer_of.insert(output, layer);
            gone.insert(i);
        }
    }
    let mut index = 0..;
    graph.nodes.retain(|_| !index.next().is_some_and(|i| gone.contains(&i)));
}

/// The layer that `node` scales and shifts per channel, if it does.
fn affine(
    graph: &Graph,
    node: &Node,
    layer_of: &BTreeMap<ValueId, usize>,
    readers: &[u32],
) -> Option<(usize, Vec<f64>, Vec<f64>)> {
    let Op::Binary(f) = node.op else { return None };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    let (x, c) = match f {
        Binary::Add | Binary::Mul if graph.constants.contains_key(&a) => (b, a),
        Binary::Add | Binary::Mul | Binary::Sub | Binary::Div => (a, b),
        _ => return None,
    };
    let layer = *layer_of.get(&x).filter(|_| readers[x as usize] == 1)?;
    let shape = graph.shape(x);
    if graph.shape(node.output) != shape {
        return None;
    }
    let axis = if matches!(graph.nodes[layer].op, Op::Dense(_)) { shape.len() - 1 } else { 1 };
    let c = per_channel(graph.shape(c), graph.constants.get(&c)?, axis, shape)?;
    let (one, zero) = (vec![1.0; c.len()], vec![0.0; c.len()]);
    Some(match f {
        Binary::Add => (layer, one, c),
        Binary::Sub => (layer, one, c.iter().map(|v| -v).collect()),
        Binary::Mul => (layer, c, zero),
        _ => (layer, c.iter().map(|v| 1.0 / v).collect(), zero),
    })
}

/// A constant's value per channel, if it varies along `axis` of `shape` at most.
fn per_channel(constant: &[u32], data: &[f32], axis: usize, shape: &[u32]) -> Option<Vec<f64>> {
    let channels = shape[axis] as usize;
    let missing = shape.len().checked_sub(constant.len())?;
    let others_are_one = constant.iter().enumerate().all(|(i, &d)| d == 1 || i + missing == axis);
    match data {
        [only] => Some(vec![f64::from(*only); channels]),
        all if others_are_one && all.len() == channels => Some(all.iter().map(|&v| f64::from(v)).collect()),
        _ => None,
    }
}

fn rescale(graph: &mut Graph, layer: usize, scale: &[f64], shift: &[f64]) {
    let node = &graph.nodes[layer];
    let (weights, bias) = (node.inputs[1], node.inputs.get(2).copied());
    if scale.iter().any(|&s| s != 1.0) {
        let shape = graph.shape(weights).to_vec();
        let data = &graph.constants[&weights];
        let channel: Box<dyn Fn(usize) -> usize> = match &node.op {
            // Weights [c, c_out / groups, kh, kw]: the group follows from the input channel.
            Op::ConvTranspose(op) => {
                let (per_input, tap) = (data.len() / shape[0] as usize, shape[2..].iter().product::<u32>() as usize);
                let (inputs_per_group, outputs_per_group) = ((shape[0] / op.groups) as usize, shape[1] as usize);
                Box::new(move |i| i / per_input / inputs_per_group * outputs_per_group + i / tap % outputs_per_group)
            }
            _ => {
                let row = data.len() / shape[0] as usize;
                Box::new(move |i| i / row)
            }
        };
        let scaled = data.iter().enumerate().map(|(i, &w)| (f64::from(w) * scale[channel(i)]) as f32).collect();
        let name = graph.value(weights).name.clone();
        graph.nodes[layer].inputs[1] = graph.add_constant(name, shape, scaled);
        drop_unused(graph, weights);
    }
    let old = bias.map(|b| graph.constants[&b].clone());
    let at = |c: usize| old.as_ref().map_or(0.0, |b| f64::from(b[c]));
    let data = (0..scale.len()).map(|c| (at(c) * scale[c] + shift[c]) as f32).collect();
    let name = bias.map_or_else(|| format!("{}/bias", graph.nodes[layer].name), |b| graph.value(b).name.clone());
    let fresh = graph.add_constant(name, vec![scale.len() as u32], data);
    graph.nodes[layer].inputs.truncate(2);
    graph.nodes[layer].inputs.push(fresh);
}

/// Frees the data of a constant that nothing reads any more.
fn drop_unused(graph: &mut Graph, id: ValueId) {
    if !graph.nodes.iter().any(|n| n.inputs.contains(&id)) {
        graph.constants.remove(&id);
    }
}
