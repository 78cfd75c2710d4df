//! Every instruction set of this processor against the definition, bit by bit.

use twinmask_layer::{Conv, Geometry};

use crate::float::conv::FloatConv;
use crate::float::set::Set;

/// The definition: bias first, then products in the order of the weights, fused or not.
fn naive(conv: &Conv, x: &[f32], weights: &[f32], bias: &[f32], fused: bool) -> Vec<f32> {
    let Conv { h, w, kh, kw, .. } = *conv;
    let (per_in, per_out) = (conv.c_in / conv.groups, conv.c_out / conv.groups);
    let mut out = Vec::new();
    for o in 0..conv.c_out {
        for (oy, ox) in (0..conv.out_h()).flat_map(|y| (0..conv.out_w()).map(move |x| (y, x))) {
            let mut sum = bias[o as usize];
            for (k, weight) in
                weights[(o * per_in * kh * kw) as usize..][..(per_in * kh * kw) as usize].iter().enumerate()
            {
                let (c, ky, kx) = (k as u32 / (kh * kw), k as u32 / kw % kh, k as u32 % kw);
                let y = (oy * conv.stride[0] + ky * conv.dilation[0]).wrapping_sub(conv.pad[0]);
                let x_at = (ox * conv.stride[1] + kx * conv.dilation[1]).wrapping_sub(conv.pad[1]);
                let inside = y < h && x_at < w;
                let v = if inside { x[(((o / per_out * per_in + c) * h + y) * w + x_at) as usize] } else { 0.0 };
                sum = if fused { weight.mul_add(v, sum) } else { sum + weight * v };
            }
            out.push(sum);
        }
    }
    out
}

struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0).collect()
    }
}

fn check(conv: &Conv, numbers: &mut Numbers) {
    let geometry = Geometry::Conv(*conv);
    geometry.validate().expect("a valid shape");
    let (x, weights) = (numbers.floats(geometry.in_len()), numbers.floats(geometry.weight_len()));
    let bias = numbers.floats(conv.c_out as usize);
    let mut scratch = vec![f32::NAN; 7];
    for set in Set::all() {
        let expected = naive(conv, &x, &weights, &bias, set != Set::Plain);
        let layer = FloatConv::with(set, conv, &weights, Some(&bias));
        let mut out = vec![f32::NAN; geometry.out_len()];
        layer.apply(&x, &mut out, [f32::NEG_INFINITY, f32::INFINITY], &mut scratch);
        assert!(out == expected, "{set:?}: {conv}");
        layer.apply(&x, &mut out, [0.0, 0.5], &mut scratch);
        let expected: Vec<f32> = expected.iter().map(|v| v.clamp(0.0, 0.5)).collect();
        assert!(out == expected, "{set:?}, clamped: {conv}");
    }
}

#[test]
fn random_shapes_are_as_defined() {
    let mut numbers = Numbers(11);
    let mut done = 0;
    while done < 200 {
        let groups = [1, 1, 1, 2, 3][numbers.below(5) as usize];
        let depthwise = numbers.below(4) == 0;
        let (c_in, c_out) = (groups * (1 + numbers.below(12)), groups * (1 + numbers.below(40)));
        let conv = Conv {
            c_in,
            h: 1 + numbers.below(20),
            w: 1 + numbers.below(40),
            c_out: if depthwise { c_in * (1 + numbers.below(2)) } else { c_out },
            kh: 1 + numbers.below(4),
            kw: 1 + numbers.below(4),
            stride: [1 + numbers.below(3), 1 + numbers.below(3)],
            pad: std::array::from_fn(|_| numbers.below(3)),
            dilation: [1 + numbers.below(2), 1 + numbers.below(2)],
            groups: if depthwise { c_in } else { groups },
        };
        if Geometry::Conv(conv).validate().is_ok() {
            check(&conv, &mut numbers);
            done += 1;
        }
    }
}

#[test]
fn shapes_of_networks_are_as_defined() {
    let mut numbers = Numbers(12);
    for (channels, size, kernel, stride, pad) in [
        ([3, 16], 33, 3, 2, 1),
        ([3, 9], 47, 11, 4, 2),
        ([40, 33], 14, 1, 1, 0),
        ([17, 70], 7, 3, 1, 1),
        ([12, 40], 13, 1, 2, 0),
        ([300, 5], 8, 1, 1, 0),
    ] {
        check(&Conv::square(channels, size, kernel, stride, pad), &mut numbers);
    }
    check(&Conv { groups: 24, ..Conv::square([24, 24], 14, 3, 1, 1) }, &mut numbers);
    check(&Conv { groups: 24, ..Conv::square([24, 24], 15, 3, 2, 1) }, &mut numbers);
}

/// If this fails, a ReLU hides that an activation is no number.
#[test]
fn what_is_no_number_stays_none() {
    let conv = Conv::square([1, 1], 40, 1, 1, 0);
    for set in Set::all() {
        let mut out = vec![0.0; 1600];
        let layer = FloatConv::with(set, &conv, &[1.0], None);
        layer.apply(&[f32::NAN; 1600], &mut out, [0.0, 6.0], &mut Vec::new());
        assert!(out.iter().all(|v| v.is_nan()), "{set:?}");
    }
}
