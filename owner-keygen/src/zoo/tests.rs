#![allow(clippy::unwrap_used)]

use std::path::Path;

use twinmask_model::graph::{Graph, ValueId, elements};
use twinmask_model::ops::Op;

use super::*;
use twinmask_onnx::{ImportOptions, import_bytes};

fn bytes(arch: Arch, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write(arch, seed, &mut out).unwrap();
    out
}

/// What a network's linear layers move and compute.
#[derive(Debug, PartialEq)]
struct Size {
    layers: usize,
    /// Inputs of layers, each tensor once.
    up: usize,
    down: usize,
    mmac: usize,
    parameters: usize,
}

fn size(g: &Graph) -> Size {
    let layers: Vec<_> = g.nodes.iter().filter(|n| matches!(n.op, Op::Conv(_) | Op::Dense(_))).collect();
    let inputs: std::collections::BTreeSet<ValueId> = layers.iter().map(|n| n.inputs[0]).collect();
    let macs: usize = layers.iter().map(|n| g.value(n.output).len() * elements(&g.shape(n.inputs[1])[1..])).sum();
    Size {
        layers: layers.len(),
        up: inputs.iter().map(|&i| g.value(i).len()).sum(),
        down: layers.iter().map(|n| g.value(n.output).len()).sum(),
        mmac: (macs + 500_000) / 1_000_000,
        parameters: g.constants.values().map(Vec::len).sum(),
    }
}

/// Architecture, layers, up, down, million MACs, parameters.
const SIZES: [(Arch, usize, usize, usize, usize, usize); 8] = [
    (Arch::AlexNet, 8, 355_200, 494_184, 714, 61_100_840),
    (Arch::AlexNet227, 8, 415_035, 659_272, 1135, 62_378_344),
    (Arch::FacenetNn1, 14, 1_205_424, 2_343_040, 1606, 140_025_664),
    (Arch::FacenetIrv1, 133, 2_919_360, 3_120_000, 1418, 23_467_824),
    (Arch::ResNet50, 54, 9_058_816, 11_114_984, 4089, 25_530_472),
    (Arch::MobileNetV2, 53, 6_767_200, 6_679_112, 301, 3_487_816),
    (Arch::Vgg16, 16, 9_115_136, 13_556_712, 15_470, 138_357_544),
    (Arch::LeNet, 4, 4_964, 15_230, 2, 431_080),
];

#[test]
fn all_import_with_the_published_sizes() {
    for (arch, layers, up, down, mmac, parameters) in SIZES {
        let file = bytes(arch, 1);
        let imported = import_bytes(&file, Path::new(arch.name()), &ImportOptions::default()).unwrap();
        assert_eq!(size(&imported.graph), Size { layers, up, down, mmac, parameters }, "{}", arch.name());
        assert!(imported.warnings.is_empty() && imported.producer == "twinmask zoo");
    }
}

#[test]
fn same_seed_same_bytes() {
    let file = bytes(Arch::LeNet, 7);
    assert_eq!(file, bytes(Arch::LeNet, 7));
    assert_ne!(file, bytes(Arch::LeNet, 8));
}

/// The same weights on every platform: a digest that was computed once.
#[test]
fn the_bytes_are_fixed() {
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes(Arch::LeNet, 1));
    let text: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(text, "4a41a3e90b270551cb16452ef876133326dbc64fc3964b6733a9a0044ced3945");
}

#[test]
fn names_round_trip() {
    for arch in ARCHS {
        assert_eq!(arch.name().parse::<Arch>().unwrap(), arch);
    }
    assert!("alexnett".parse::<Arch>().unwrap_err().to_string().contains("facenet-irv1"));
}
