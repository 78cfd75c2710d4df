//! One model per operator form.

#![allow(clippy::unwrap_used)]

use rten_onnx::onnx::{GraphProto, ModelProto, TensorProto};
use twinmask_model::ops::*;

use super::test_models::{A, floats, ints, load, model, node, one, ops};

const IMAGE: [i64; 4] = [1, 2, 6, 6];

fn ok(
    opset: i64,
    input: &[i64],
    extra: Vec<TensorProto>,
    op: &str,
    inputs: &[&str],
    attributes: Vec<(&str, A)>,
) -> (Vec<Op>, Vec<u32>) {
    ops(&one(opset, input, extra, op, inputs, attributes).unwrap_or_else(|e| panic!("{op}: {e}")))
}

fn fails(
    opset: i64,
    input: &[i64],
    extra: Vec<TensorProto>,
    op: &str,
    inputs: &[&str],
    attributes: Vec<(&str, A)>,
    text: &str,
) {
    let error = one(opset, input, extra, op, inputs, attributes).unwrap_err().to_string();
    assert!(error.contains(text) && error.contains(&format!("{op}_node")), "{error}");
}

fn ones(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, vec![1.0; dims.iter().product::<i64>() as usize])
}

fn window(kernel: [u32; 2], stride: [u32; 2], pad: [u32; 4]) -> Window {
    Window { kernel, stride, pad, dilation: [1, 1] }
}

#[test]
fn convolutions() {
    let w = || vec![ones("w", &[4, 2, 3, 3]), ones("b", &[4])];
    let conv = |window, groups| Op::Conv(Conv { window, groups });
    let square = |stride, pad| window([3, 3], [stride, stride], pad);
    let is = |v: &[i64]| A::Is(v.to_vec());
    let (found, shape) =
        ok(13, &IMAGE, w(), "Conv", &["x", "w", "b"], vec![("strides", is(&[2, 1])), ("pads", is(&[1, 0, 2, 1]))]);
    assert_eq!((found, shape), (vec![conv(window([3, 3], [2, 1], [1, 0, 2, 1]), 1)], vec![1, 4, 4, 5]));
    for (mode, pad, size) in [("SAME_UPPER", [0, 0, 1, 1], 3), ("SAME_LOWER", [1, 1, 0, 0], 3), ("VALID", [0; 4], 2)] {
        let attributes = vec![("auto_pad", A::S(mode)), ("strides", is(&[2, 2]))];
        assert_eq!(
            ok(13, &IMAGE, w(), "Conv", &["x", "w"], attributes),
            (vec![conv(square(2, pad), 1)], vec![1, 4, size, size]),
            "{mode}"
        );
    }
    let (found, shape) = ok(
        13,
        &IMAGE,
        vec![ones("w", &[4, 1, 2, 2])],
        "Conv",
        &["x", "w"],
        vec![("group", A::I(2)), ("dilations", is(&[2, 2]))],
    );
    assert_eq!(
        (found, shape),
        (vec![conv(Window { dilation: [2, 2], ..window([2, 2], [1, 1], [0; 4]) }, 2)], vec![1, 4, 4, 4])
    );
    let (found, shape) = ok(
        13,
        &[1, 2, 9],
        vec![ones("w", &[4, 2, 3])],
        "Conv",
        &["x", "w"],
        vec![("pads", is(&[1, 0])), ("strides", is(&[2]))],
    );
    assert_eq!((found, shape), (vec![conv(window([1, 3], [1, 2], [0, 1, 0, 0]), 1)], vec![1, 4, 4]));
    fails(13, &[1, 2, 4, 4, 4], vec![ones("w", &[4, 2, 3, 3, 3])], "Conv", &["x", "w"], vec![], "height, width");
    fails(13, &IMAGE, w(), "Conv", &["x", "w"], vec![("kernel_shape", is(&[5, 5]))], "kernel_shape");
    fails(13, &IMAGE, w(), "Conv", &["x", "w"], vec![("pads", is(&[-1, 0, 0, 0]))], "pads");

    let t =
        |pad, output_padding| Op::ConvTranspose(ConvTranspose { window: square(2, pad), output_padding, groups: 1 });
    let w = || vec![ones("w", &[2, 4, 3, 3])];
    let attributes = vec![("strides", is(&[2, 2])), ("pads", is(&[1; 4])), ("output_padding", is(&[1, 1]))];
    assert_eq!(
        ok(13, &IMAGE, w(), "ConvTranspose", &["x", "w"], attributes),
        (vec![t([1; 4], [1, 1])], vec![1, 4, 12, 12])
    );
    let attributes = vec![("strides", is(&[2, 2])), ("auto_pad", A::S("SAME_UPPER"))];
    assert_eq!(
        ok(13, &IMAGE, w(), "ConvTranspose", &["x", "w"], attributes),
        (vec![t([0, 0, 1, 1], [0, 0])], vec![1, 4, 12, 12])
    );
    let attributes = vec![("strides", is(&[2, 2])), ("output_shape", is(&[12, 11]))];
    assert_eq!(
        ok(13, &IMAGE, w(), "ConvTranspose", &["x", "w"], attributes),
        (vec![t([1, 1, 0, 1], [0, 0])], vec![1, 4, 12, 11])
    );
}

