//! Networks that are written here because no real one has all of this.

use std::path::Path;

use crate::onnx::{Network, int, ints};

/// Branches that join, siblings of one tensor (pointwise, grouped, dilated), a depthwise layer that stays on the
/// device, asymmetric padding, a residual sum whose result is signed, softmax. Input `[1, 4, 13, 10]`.
#[must_use]
pub fn mixed() -> Vec<u8> {
    let mut n = Network::new(&[1, 4, 13, 10]);
    let pads = |p: [i64; 4]| vec![ints("pads", &p)];
    let x = n.conv("x", [4, 8], &[3, 3], 1, pads([0, 1, 2, 1]));
    let x = n.node("Relu", &[&x], vec![]);
    let pointwise = n.conv(&x, [8, 6], &[1, 1], 1, vec![]);
    let grouped = n.conv(&x, [8, 6], &[3, 3], 2, pads([1; 4]));
    let dilated = n.conv(&x, [8, 4], &[3, 3], 1, vec![ints("pads", &[2; 4]), ints("dilations", &[2, 2])]);
    let depthwise = n.conv(&x, [8, 8], &[3, 3], 8, pads([1; 4]));
    let joined = n.node("Concat", &[&pointwise, &grouped, &dilated, &depthwise], vec![int("axis", 1)]);
    let long = n.conv(&joined, [24, 12], &[1, 5], 1, pads([0, 2, 0, 2]));
    let short = n.conv(&joined, [24, 12], &[1, 1], 1, vec![]);
    let sum = n.node("Add", &[&long, &short], vec![]);
    let halved = n.conv(&sum, [12, 16], &[2, 3], 1, vec![ints("strides", &[2, 2]), ints("pads", &[1, 0, 0, 1])]);
    let active = n.node("Relu", &[&halved], vec![]);
    let pool = n.node("GlobalAveragePool", &[&active], vec![]);
    let flat = n.node("Flatten", &[&pool], vec![int("axis", 1)]);
    let logits = n.dense(&flat, 16, 10);
    let out = n.node("Softmax", &[&logits], vec![int("axis", 1)]);
    n.bytes(&out)
}

/// Convolutions over one dimension, as for sound. Input `[1, 3, 50]`.
#[must_use]
pub fn wave() -> Vec<u8> {
    let mut n = Network::new(&[1, 3, 50]);
    let x = n.conv("x", [3, 8], &[5], 1, vec![ints("strides", &[2]), ints("pads", &[1, 2])]);
    let x = n.node("Relu", &[&x], vec![]);
    let x = n.conv(&x, [8, 8], &[3], 2, vec![ints("dilations", &[3])]);
    let x = n.node("Flatten", &[&x], vec![int("axis", 1)]);
    let out = n.dense(&x, 8 * 19, 7);
    n.bytes(&out)
}

/// A chain of `layers` convolutions, each of which is a chance to be caught. Input `[1, 3, 8, 8]`.
#[must_use]
pub fn tower(layers: usize) -> Vec<u8> {
    let mut n = Network::new(&[1, 3, 8, 8]);
    let mut x = "x".to_owned();
    for l in 0..layers {
        let from = if l == 0 { 3 } else { 8 };
        x = n.conv(&x, [from, 8], &[3, 3], 1, vec![ints("pads", &[1; 4])]);
        x = n.node("Relu", &[&x], vec![]);
    }
    let x = n.node("Flatten", &[&x], vec![int("axis", 1)]);
    let out = n.dense(&x, 8 * 64, 5);
    n.bytes(&out)
}

/// Layers whose uploads leave in several pieces. Input `[1, 3, 160, 160]`.
#[must_use]
pub fn wide() -> Vec<u8> {
    let mut n = Network::new(&[1, 3, 160, 160]);
    let mut x = "x".to_owned();
    for channels in [3, 4, 4] {
        x = n.conv(&x, [channels, 4], &[1, 1], 1, vec![]);
        x = n.node("Relu", &[&x], vec![]);
    }
    let pool = n.node("GlobalAveragePool", &[&x], vec![]);
    let flat = n.node("Flatten", &[&pool], vec![int("axis", 1)]);
    let out = n.dense(&flat, 4, 3);
    n.bytes(&out)
}

/// Convolutions whose uploads and answers travel in stripes: a plain one, siblings with other kernels, and one with
/// groups, dilation and steps. Input `[1, 3, 100, 90]`.
#[must_use]
pub fn striped() -> Vec<u8> {
    let mut n = Network::new(&[1, 3, 100, 90]);
    let x = n.conv("x", [3, 8], &[3, 3], 1, vec![ints("pads", &[1; 4])]);
    let x = n.node("Relu", &[&x], vec![]);
    let wide = n.conv(&x, [8, 6], &[5, 5], 1, vec![ints("pads", &[2; 4])]);
    let near = n.conv(&x, [8, 6], &[3, 3], 1, vec![ints("pads", &[1; 4])]);
    let joined = n.node("Concat", &[&wide, &near], vec![int("axis", 1)]);
    let further = vec![ints("strides", &[2, 1]), ints("dilations", &[3, 2]), ints("pads", &[0, 2, 3, 2])];
    let x = n.conv(&joined, [12, 8], &[3, 3], 2, further);
    let pool = n.node("GlobalAveragePool", &[&x], vec![]);
    let flat = n.node("Flatten", &[&pool], vec![int("axis", 1)]);
    let out = n.dense(&flat, 8, 5);
    n.bytes(&out)
}

/// Two sibling convolutions and a fully connected layer, small enough to check every output. Input `[1, 2, 4, 4]`.
#[must_use]
pub fn tiny() -> Vec<u8> {
    let mut n = Network::new(&[1, 2, 4, 4]);
    let a = n.conv("x", [2, 3], &[3, 3], 1, vec![ints("pads", &[1; 4])]);
    let b = n.conv("x", [2, 3], &[1, 1], 1, vec![]);
    let x = n.node("Add", &[&a, &b], vec![]);
    let x = n.node("Relu", &[&x], vec![]);
    let x = n.node("Flatten", &[&x], vec![int("axis", 1)]);
    let out = n.dense(&x, 48, 6);
    n.bytes(&out)
}

/// A logarithm in the middle, which is no finite number where the first layer's result is not positive. Input `[1, 4]`.
#[must_use]
pub fn fragile() -> Vec<u8> {
    let mut n = Network::new(&[1, 4]);
    let w = n.constant("first", &[2, 4], vec![1.0; 8]);
    let x = n.node("Gemm", &["x", &w], vec![int("transB", 1)]);
    let x = n.node("Log", &[&x], vec![]);
    let x = n.dense(&x, 2, 8);
    let x = n.node("Relu", &[&x], vec![]);
    let out = n.dense(&x, 8, 3);
    n.bytes(&out)
}

/// Writes a network's bytes to `path` and gives it as an argument.
///
/// # Panics
/// If it cannot be written.
pub fn save(bytes: &[u8], path: &Path) -> String {
    std::fs::write(path, bytes).expect("writes");
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}
