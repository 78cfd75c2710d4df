//! Import of the real model files.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use twinmask_model::graph::{Graph, elements};
use twinmask_model::ops::Op;

use super::{ImportOptions, import};

fn data(name: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let root = std::env::var_os("TWINMASK_DATA").unwrap_or_else(|| default.into());
    let path = PathBuf::from(root).join("models").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there (TWINMASK_DATA)", path.display());
    None
}

/// Constant-weight layers and their multiplications.
fn linear(g: &Graph) -> (usize, u64) {
    let layers = g.nodes.iter().filter(|n| {
        matches!(n.op, Op::Conv(_) | Op::Dense(_) | Op::ConvTranspose(_)) && g.constants.contains_key(&n.inputs[1])
    });
    layers.fold((0, 0), |(n, macs), node| {
        let w = g.shape(node.inputs[1]);
        (n + 1, macs + (g.value(node.output).len() * elements(&w[1..])) as u64)
    })
}

/// File, output elements, linear layers, million MACs.
const FILES: [(&str, usize, usize, u64); 5] = [
    ("squeezenet1.1.onnx", 1000, 26, 349),
    ("facenet_inception_resnet_v1.onnx", 512, 133, 1418),
    ("mobilefacenet.onnx", 128, 51, 234),
    ("lenet_mnist.onnx", 10, 4, 2),
    ("resnet20_cifar10.onnx", 10, 22, 41),
];

#[test]
fn all_real_files_import() {
    for (name, outputs, layers, mmacs) in FILES {
        let Some(path) = data(name) else { continue };
        let started = std::time::Instant::now();
        let imported = import(&path, &ImportOptions::default()).unwrap();
        let (n, macs) = linear(&imported.graph);
        let g = &imported.graph;
        println!(
            "{name}: opset {}, {}, {} nodes, {n} linear layers, {} MMAC, {} parameters, {:?}, warnings {:?}",
            imported.opset,
            imported.producer,
            g.nodes.len(),
            macs / 1_000_000,
            g.constants.values().map(Vec::len).sum::<usize>(),
            started.elapsed(),
            imported.warnings,
        );
        let mut kinds = std::collections::BTreeMap::new();
        g.nodes.iter().for_each(|n| *kinds.entry(n.op.name()).or_insert(0) += 1);
        println!(
            "  {kinds:?} inputs {:?} outputs {:?}",
            g.inputs.iter().map(|i| g.value(i.value)).collect::<Vec<_>>(),
            g.outputs.iter().map(|o| g.value(o.value)).collect::<Vec<_>>()
        );
        assert_eq!(
            (g.value(g.outputs[0].value).len(), n, (macs + 500_000) / 1_000_000),
            (outputs, layers, mmacs),
            "{name}"
        );
    }
}
