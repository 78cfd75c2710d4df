//! All schemes over all micro-kernels that this CPU has, against the naive oracle.

use std::sync::Arc;

use twinmask_layer::{Conv, Geometry};
use twinmask_ring::prf::Key;

#[cfg(target_arch = "x86_64")]
use crate::linear::avx2::{AvxVnni, Set, WordPlanes as HalfPlanes};
#[cfg(target_arch = "x86_64")]
use crate::linear::avx512::{Vnni, WordPlanes};
use crate::linear::direct::Micro;
use crate::linear::kernel::{Linear, Scratch, split};
use crate::linear::naive;
#[cfg(target_arch = "aarch64")]
use crate::linear::neon::{DotPlanes, MatrixPlanes};
use crate::linear::portable::Wrapping;
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose::Avx512;
#[cfg(target_arch = "x86_64")]
use crate::linear::transpose256::Avx2;

const NAMES: super::Names = ["f4", "f2", "f2x5", "f2x7", "f4x1"];

/// The layer by every micro-kernel.
fn prepared(small: bool, geometry: &Geometry, weights: &[i16], k: u32) -> Vec<Option<Arc<dyn Linear>>> {
    fn one<M: Micro<Weight = i16>>(
        micro: M,
        small: bool,
        geometry: &Geometry,
        weights: &[i16],
        k: u32,
    ) -> Option<Arc<dyn Linear>> {
        super::prepare(micro, NAMES, small, geometry, weights, k)
    }
    let mut all = vec![one(Wrapping::detect(), small, geometry, weights, k)];
    #[cfg(target_arch = "x86_64")]
    {
        let sets = Avx2::new().map(Set::Plain).into_iter().chain(AvxVnni::new().map(Set::Vnni));
        all.extend(sets.map(|set| one(HalfPlanes(set), small, geometry, weights, k)));
        all.extend(Avx512::new().map(|m| one(WordPlanes::Plain(m), small, geometry, weights, k)));
        all.extend(Vnni::new().map(|m| one(WordPlanes::Vnni(m), small, geometry, weights, k)));
    }
    #[cfg(target_arch = "aarch64")]
    {
        all.extend(DotPlanes::new().map(|m| one(m, small, geometry, weights, k)));
        all.extend(MatrixPlanes::new().map(|m| one(m, small, geometry, weights, k)));
    }
    all
}

/// Filters that may be computed so, and the bits that they are exact for.
const FILTERS: [([u32; 2], u32); 6] =
    [([3, 3], 30), ([5, 5], 30), ([1, 7], 29), ([7, 1], 29), ([1, 3], 31), ([3, 1], 31)];

fn hold(geometry: &Geometry, k: u32, weights: &[i16], x: &[u32], scratch: &mut Scratch) {
    let expected = naive::apply(geometry, weights, x);
    for small in [false, true] {
        for (i, linear) in prepared(small, geometry, weights, k).into_iter().enumerate() {
            let linear = linear.expect("it may be computed so");
            let mut y = vec![0xdead_beef; geometry.out_len()];
            linear.apply(x, &mut y, scratch);
            let bad = y.iter().zip(&expected).position(|(y, e)| (y ^ e) << (32 - k) != 0);
            assert_eq!(bad, None, "{} of micro-kernel {i}, {geometry:?}", linear.picked());
        }
    }
}

fn numbers(label: &str, n: usize, most: u32) -> Vec<u32> {
    Key::derive("winograd", &[label.as_bytes()]).elements(0, 32, n).into_iter().map(|x| x % most).collect()
}