#[test]
fn pooling() {
    let is = |v: &[i64]| A::Is(v.to_vec());
    let size = || vec![("kernel_shape", is(&[3, 3])), ("strides", is(&[2, 2]))];
    let pool = |pad, kind, ceil| Op::Pool(Pool { window: window([3, 3], [2, 2], pad), kind, ceil });
    assert_eq!(
        ok(13, &IMAGE, vec![], "MaxPool", &["x"], size()),
        (vec![pool([0; 4], PoolKind::Max, false)], vec![1, 2, 2, 2])
    );
    let attributes = [size(), vec![("ceil_mode", A::I(1))]].into_iter().flatten().collect();
    assert_eq!(
        ok(13, &IMAGE, vec![], "MaxPool", &["x"], attributes),
        (vec![pool([0; 4], PoolKind::Max, true)], vec![1, 2, 3, 3])
    );
    for include in [false, true] {
        let attributes = [size(), vec![("pads", is(&[1; 4])), ("count_include_pad", A::I(i64::from(include)))]]
            .into_iter()
            .flatten()
            .collect();
        let kind = PoolKind::Average { count_include_pad: include };
        assert_eq!(
            ok(13, &IMAGE, vec![], "AveragePool", &["x"], attributes),
            (vec![pool([1; 4], kind, false)], vec![1, 2, 3, 3])
        );
    }
    for (op, kind) in [("GlobalAveragePool", ReduceKind::Mean), ("GlobalMaxPool", ReduceKind::Max)] {
        let expected = Op::Reduce(Reduce { kind, axes: vec![2, 3], keep_dims: true });
        assert_eq!(ok(13, &IMAGE, vec![], op, &["x"], vec![]), (vec![expected], vec![1, 2, 1, 1]));
    }
    fails(13, &IMAGE, vec![], "MaxPool", &["x"], vec![], "kernel_shape");
    let nodes = vec![node("MaxPool", &["x"], &["p", "i"], size()), node("Relu", &["i"], &["y"], vec![])];
    assert!(load(&model(13, &IMAGE, vec![], nodes)).unwrap_err().to_string().contains("pooling indices"));
}

