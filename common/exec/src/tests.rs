#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use twinmask_codec::LayerId;
use twinmask_model::graph::elements;
use twinmask_model::ops::*;
use twinmask_model::shapes::shape_of;

use super::*;
use crate::apply::apply_into;

/// A case of `testdata/vectors.json`; tensors are shape and elements.
#[derive(Deserialize)]
struct Case {
    op: Op,
    inputs: Vec<(Vec<u32>, Vec<f32>)>,
    output: (Vec<u32>, Vec<f32>),
}

/// Names of all operators that run: all but the hole, and pooling under two names.
const NAMES: usize = Op::TAGS.len();

fn names<'a>(ops: impl Iterator<Item = &'a Op>) -> usize {
    ops.map(Op::name).collect::<std::collections::BTreeSet<_>>().len()
}

fn close(a: f32, b: f32) -> bool {
    a == b || (a - b).abs() <= 2e-6 * (1.0 + b.abs())
}

#[test]
fn every_operator_agrees_with_onnxruntime() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../testdata/vectors.json")).unwrap();
    assert!(cases.len() > 200, "{} cases", cases.len());
    assert_eq!(names(cases.iter().map(|c| &c.op)), NAMES, "each operator has a case");
    let mut failed = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let views: Vec<View<'_>> = case.inputs.iter().map(|(s, d)| View::new(s, d)).collect();
        let (shape, expected) = &case.output;
        // Buffers are recycled: whatever they hold must be overwritten.
        let mut out = vec![f32::NAN; elements(shape)];
        match apply(&case.op, &views, shape).and_then(|y| apply_into(&case.op, &views, shape, &mut out).map(|()| y)) {
            Err(e) => failed.push(format!("case {i} {:?}: {e}", case.op)),
            Ok(y) => {
                assert_eq!(y, out, "case {i} {:?} leaves elements unwritten", case.op);
                if let Some(k) = (0..y.len()).find(|&k| !close(y[k], expected[k])) {
                    failed.push(format!("case {i} {:?}: element {k} is {}, not {}", case.op, y[k], expected[k]));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A small generator with a fixed seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }

    fn in_range(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    pub(super) fn tensor(&mut self, shape: &[u32]) -> Vec<f32> {
        (0..elements(shape)).map(|_| (self.below(2001) as f32 - 1000.0) / 256.0).collect()
    }

    fn window(&mut self) -> Window {
        Window {
            kernel: [self.in_range(1, 4), self.in_range(1, 4)],
            stride: [self.in_range(1, 3), self.in_range(1, 4)],
            pad: [self.below(4), self.below(4), self.below(4), self.below(4)],
            dilation: [self.in_range(1, 2), self.in_range(1, 3)],
        }
    }
}

/// Calls `f(ky, kx, index into a plane)` for each tap of output (oy, ox) that is inside the input.
fn each_tap(w: &Window, h: u32, wd: u32, oy: u32, ox: u32, mut f: impl FnMut(u32, u32, usize)) {
    for ky in 0..w.kernel[0] {
        for kx in 0..w.kernel[1] {
            let y = i64::from(oy * w.stride[0] + ky * w.dilation[0]) - i64::from(w.pad[0]);
            let x = i64::from(ox * w.stride[1] + kx * w.dilation[1]) - i64::from(w.pad[1]);
            if (0..i64::from(h)).contains(&y) && (0..i64::from(wd)).contains(&x) {
                f(ky, kx, (y * i64::from(wd) + x) as usize);
            }
        }
    }
}

#[test]
fn random_convolutions_are_their_definition() {
    let mut random = Random(1);
    let mut done = 0;
    while done < 400 {
        let (h, w, groups) = (random.in_range(1, 40), random.in_range(1, 40), random.in_range(1, 4));
        let (per_in, per_out) = (random.in_range(1, 3), random.in_range(1, 3));
        let window = random.window();
        let x_shape = [1, groups * per_in, h, w];
        let w_shape = [groups * per_out, per_in, window.kernel[0], window.kernel[1]];
        let op = Op::Conv(Conv { window, groups });
        let Ok(shape) = shape_of(&op, &[&x_shape, &w_shape, &w_shape[..1]]) else { continue };
        let (x, weights, bias) = (random.tensor(&x_shape), random.tensor(&w_shape), random.tensor(&w_shape[..1]));
        let views = [View::new(&x_shape, &x), View::new(&w_shape, &weights), View::new(&w_shape[..1], &bias)];
        let y = apply(&op, &views, &shape).unwrap();
        let (area, taps) = ((h * w) as usize, (window.kernel[0] * window.kernel[1]) as usize);
        for (i, &y) in y.iter().enumerate() {
            let (o, oy, ox) = (i as u32 / (shape[2] * shape[3]), i as u32 / shape[3] % shape[2], i as u32 % shape[3]);
            let mut sum = f64::from(bias[o as usize]);
            each_tap(&window, h, w, oy, ox, |ky, kx, at| {
                for c in 0..per_in as usize {
                    let plane = (o / per_out * per_in) as usize + c;
                    let weight =
                        weights[(o as usize * per_in as usize + c) * taps + (ky * window.kernel[1] + kx) as usize];
                    sum += f64::from(x[plane * area + at]) * f64::from(weight);
                }
            });
            assert!((f64::from(y) - sum).abs() < 1e-3, "{op:?} on {x_shape:?}: {i} is {y}, not {sum}");
        }
        done += 1;
    }
}

#[test]
fn random_poolings_are_their_definition() {
    let mut random = Random(2);
    let mut done = 0;
    while done < 400 {
        let (x_shape, window, ceil) =
            ([1, 2, random.in_range(1, 40), random.in_range(1, 40)], random.window(), done % 2 == 0);
        let max = Op::Pool(Pool { window, kind: PoolKind::Max, ceil });
        let mean = Op::Pool(Pool { window, kind: PoolKind::Average { count_include_pad: false }, ceil });
        let Ok(shape) = shape_of(&max, &[&x_shape]) else { continue };
        let x = random.tensor(&x_shape);
        let view = [View::new(&x_shape, &x)];
        let (maxima, means) = (apply(&max, &view, &shape).unwrap(), apply(&mean, &view, &shape).unwrap());
        let area = (x_shape[2] * x_shape[3]) as usize;
        for i in 0..maxima.len() {
            let (c, oy, ox) = (i as u32 / (shape[2] * shape[3]), i as u32 / shape[3] % shape[2], i as u32 % shape[3]);
            let mut taken = Vec::new();
            each_tap(&window, x_shape[2], x_shape[3], oy, ox, |_, _, at| taken.push(x[c as usize * area + at]));
            assert_eq!(maxima[i], taken.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{max:?} on {x_shape:?}");
            let expected = taken.iter().sum::<f32>() / taken.len().max(1) as f32;
            assert!(close(means[i], expected), "{mean:?} on {x_shape:?}: {} for {expected}", means[i]);
        }
        done += 1;
    }
}

#[test]
fn random_transposed_convolutions_are_adjoint_to_convolutions() {
    let mut random = Random(3);
    let mut done = 0;
    while done < 200 {
        let (groups, window) = (random.in_range(1, 3), random.window());
        let (x_shape, wide) = ([1, groups * 2, random.in_range(1, 12), random.in_range(1, 12)], random.in_range(1, 3));
        let w_shape = [groups * wide, 2, window.kernel[0], window.kernel[1]];
        let forward = Op::Conv(Conv { window, groups });
        let Ok(y_shape) = shape_of(&forward, &[&x_shape, &w_shape]) else { continue };
        let full = |i: usize| (y_shape[i + 2] - 1) * window.stride[i] + window.dilation[i] * (window.kernel[i] - 1) + 1;
        let rest = |i: usize| (x_shape[i + 2] + window.pad[i] + window.pad[i + 2]).checked_sub(full(i));
        let (Some(bottom), Some(right)) = (rest(0), rest(1)) else { continue };
        let backward = Op::ConvTranspose(ConvTranspose { window, output_padding: [bottom, right], groups });
        let (x, y, w) = (random.tensor(&x_shape), random.tensor(&y_shape), random.tensor(&w_shape));
        let weights = View::new(&w_shape, &w);
        let wx = apply(&forward, &[View::new(&x_shape, &x), weights], &y_shape).unwrap();
        let wty = apply(&backward, &[View::new(&y_shape, &y), weights], &x_shape).unwrap();
        let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (a, b) = (inner(&wx, &y), inner(&x, &wty));
        assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{backward:?}: {a} and {b}");
        done += 1;
    }
}

#[test]
fn erf_and_softmax_are_exact_where_it_is_hard() {
    let one = |f, x: f32| apply(&Op::Unary(f), &[View::new(&[1], &[x])], &[1]).unwrap()[0];
    // Abramowitz and Stegun, table 7.1.
    for (x, erf) in [
        (0.02, 0.022_564_574_7),
        (0.5, 0.520_499_877_8),
        (1.0, 0.842_700_792_9),
        (2.0, 0.995_322_265),
        (-1.0, -0.842_700_792_9),
    ] {
        assert!((f64::from(one(Unary::Erf, x)) - erf).abs() < 1e-7, "erf({x})");
    }
    assert_eq!(
        (one(Unary::Sigmoid, -200.0), one(Unary::Sigmoid, 200.0), one(Unary::Softplus, 200.0)),
        (0.0, 1.0, 200.0)
    );
    assert!(one(Unary::Relu, f32::NAN).is_nan(), "NaN must reach the check");
    let huge = [1e38, 1e38, -1e38];
    assert_eq!(
        apply(&Op::Softmax(Softmax { axis: 0, log: false }), &[View::new(&[3], &huge)], &[3]).unwrap(),
        [0.5, 0.5, 0.0]
    );
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let pool = |kernel, pad| {
        Op::Pool(Pool {
            window: Window { kernel, stride: [1; 2], pad, dilation: [1; 2] },
            kind: PoolKind::Max,
            ceil: false,
        })
    };
    let resize = |scale: Vec<f32>| {
        Op::Resize(Resize { mode: ResizeMode::Linear, coordinates: Coordinates::Asymmetric, scale, shape: vec![8] })
    };
    let lrn = |size| Op::Lrn(Lrn { size, alpha: 1.0, beta: 1.0, bias: 1.0 });
    let cases: [(Op, &[u32], &[u32]); 8] = [
        (Op::Linear(Linear { layer: LayerId::new(0), shape: vec![4] }), &[4], &[4]),
        // Rows of a one-dimensional tensor: shape inference drops them.
        (pool([2, 2], [1, 0, 1, 0]), &[1, 1, 4], &[1, 1, 3]),
        (lrn(3), &[4], &[4]),
        (lrn(0), &[1, 4], &[1, 4]),
        (resize(vec![]), &[4], &[8]),
        (resize(vec![0.0]), &[4], &[8]),
        (resize(vec![f32::NAN]), &[4], &[8]),
        (Op::Unary(Unary::Relu), &[4], &[2, 2]),
    ];
    for (op, from, to) in cases {
        let refused = apply(&op, &[View::new(from, &[0.5; 4])], to);
        assert!(matches!(refused, Err(ExecError::Node { .. })), "{op:?}: {refused:?}");
    }
    assert!(apply(&Op::Unary(Unary::Relu), &[View::new(&[4], &[0.5; 3])], &[4]).is_err(), "too few elements");
    assert!(apply(&Op::Unary(Unary::Relu), &[], &[4]).is_err(), "no operand");
}

#[test]
fn indices_outside_of_their_axis_are_errors() {
    let data: Vec<f32> = (0..6).map(|v| v as f32).collect();
    let gather = |axis: u32, i: f32| {
        let op = Op::Gather(Gather { axis });
        let out = if axis == 0 { [1, 2] } else { [3, 1] };
        apply(&op, &[View::new(&[3, 2], &data), View::new(&[1], &[i])], &out)
    };
    assert_eq!(gather(0, -3.0).unwrap(), [0.0, 1.0]);
    assert_eq!(gather(0, 2.0).unwrap(), [4.0, 5.0]);
    assert_eq!(gather(1, -1.0).unwrap(), [1.0, 3.0, 5.0]);
    assert_eq!(gather(1, -0.0).unwrap(), [0.0, 2.0, 4.0]);
    for bad in [3.0, -4.0, 0.5, -0.5, 1e30, -1e30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = gather(0, bad).unwrap_err();
        assert!(matches!(error, ExecError::Index { len: 3, .. }), "{bad}: {error}");
        assert!(gather(1, bad).is_err(), "{bad}");
    }
}

/// Any operator with whatever attributes.
fn any_op(random: &mut Random, rank: u32) -> Op {
    let mut list = |low, high| (0..rank).map(|_| random.in_range(low, high)).collect::<Vec<u32>>();
    let (small, sizes, tiny) = (list(0, 3), list(1, 6), list(0, 2));
    let scale: Vec<f32> = list(0, 9).iter().map(|&v| v as f32 / 3.0 - 0.2).collect();
    let step = list(0, 4).iter().map(|&v| v as i32 - 2).collect();
    let mut axes = list(0, 4);
    axes.dedup();
    let (axis, window, groups) = (random.below(5), random.window(), random.in_range(1, 2));
    let (flag, mode) =
        (random.below(2) == 0, [PadMode::Constant(1.0), PadMode::Reflect, PadMode::Edge][random.below(3) as usize]);
    let rounding = ResizeMode::Nearest(NearestRounding::Ceil);
    match random.below(22) {
        0 => Op::Conv(Conv { window, groups }),
        1 => Op::ConvTranspose(ConvTranspose { window, output_padding: [random.below(3), random.below(3)], groups }),
        2 => Op::Dense(Dense),
        3 => Op::MatMul(MatMul),
        4 => Op::Binary(Binary::PRelu),
        5 => Op::Pool(Pool { window, kind: PoolKind::Max, ceil: flag }),
        6 => Op::Pool(Pool { window, kind: PoolKind::Average { count_include_pad: flag }, ceil: true }),
        7 => Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims: flag }),
        8 => Op::ArgMax(ArgMax { axis, keep_dims: flag, last: flag }),
        9 => Op::Softmax(Softmax { axis, log: flag }),
        10 => Op::Normalize(Normalize { axes, epsilon: 0.1 }),
        11 => Op::Lrn(Lrn { size: axis, alpha: 0.1, beta: 0.75, bias: 1.0 }),
        12 => Op::Concat(Concat { axis }),
        13 => Op::Transpose(Transpose { perm: small }),
        14 => Op::Pad(Pad { before: small, after: tiny, mode }),
        15 => Op::Slice(Slice { start: small, step, size: sizes }),
        16 => Op::Expand(Expand { shape: sizes }),
        17 => Op::Unary(Unary::Sigmoid),
        18 => Op::Reshape(Reshape { shape: sizes }),
        19 => Op::Where(Where),
        20 => Op::Gather(Gather { axis }),
        _ => Op::Resize(Resize {
            mode: if flag { rounding } else { ResizeMode::Linear },
            coordinates: [Coordinates::HalfPixel, Coordinates::AlignCorners][random.below(2) as usize],
            scale,
            shape: sizes,
        }),
    }
}

#[test]
fn whatever_shape_inference_accepts_runs() {
    let mut random = Random(5);
    let mut ran = std::collections::BTreeMap::new();
    for _ in 0..600_000 {
        let rank = random.below(5);
        let op = any_op(&mut random, rank);
        let shapes: Vec<Vec<u32>> = (0..random.in_range(1, 3))
            .map(|i| {
                let rank = if i == 2 { 1 } else { rank };
                (0..rank).map(|axis| if axis == 0 && i == 0 { 1 } else { random.in_range(1, 5) }).collect()
            })
            .collect();
        let refs: Vec<&[u32]> = shapes.iter().map(Vec::as_slice).collect();
        let Ok(out) = shape_of(&op, &refs) else { continue };
        let mut data: Vec<Vec<f32>> = shapes.iter().map(|s| random.tensor(s)).collect();
        if let Op::Gather(g) = &op {
            let n = shapes[0][g.axis as usize];
            data[1].iter_mut().for_each(|i| *i = random.below(2 * n) as f32 - n as f32);
        }
        let views: Vec<View<'_>> = shapes.iter().zip(&data).map(|(s, d)| View::new(s, d)).collect();
        let y = apply(&op, &views, &out).unwrap_or_else(|e| panic!("{op:?} on {shapes:?}: {e}"));
        assert_eq!(y.len(), elements(&out));
        *ran.entry(op.name()).or_insert(0) += 1;
    }
    assert!(ran.len() == NAMES && ran.values().all(|&n| n >= 5), "{ran:?}");
}