/// Random shapes: sizes that are no whole tiles, paddings on any side, channels that are no whole vectors.
#[test]
fn random_shapes_are_those_of_the_oracle() {
    let mut scratch = Scratch::default();
    for case in 0..240 {
        let choice = numbers(&format!("case {case}"), 10, u32::MAX);
        let ([kh, kw], k) = FILTERS[case % FILTERS.len()];
        let (h, w) = (kh + choice[2] % 15, kw + choice[3] % 15);
        let pad = [(4, kh), (5, kw), (6, kh), (7, kw)].map(|(i, taps)| choice[i] % taps);
        let channels = [[1, 3, 16, 17, 33, 64][choice[0] as usize % 6], [1, 7, 16, 31, 70][choice[1] as usize % 5]];
        let geometry = Geometry::Conv(Conv { h, w, kh, kw, pad, ..Conv::square(channels, 1, 1, 1, 0) });
        geometry.validate().expect("valid");
        let bits = 1 + case / FILTERS.len() % 16;
        let weights = numbers(&format!("weights {case}"), geometry.weight_len(), u32::MAX);
        let weights: Vec<i16> = weights.into_iter().map(|w| (w as i32 >> (32 - bits)) as i16).collect();
        let x = numbers(&format!("x {case}"), geometry.in_len(), u32::MAX);
        hold(&geometry, k, &weights, &x, &mut scratch);
    }
}

/// What grows the most: the largest weights of either sign, shares of all ones and of the sign alone.
#[test]
fn extremes_are_those_of_the_oracle() {
    let mut scratch = Scratch::default();
    for ([kh, kw], k) in FILTERS {
        let pad = [kh / 2, kw / 2, kh / 2, kw / 2];
        let geometry = Geometry::Conv(Conv { kh, kw, pad, ..Conv::square([40, 20], 11, 1, 1, 0) });
        for weight in [i16::MIN, i16::MAX, -128, 127, -2048] {
            for x in [u32::MAX, 0x8000_0000, 0x7fff_8000, 0x0000_8000, 0x8000_8000] {
                let (weights, x) = (vec![weight; geometry.weight_len()], vec![x; geometry.in_len()]);
                hold(&geometry, k, &weights, &x, &mut scratch);
            }
        }
    }
}

/// Several strips of tiles, laid out one by one and all at once, and output channels in parts.
#[test]
fn parts_make_the_whole() {
    let geometry = Geometry::Conv(Conv { h: 26, pad: [2, 0, 1, 2], ..Conv::square([20, 90], 37, 3, 1, 1) });
    let weights: Vec<i16> = (0..geometry.weight_len() as i32).map(|i| (i * 7919 % 255 - 127) as i16).collect();
    let x = numbers("parts", geometry.in_len(), u32::MAX);
    hold(&geometry, 28, &weights, &x, &mut Scratch::default());
    let (expected, positions) = (naive::apply(&geometry, &weights, &x), geometry.out_len() / 90);
    for linear in prepared(false, &geometry, &weights, 28).into_iter().flatten() {
        let (mut input, mut scratch) = (crate::Input::default(), Scratch::default());
        linear.load(&[&x], &mut input);
        for range in split(&*linear, 4) {
            let mut y = vec![0; range.len() * positions];
            linear.part(&input, range.clone(), &mut y, &mut scratch);
            let of = &expected[range.start * positions..range.end * positions];
            assert!(y.iter().zip(of).all(|(y, e)| (y ^ e) << 2 == 0), "{range:?}");
        }
    }
}

/// What must be left to others.
#[test]
fn what_would_not_be_exact_is_not_taken() {
    let layer = |k, conv: Conv| {
        let geometry = Geometry::Conv(conv);
        prepared(false, &geometry, &vec![1; geometry.weight_len()], k).iter().any(Option::is_some)
    };
    let conv = Conv::square([16, 16], 8, 3, 1, 1);
    assert!(layer(2, conv) && !layer(32, conv));
    for ([kh, kw], k) in FILTERS {
        let conv = Conv { kh, kw, ..conv };
        assert!(layer(k, conv) && !layer(k + 1, conv), "{kh}x{kw}");
    }
    assert!(!layer(28, Conv { stride: [2, 1], ..conv }) && !layer(28, Conv { dilation: [1, 2], ..conv }));
    assert!(!layer(28, Conv { groups: 2, ..conv }) && !layer(28, Conv::square([16, 16], 8, 1, 1, 0)));
}