#[test]
fn products() {
    let b = || floats("b", &[3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let transposed = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    let g = one(
        13,
        &[1, 3],
        vec![b(), floats("c", &[1, 2], vec![1.0, -1.0])],
        "Gemm",
        &["x", "b", "c"],
        vec![("alpha", A::F(2.0)), ("beta", A::F(3.0))],
    )
    .unwrap();
    assert_eq!(ops(&g), (vec![Op::Dense(Dense)], vec![1, 2]));
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], transposed.map(|v| v * 2.0));
    assert_eq!(g.constants[&g.nodes[0].inputs[2]], [3.0, -3.0]);
    let g =
        one(13, &[1, 2], vec![b(), floats("c", &[], vec![0.5])], "Gemm", &["x", "b", "c"], vec![("transB", A::I(1))])
            .unwrap();
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(g.constants[&g.nodes[0].inputs[2]], [0.5; 3]);
    let g = one(13, &[1, 4, 3], vec![b()], "MatMul", &["x", "b"], vec![]).unwrap();
    assert_eq!(ops(&g), (vec![Op::Dense(Dense)], vec![1, 4, 2]));
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], transposed);
    assert_eq!(ok(13, &[1, 4, 4], vec![], "MatMul", &["x", "x"], vec![]), (vec![Op::MatMul(MatMul)], vec![1, 4, 4]));
    let transpose = || Op::Transpose(Transpose { perm: vec![1, 0] });
    let attributes = vec![("transB", A::I(1)), ("alpha", A::F(0.5))];
    assert_eq!(
        ok(13, &[1, 4], vec![], "Gemm", &["x", "x"], attributes),
        (vec![transpose(), Op::MatMul(MatMul), Op::Binary(Binary::Mul)], vec![1, 1])
    );
    let w = vec![floats("w", &[1, 2], vec![1.0, 2.0])];
    assert_eq!(
        ok(13, &[1, 4], w, "Gemm", &["x", "w"], vec![("transA", A::I(1))]),
        (vec![transpose(), Op::Dense(Dense)], vec![4, 2])
    );
    fails(13, &[1, 4], vec![b()], "MatMul", &["x", "b"], vec![], "do not fit");
}

