use super::*;
use crate::graph::{Element, Port};
use crate::ops::{
    Binary, Concat, Conv, ConvTranspose, Dense, Expand, Gather, MatMul, Pool, PoolKind, Reshape, Slice, Transpose,
    Unary, Where, Window,
};

fn infer(op: impl Into<Op>, inputs: &[&[u32]]) -> Result<Shape, ShapeError> {
    shape_of(&op.into(), inputs)
}

fn window(kernel: u32, stride: u32, pad: u32) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], pad: [pad; 4], dilation: [1; 2] }
}

#[test]
fn convolutions() {
    let op = Conv { window: window(11, 4, 2), groups: 1 };
    assert_eq!(infer(op, &[&[1, 3, 224, 224], &[64, 3, 11, 11], &[64]]), Ok(vec![1, 64, 55, 55]));
    for bad in [
        vec![&[2u32, 3, 224, 224][..], &[64, 3, 11, 11]],
        vec![&[1, 3, 224, 224], &[64, 4, 11, 11]],
        vec![&[1, 3, 224, 224], &[64, 3, 11, 11], &[63]],
        vec![&[1, 3, 2, 2], &[64, 3, 11, 11]],
        vec![&[1, 3, 224, 224]],
    ] {
        assert!(infer(op, &bad).is_err(), "{bad:?}");
    }
    let still = Conv { window: window(11, 0, 2), groups: 1 };
    let words = infer(still, &[&[1, 3, 30, 30], &[64, 3, 11, 11]]).expect_err("no steps").to_string();
    assert!(words.contains("impossible window 11x11 (strides 0x0, pads [2, 2, 2, 2], dilations 1x1)"), "{words}");
    let one =
        Conv { window: Window { kernel: [1, 3], stride: [1, 2], pad: [0, 1, 0, 1], dilation: [1, 1] }, groups: 1 };
    assert_eq!(infer(one, &[&[1, 8, 20], &[4, 8, 3]]), Ok(vec![1, 4, 10]));
    let up = ConvTranspose { window: window(2, 2, 0), output_padding: [0, 0], groups: 1 };
    assert_eq!(infer(up, &[&[1, 8, 7, 7], &[8, 4, 2, 2]]), Ok(vec![1, 4, 14, 14]));
}

#[test]
fn pools_with_ceil() {
    let pool = |ceil| Pool { window: window(3, 2, 0), kind: PoolKind::Max, ceil };
    assert_eq!(infer(pool(false), &[&[1, 8, 56, 56]]), Ok(vec![1, 8, 27, 27]));
    assert_eq!(infer(pool(true), &[&[1, 8, 56, 56]]), Ok(vec![1, 8, 28, 28]));
    // A window that would start behind the input does not count.
    let op = Pool {
        window: Window { kernel: [2, 2], stride: [2, 2], pad: [1, 1, 1, 1], dilation: [1, 1] },
        kind: PoolKind::Max,
        ceil: true,
    };
    assert_eq!(infer(op, &[&[1, 1, 4, 4]]), Ok(vec![1, 1, 3, 3]));
    assert_eq!(infer(op, &[&[1, 1, 3, 3]]), Ok(vec![1, 1, 2, 2]));
}

#[test]
fn shapes_of_the_rest() {
    assert_eq!(infer(Dense, &[&[1, 7, 5], &[3, 5], &[3]]), Ok(vec![1, 7, 3]));
    assert_eq!(infer(MatMul, &[&[1, 4, 2, 3], &[3, 5]]), Ok(vec![1, 4, 2, 5]));
    assert!(infer(MatMul, &[&[2, 3], &[2, 3]]).is_err());
    assert_eq!(infer(Binary::Add, &[&[1, 8, 4, 4], &[8, 1, 1]]), Ok(vec![1, 8, 4, 4]));
    assert_eq!(infer(Concat { axis: 1 }, &[&[1, 2, 3], &[1, 5, 3]]), Ok(vec![1, 7, 3]));
    assert!(infer(Concat { axis: 1 }, &[&[1, 2, 3], &[1, 5, 4]]).is_err());
    assert!(infer(Transpose { perm: vec![0, 0, 1] }, &[&[1, 2, 3]]).is_err());
    assert_eq!(infer(Slice { start: vec![0, 3], step: vec![1, -2], size: vec![1, 2] }, &[&[1, 4]]), Ok(vec![1, 2]));
    assert!(infer(Slice { start: vec![0, 3], step: vec![1, -2], size: vec![1, 3] }, &[&[1, 4]]).is_err());
    assert!(infer(Reshape { shape: vec![3, 3] }, &[&[1, 8]]).is_err());
    assert!(infer(Expand { shape: vec![2, 3] }, &[&[2, 1]]).is_ok());
    assert!(infer(Expand { shape: vec![1, 3] }, &[&[2, 1]]).is_err());
}

#[test]
fn choosing_and_gathering() {
    assert_eq!(infer(Where, &[&[3, 1], &[1, 4], &[2, 1, 1]]), Ok(vec![2, 3, 4]));
    assert!(infer(Where, &[&[3], &[4], &[1]]).is_err());
    assert!(infer(Where, &[&[3], &[3]]).is_err());
    let gather = |axis, data: &[u32], indices: &[u32]| infer(Gather { axis }, &[data, indices]);
    assert_eq!(gather(0, &[100, 8], &[1, 6]), Ok(vec![1, 6, 8]));
    assert_eq!(gather(1, &[2, 5, 3], &[]), Ok(vec![2, 3]));
    assert!(gather(2, &[100, 8], &[1]).is_err());
    assert!(gather(0, &[8; 5], &[1; 5]).expect_err("rank 9").reason.contains("rank"));
    assert!(gather(0, &[1, 1 << 20], &[1 << 20]).expect_err("2^40 elements").reason.contains("elements"));
}

fn small() -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", vec![1, 3, 4, 4], Element::F32);
    let w = g.add_constant("w", vec![2, 3, 3, 3], vec![0.5; 54]);
    let y = g.add_node("conv", Conv { window: window(3, 1, 1), groups: 1 }, vec![x, w], "y").expect("fits");
    let z = g.add_node("relu", Unary::Relu, vec![y], "z").expect("fits");
    g.outputs = vec![Port::f32(z)];
    g
}

#[test]
fn a_checked_graph_passes_and_mutations_do_not() {
    check(&small(), 1 << 20).expect("valid");
    assert!(check(&small(), 100).expect_err("cap").reason.contains("cap"));
    let mutations: [fn(&mut Graph); 12] = [
        |g| g.nodes.swap(0, 1),
        |g| g.nodes[0].inputs[0] = 77,
        |g| g.nodes[1].output = 99,
        |g| g.nodes[1].output = g.nodes[0].output,
        |g| g.values[2].shape = vec![1, 2, 4, 5],
        |g| g.outputs = vec![],
        |g| g.inputs[0].value = 1,
        |g| g.inputs[0].value = 99,
        |g| g.inputs.clear(),
        |g| g.inputs.push(g.inputs[0]),
        |g| {
            g.add_input("x", vec![1], Element::I64);
        },
        |g| {
            g.constants.insert(1, vec![0.0; 53]);
        },
    ];
    for (i, m) in mutations.iter().enumerate() {
        let mut g = small();
        m(&mut g);
        assert!(check(&g, 1 << 20).is_err(), "mutation {i}");
    }
}