#[test]
fn unary_functions() {
    for (op, f) in [
        ("Relu", Unary::Relu),
        ("LeakyRelu", Unary::LeakyRelu { alpha: 0.01 }),
        ("Elu", Unary::Elu { alpha: 1.0 }),
        ("Sigmoid", Unary::Sigmoid),
        ("HardSigmoid", Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        ("HardSwish", Unary::HardSwish),
        ("Tanh", Unary::Tanh),
        ("Gelu", Unary::Gelu { tanh: false }),
        ("Erf", Unary::Erf),
        ("Exp", Unary::Exp),
        ("Log", Unary::Log),
        ("Sqrt", Unary::Sqrt),
        ("Abs", Unary::Abs),
        ("Neg", Unary::Neg),
        ("Reciprocal", Unary::Reciprocal),
        ("Softplus", Unary::Softplus),
    ] {
        assert_eq!(ok(20, &[1, 5], vec![], op, &["x"], vec![]), (vec![Op::Unary(f)], vec![1, 5]), "{op}");
    }
    assert_eq!(
        ok(20, &[1, 5], vec![], "Gelu", &["x"], vec![("approximate", A::S("tanh"))]).0,
        [Op::Unary(Unary::Gelu { tanh: true })]
    );
    let clip = |min, max| vec![Op::Unary(Unary::Clip { min, max })];
    assert_eq!(ok(7, &[1, 5], vec![], "Clip", &["x"], vec![("min", A::F(0.0)), ("max", A::F(6.0))]).0, clip(0.0, 6.0));
    let bounds = vec![floats("lo", &[], vec![-1.0]), floats("hi", &[], vec![f32::INFINITY])];
    assert_eq!(ok(13, &[1, 5], bounds, "Clip", &["x", "lo", "hi"], vec![]).0, clip(-1.0, f32::MAX));
    assert_eq!(
        ok(13, &[1, 5], vec![floats("hi", &[], vec![2.0])], "Clip", &["x", "", "hi"], vec![]).0,
        clip(f32::MIN, 2.0)
    );
    fails(13, &[1, 5], vec![], "LeakyRelu", &["x"], vec![("alpha", A::F(f32::NAN))], "alpha");
}

#[test]
fn binary_functions() {
    use Binary::{Add, Div, Max, Min, Mul, PRelu, Pow, Sub};
    for (op, f) in [
        ("Add", Add),
        ("Sub", Sub),
        ("Mul", Mul),
        ("Div", Div),
        ("Max", Max),
        ("Min", Min),
        ("Sum", Add),
        ("Pow", Pow),
        ("PRelu", PRelu),
    ] {
        let (found, shape) = ok(13, &IMAGE, vec![ones("c", &[2, 1, 1])], op, &["x", "c"], vec![]);
        assert_eq!((found, shape), (vec![Op::Binary(f)], vec![1, 2, 6, 6]), "{op}");
    }
    let three = |op| ok(13, &[1, 3], vec![ones("a", &[3]), ones("b", &[1])], op, &["x", "a", "b"], vec![]).0;
    assert_eq!((three("Max"), three("Sum")), (vec![Op::Binary(Max); 2], vec![Op::Binary(Add); 2]));
    assert!(ok(13, &[1, 3], vec![], "Max", &["x"], vec![]).0.is_empty());
    assert_eq!(ok(13, &[1, 3], vec![ints("e", &[], &[2])], "Pow", &["x", "e"], vec![]).0, [Op::Binary(Pow)]);
    fails(13, &[1, 3], vec![ints("e", &[], &[2])], "Mul", &["x", "e"], vec![], "integers");
    fails(13, &[1, 3], vec![ones("a", &[4])], "Add", &["x", "a"], vec![], "broadcast");
    // The broadcast attributes of operator sets before 7 are a form that is not known.
    fails(6, &[1, 3], vec![ones("a", &[3])], "Add", &["x", "a"], vec![("broadcast", A::I(1))], "'broadcast'");
}

#[test]
fn normalizations() {
    let softmax = |axis, log| Op::Softmax(Softmax { axis, log });
    let reshape = |shape: &[u32]| Op::Reshape(Reshape { shape: shape.to_vec() });
    assert_eq!(ok(13, &[1, 3, 5], vec![], "Softmax", &["x"], vec![]).0, [softmax(2, false)]);
    assert_eq!(ok(13, &[1, 3, 5], vec![], "LogSoftmax", &["x"], vec![("axis", A::I(1))]).0, [softmax(1, true)]);
    let old = ok(12, &[1, 3, 5], vec![], "Softmax", &["x"], vec![]);
    assert_eq!(old, (vec![reshape(&[1, 15]), softmax(1, false), reshape(&[1, 3, 5])], vec![1, 3, 5]));
    assert_eq!(ok(12, &[1, 3, 1, 1], vec![], "Softmax", &["x"], vec![]).0, [softmax(1, false)]);
    let lrn = Op::Lrn(Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 2.0 });
    assert_eq!(ok(13, &IMAGE, vec![], "LRN", &["x"], vec![("size", A::I(5)), ("bias", A::F(2.0))]).0, [lrn]);
    let affine = |n| vec![n, Op::Binary(Binary::Mul), Op::Binary(Binary::Add)];
    let two = || vec![ones("s", &[2]), ones("b", &[2])];
    let instance = ok(13, &IMAGE, two(), "InstanceNormalization", &["x", "s", "b"], vec![]);
    assert_eq!(instance.0, affine(Op::Normalize(Normalize { axes: vec![2, 3], epsilon: 1e-5 })));
    let layer = ok(
        17,
        &[1, 7, 2],
        two(),
        "LayerNormalization",
        &["x", "s", "b"],
        vec![("axis", A::I(-1)), ("stash_type", A::I(1))],
    );
    assert_eq!(layer.0, affine(Op::Normalize(Normalize { axes: vec![2], epsilon: 1e-5 })));
    let four = || ["s", "b", "m", "v"].map(|n| ones(n, &[2])).to_vec();
    let g = one(15, &IMAGE, four(), "BatchNormalization", &["x", "s", "b", "m", "v"], vec![("epsilon", A::F(3.0))])
        .unwrap();
    assert_eq!(ops(&g).0, [Op::Binary(Binary::Mul), Op::Binary(Binary::Add)]);
    assert_eq!(
        (g.shape(g.nodes[0].inputs[1]), &g.constants[&g.nodes[0].inputs[1]]),
        (&[1, 2, 1, 1][..], &vec![0.5; 2])
    );
    assert_eq!(g.constants[&g.nodes[1].inputs[1]], [0.5; 2]);
    fails(
        15,
        &IMAGE,
        four(),
        "BatchNormalization",
        &["x", "s", "b", "m", "v"],
        vec![("training_mode", A::I(1))],
        "inference form",
    );
    let reduce = |kind, axes: &[u32], keep_dims| Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims });
    let l2 = ok(13, &[1, 9], vec![], "LpNormalization", &["x"], vec![("axis", A::I(1)), ("p", A::I(2))]);
    assert_eq!(l2.0, [reduce(ReduceKind::L2, &[1], true), Op::Binary(Binary::Div)]);
    for (op, kind) in [
        ("ReduceMean", ReduceKind::Mean),
        ("ReduceMax", ReduceKind::Max),
        ("ReduceMin", ReduceKind::Min),
        ("ReduceSum", ReduceKind::Sum),
        ("ReduceL2", ReduceKind::L2),
    ] {
        let found = ok(11, &IMAGE, vec![], op, &["x"], vec![("axes", A::Is(vec![-1, 2])), ("keepdims", A::I(0))]);
        assert_eq!(found, (vec![reduce(kind, &[2, 3], false)], vec![1, 2]), "{op}");
        let found = ok(18, &IMAGE, vec![ints("a", &[1], &[1])], op, &["x", "a"], vec![]);
        assert_eq!(found, (vec![reduce(kind, &[1], true)], vec![1, 1, 6, 6]), "{op}");
        assert_eq!(ok(18, &IMAGE, vec![], op, &["x"], vec![]).0, [reduce(kind, &[0, 1, 2, 3], true)]);
        assert!(ok(18, &IMAGE, vec![], op, &["x"], vec![("noop_with_empty_axes", A::I(1))]).0.is_empty());
    }
    let arg = ok(
        13,
        &[1, 9],
        vec![],
        "ArgMax",
        &["x"],
        vec![("axis", A::I(-1)), ("keepdims", A::I(0)), ("select_last_index", A::I(1))],
    );
    assert_eq!(arg, (vec![Op::ArgMax(ArgMax { axis: 1, keep_dims: false, last: true })], vec![1]));
}

#[test]
fn shapes() {
    let is = |v: &[i64]| A::Is(v.to_vec());
    let shape = |v: &[i64]| vec![ints("s", &[v.len() as i64], v)];
    let reshape = |s: &[u32]| (vec![Op::Reshape(Reshape { shape: s.to_vec() })], s.to_vec());
    assert_eq!(ok(13, &IMAGE, vec![], "Flatten", &["x"], vec![]), reshape(&[1, 72]));
    assert_eq!(ok(13, &IMAGE, vec![], "Flatten", &["x"], vec![("axis", A::I(-1))]), reshape(&[12, 6]));
    assert_eq!(ok(13, &IMAGE, shape(&[0, -1, 3]), "Reshape", &["x", "s"], vec![]), reshape(&[1, 24, 3]));
    assert!(ok(13, &IMAGE, shape(&[0, 0, 6, -1]), "Reshape", &["x", "s"], vec![]).0.is_empty());
    fails(13, &IMAGE, shape(&[5, -1]), "Reshape", &["x", "s"], vec![], "cannot become");
    fails(13, &IMAGE, shape(&[-1, -1]), "Reshape", &["x", "s"], vec![], "cannot become");
    assert_eq!(ok(11, &[1, 2, 1, 1], vec![], "Squeeze", &["x"], vec![("axes", is(&[2, -1]))]), reshape(&[1, 2]));
    assert_eq!(ok(13, &[1, 2, 1, 1], shape(&[3]), "Squeeze", &["x", "s"], vec![]), reshape(&[1, 2, 1]));
    assert_eq!(ok(11, &[1, 2], vec![], "Unsqueeze", &["x"], vec![("axes", is(&[0, -1]))]), reshape(&[1, 1, 2, 1]));
    assert_eq!(ok(13, &[1, 2], shape(&[1]), "Unsqueeze", &["x", "s"], vec![]), reshape(&[1, 1, 2]));
    for (op, attributes) in
        [("Identity", vec![]), ("Dropout", vec![("ratio", A::F(0.5))]), ("Cast", vec![("to", A::I(10))])]
    {
        assert!(ok(13, &[1, 2], vec![], op, &["x"], attributes).0.is_empty(), "{op}");
    }
    fails(13, &[1, 2], vec![], "Cast", &["x"], vec![("to", A::I(7))], "element type 7");
    let (found, out) = ok(13, &IMAGE, vec![], "Transpose", &["x"], vec![("perm", is(&[0, 2, 3, 1]))]);
    assert_eq!((found, out), (vec![Op::Transpose(Transpose { perm: vec![0, 2, 3, 1] })], vec![1, 6, 6, 2]));
    assert_eq!(
        ok(13, &IMAGE, vec![ones("c", &[1, 1, 6, 6])], "Concat", &["x", "c"], vec![("axis", A::I(-3))]).1,
        [1, 3, 6, 6]
    );
    let slice = |start: &[u32], step: &[i32], size: &[u32]| {
        (vec![Op::Slice(Slice { start: start.to_vec(), step: step.to_vec(), size: size.to_vec() })], size.to_vec())
    };
    let (begin, end) = (is(&[1, -3]), is(&[i64::MAX, 5]));
    assert_eq!(
        ok(9, &IMAGE, vec![], "Slice", &["x"], vec![("starts", begin), ("ends", end), ("axes", is(&[1, 3]))]),
        slice(&[0, 1, 0, 3], &[1; 4], &[1, 1, 6, 2])
    );
    let modern =
        vec![ints("b", &[1], &[-1]), ints("e", &[1], &[i64::MIN]), ints("a", &[1], &[2]), ints("t", &[1], &[-2])];
    assert_eq!(
        ok(13, &IMAGE, modern, "Slice", &["x", "b", "e", "a", "t"], vec![]),
        slice(&[0, 0, 5, 0], &[1, 1, -2, 1], &[1, 2, 3, 6])
    );
    assert_eq!(ok(13, &[1, 6], vec![ints("i", &[], &[-2])], "Gather", &["x", "i"], vec![("axis", A::I(1))]).1, [1]);
    assert_eq!(
        ok(13, &[1, 6], vec![ints("i", &[2], &[3, 1])], "Gather", &["x", "i"], vec![("axis", A::I(1))]),
        slice(&[0, 3], &[1, -2], &[1, 2])
    );
    let uneven = ok(13, &[1, 6], vec![ints("i", &[3], &[0, 1, 3])], "Gather", &["x", "i"], vec![("axis", A::I(1))]);
    let parts =
        [slice(&[0, 0], &[1, 1], &[1, 2]).0, slice(&[0, 3], &[1, 1], &[1, 1]).0, vec![Op::Concat(Concat { axis: 1 })]];
    assert_eq!(uneven, (parts.concat(), vec![1, 3]));
    assert_eq!(
        ok(13, &[1, 1, 3], shape(&[2, 1]), "Expand", &["x", "s"], vec![]),
        (vec![Op::Expand(Expand { shape: vec![1, 2, 3] })], vec![1, 2, 3])
    );
}

#[test]
fn splits() {
    let split = |opset, sizes: Option<&[i64]>, attributes: Vec<(&str, A)>| {
        let extra = sizes.map_or(vec![], |s| vec![ints("s", &[s.len() as i64], s)]);
        let inputs: &[&str] = if sizes.is_some() { &["x", "s"] } else { &["x"] };
        let nodes = vec![
            node("Split", inputs, &["a", "b"], attributes),
            node("Concat", &["b", "a"], &["y"], vec![("axis", A::I(1))]),
        ];
        let found = ops(&load(&model(opset, &[1, 7], extra, nodes)).unwrap()).0;
        found
            .into_iter()
            .filter_map(|o| if let Op::Slice(Slice { size, .. }) = o { Some(size[1]) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(split(18, None, vec![("axis", A::I(1)), ("num_outputs", A::I(2))]), [4, 3]);
    assert_eq!(split(13, Some(&[2, 5]), vec![("axis", A::I(-1))]), [2, 5]);
    assert_eq!(split(11, None, vec![("axis", A::I(1)), ("split", A::Is(vec![6, 1]))]), [6, 1]);
}

#[test]
fn padding_and_resampling() {
    let pads = [0, 0, 1, 2, 0, 0, 3, 0];
    let pad =
        |mode| (vec![Op::Pad(Pad { before: vec![0, 0, 1, 2], after: vec![0, 0, 3, 0], mode })], vec![1, 2, 10, 8]);
    let old = |mode| vec![("pads", A::Is(pads.to_vec())), ("mode", A::S(mode)), ("value", A::F(1.5))];
    assert_eq!(ok(9, &IMAGE, vec![], "Pad", &["x"], old("constant")), pad(PadMode::Constant(1.5)));
    assert_eq!(ok(9, &IMAGE, vec![], "Pad", &["x"], old("reflect")), pad(PadMode::Reflect));
    assert_eq!(ok(9, &IMAGE, vec![], "Pad", &["x"], old("edge")), pad(PadMode::Edge));
    fails(19, &IMAGE, vec![], "Pad", &["x"], old("wrap"), "wrap");
    let modern = || vec![ints("p", &[4], &[1, 2, 3, 0]), floats("v", &[], vec![2.5]), ints("a", &[2], &[2, -1])];
    assert_eq!(ok(18, &IMAGE, modern(), "Pad", &["x", "p", "v", "a"], vec![]), pad(PadMode::Constant(2.5)));
    let cut = |first: i64, last: i64| vec![ints("p", &[8], &[0, 0, first, 0, 0, 0, last, 0])];
    let sliced = ok(13, &IMAGE, cut(-1, 0), "Pad", &["x", "p"], vec![]).0;
    assert!(
        matches!(&sliced[..], [Op::Slice(Slice { start, size, .. })] if start[2] == 1 && size[2] == IMAGE[2] as u32 - 1)
    );
    fails(13, &IMAGE, cut(-IMAGE[2], 0), "Pad", &["x", "p"], vec![], "leaves nothing");
    fails(13, &IMAGE, cut(-1, 0), "Pad", &["x", "p"], vec![("mode", A::S("edge"))], "negative");

    let resize = |mode, coordinates, scale: [f32; 2], size: [u32; 2]| {
        let op = Op::Resize(Resize {
            mode,
            coordinates,
            scale: [&[1.0, 1.0], &scale[..]].concat(),
            shape: [&[1, 2], &size[..]].concat(),
        });
        (vec![op], [&[1, 2], &size[..]].concat())
    };
    let nearest = ResizeMode::Nearest;
    let scales = || floats("s", &[4], vec![1.0, 1.0, 2.0, 1.5]);
    let old = resize(nearest(NearestRounding::Floor), Coordinates::Asymmetric, [2.0, 1.5], [12, 9]);
    assert_eq!(ok(7, &IMAGE, vec![], "Upsample", &["x"], vec![("scales", A::Fs(vec![1.0, 1.0, 2.0, 1.5]))]), old);
    assert_eq!(ok(9, &IMAGE, vec![scales()], "Upsample", &["x", "s"], vec![]), old);
    assert_eq!(ok(10, &IMAGE, vec![scales()], "Resize", &["x", "s"], vec![]), old);
    let modern = resize(nearest(NearestRounding::RoundPreferFloor), Coordinates::HalfPixel, [2.0, 1.5], [12, 9]);
    assert_eq!(ok(13, &IMAGE, vec![scales()], "Resize", &["x", "", "s"], vec![]), modern);
    let sizes = vec![ints("z", &[2], &[3, 12])];
    let attributes = vec![
        ("mode", A::S("linear")),
        ("coordinate_transformation_mode", A::S("align_corners")),
        ("axes", A::Is(vec![2, 3])),
    ];
    assert_eq!(
        ok(18, &IMAGE, sizes, "Resize", &["x", "", "", "z"], attributes),
        resize(ResizeMode::Linear, Coordinates::AlignCorners, [0.5, 2.0], [3, 12])
    );
    fails(13, &IMAGE, vec![scales()], "Resize", &["x", "", "s"], vec![("mode", A::S("cubic"))], "cubic");
}

/// Adds the nodes' integer result `s` as the shape of a Reshape of `x` `[1, 24]`, and gives that shape.
fn folded(opset: i64, extra: Vec<TensorProto>, mut nodes: Vec<rten_onnx::onnx::NodeProto>) -> Vec<u32> {
    nodes.push(node("Reshape", &["x", "s"], &["y"], vec![]));
    let m: ModelProto = model(opset, &[1, 24], extra, nodes);
    let _: &GraphProto = m.graph.as_ref().unwrap();
    ops(&load(&m).unwrap()).1
}

#[test]
fn constants_fold() {
    let c = |v: &[i64]| ints("c", &[v.len() as i64], v);
    let zero = || ints("z", &[], &[0]);
    // ConstantOfShape, Range, Where, Equal: [1, 2, 3] with 1 replaced by -1.
    let nodes = vec![
        node("Range", &["one", "four", "one"], &["r"], vec![]),
        node("Equal", &["r", "one"], &["e"], vec![]),
        node("ConstantOfShape", &["c"], &["k"], vec![("value", A::T(ints("", &[1], &[-1])))]),
        node("Where", &["e", "k", "r"], &["s"], vec![]),
    ];
    assert_eq!(folded(13, vec![ints("one", &[], &[1]), ints("four", &[], &[4]), c(&[3])], nodes), [4, 2, 3]);
    // 24 / 4 from the shape, by Slice, Div, Cast and back.
    let nodes = vec![
        node("Shape", &["x"], &["n"], vec![]),
        node("Slice", &["n"], &["last"], vec![("starts", A::Is(vec![1])), ("ends", A::Is(vec![2]))]),
        node("Cast", &["last"], &["f"], vec![("to", A::I(1))]),
        node("Constant", &[], &["q"], vec![("value", A::T(floats("", &[1], vec![0.25])))]),
        node("Mul", &["f", "q"], &["g"], vec![]),
        node("Floor", &["g"], &["h"], vec![]),
        node("Cast", &["h"], &["i"], vec![("to", A::I(7))]),
        node("Concat", &["c", "i"], &["s"], vec![("axis", A::I(0))]),
    ];
    assert_eq!(folded(9, vec![c(&[4])], nodes), [4, 6]);
    let nodes = vec![
        node("ReduceProd", &["c"], &["p"], vec![("keepdims", A::I(1))]),
        node("Gather", &["c", "z"], &["first"], vec![]),
        node("Unsqueeze", &["first"], &["f"], vec![("axes", A::Is(vec![0]))]),
        node("Concat", &["f", "p"], &["s"], vec![("axis", A::I(0))]),
    ];
    assert_eq!(folded(11, vec![c(&[2, 2, 3]), zero()], nodes), [2, 12]);
    // Float weights: transposed, scaled, joined at import.
    let nodes = vec![
        node("Transpose", &["w"], &["t"], vec![]),
        node("Sqrt", &["t"], &["q"], vec![]),
        node("Expand", &["q", "c"], &["e"], vec![]),
        node("Mul", &["x", "e"], &["y"], vec![]),
    ];
    let g =
        load(&model(13, &[1, 3, 2], vec![floats("w", &[1, 3], vec![1.0, 4.0, 9.0]), c(&[1, 3, 2])], nodes)).unwrap();
    assert_eq!(ops(&g).0, [Op::Binary(Binary::Mul)]);
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    let divide = vec![node("Div", &["c", "z"], &["s"], vec![]), node("Reshape", &["x", "s"], &["y"], vec![])];
    assert!(load(&model(13, &[1, 24], vec![c(&[24]), zero()], divide)).unwrap_err().to_string().contains("24 and 0"));
}
