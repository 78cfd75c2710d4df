//! Every kernel that `super::offered` has on this CPU against the naive oracle; crates that bring a kernel include this
//! file.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use twinmask_layer::{Conv, Fc, Geometry};

use super::offered;
use super::oracle::*;

/// Splitmix64: seeded, so that a failure names its case.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..=high`.
    fn range(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }

    fn inputs(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.next() as u32).collect()
    }

    /// Weights of `bits` bits, the most negative one among them now and then.
    fn weights(&mut self, n: usize, bits: u32) -> Vec<i16> {
        (0..n).map(|_| ((self.next() as i64) >> (64 - bits)) as i16).collect()
    }

    fn conv(&mut self) -> Geometry {
        loop {
            let groups = *[1, 1, 1, 2, 3, 8].get(self.next() as usize % 6).unwrap();
            let per_group = [1, 1, 2, 3, 4, 5, 16, 17][self.next() as usize % 8];
            let out_per_group = [1, 2, 7, 15, 16, 17, 48, 70][self.next() as usize % 8];
            let one_d = self.next().is_multiple_of(4);
            let conv = Conv {
                c_in: groups * per_group,
                h: if one_d { 1 } else { self.range(1, 14) },
                w: self.range(1, 14),
                c_out: groups * out_per_group,
                kh: if one_d { 1 } else { self.range(1, 5) },
                kw: self.range(1, 5),
                stride: [self.range(1, 4), self.range(1, 4)],
                pad: if one_d {
                    [0, self.range(0, 3), 0, self.range(0, 3)]
                } else {
                    [(); 4].map(|()| self.range(0, 3))
                },
                dilation: [self.range(1, 3), self.range(1, 3)],
                groups,
            };
            let geometry = Geometry::Conv(conv);
            if geometry.validate().is_ok() && geometry.macs() < 1 << 20 {
                return geometry;
            }
        }
    }

    fn fc(&mut self) -> Geometry {
        let rows = if self.next().is_multiple_of(2) { 1 } else { self.range(2, 70) };
        Geometry::Fc(Fc { rows, inputs: self.range(1, 90), outputs: self.range(1, 140) })
    }
}

fn kernels() -> Vec<Arc<dyn Kernel>> {
    let kernels = offered();
    kernels.names().into_iter().map(|name| kernels.named(name).unwrap()).collect()
}

fn assert_congruent(found: &[u32], expected: &[u32], k: u32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let keep = twinmask_ring::mask(k);
    let bad = found.iter().zip(expected).position(|(f, e)| (f ^ e) & keep != 0);
    assert!(bad.is_none(), "element {bad:?} differs mod 2^{k}: {what}");
}

fn hold(kernel: &dyn Kernel, geometry: &Geometry, weights: &[i16], x: &[u32], k: u32, scratch: &mut Scratch) {
    let what = format!("{} {geometry:?} k={k}", kernel.name());
    let mut y = vec![0xdead_beef; geometry.out_len()];
    kernel.prepare(geometry, weights, k).apply(x, &mut y, scratch);
    assert_congruent(&y, &naive::apply(geometry, weights, x), k, &what);
}

#[test]
fn random_layers() {
    for kernel in kernels() {
        let (mut rng, mut scratch) = (Rng(1), Scratch::default());
        for case in 0..620u32 {
            let geometry = if case.is_multiple_of(4) { rng.fc() } else { rng.conv() };
            // Every width of the ring with weights of every width.
            let (k, bits) = (2 + case % 31, 1 + case / 31 % MAX_WEIGHT_BITS);
            let (weights, x) = (rng.weights(geometry.weight_len(), bits), rng.inputs(geometry.in_len()));
            hold(&*kernel, &geometry, &weights, &x, k, &mut scratch);
        }
    }
}

/// Rows that are computed on the input rows that they read are those of the whole.
#[test]
fn rows_of_convolutions() {
    for kernel in kernels() {
        let (mut rng, mut scratch) = (Rng(3), Scratch::default());
        for case in 0..120u32 {
            let Geometry::Conv(conv) = rng.conv() else { continue };
            // Also shapes of which transforms are made.
            let plain = Conv { kh: 3, kw: 3, stride: [1; 2], dilation: [1; 2], groups: 1, ..conv };
            let conv = if case.is_multiple_of(2) { plain } else { conv };
            let (geometry, k) = (Geometry::Conv(conv), 2 + case % 31);
            if geometry.validate().is_err() {
                continue;
            }
            let from = rng.range(0, conv.out_h() - 1);
            let Some((rows, part)) = conv.rows(from..rng.range(from + 1, conv.out_h())) else { continue };
            let (weights, x) = (rng.weights(geometry.weight_len(), 8), rng.inputs(geometry.in_len()));
            let (area, row) = ((conv.h * conv.w) as usize, conv.w as usize);
            let read: Vec<u32> = x
                .chunks_exact(area)
                .flat_map(|c| &c[rows.start as usize * row..rows.end as usize * row])
                .copied()
                .collect();
            let linear = kernel.prepare(&geometry, &weights, k).of_rows(part);
            let mut y = vec![0; Geometry::Conv(part).out_len()];
            linear.apply(&read, &mut y, &mut scratch);
            let area = (conv.out_h() * conv.out_w()) as usize;
            let (first, len) = ((from * conv.out_w()) as usize, (part.out_h() * conv.out_w()) as usize);
            let whole = naive::apply(&geometry, &weights, &x);
            let expected: Vec<u32> = whole.chunks_exact(area).flat_map(|c| &c[first..first + len]).copied().collect();
            assert_congruent(&y, &expected, k, &format!("{} {conv:?} k={k}, rows from {from}", kernel.name()));
        }
    }
}

#[test]
fn extremes() {
    let conv = |c_in, c_out, kernel, groups| {
        Geometry::Conv(Conv { w: 6, pad: [1, 0, 2, 1], groups, ..Conv::square([c_in, c_out], 7, kernel, 1, 0) })
    };
    let shapes = [
        conv(64, 20, 3, 1),
        conv(3, 64, 5, 1),
        conv(32, 32, 3, 32),
        Geometry::Fc(Fc { rows: 1, inputs: 9216, outputs: 33 }),
        Geometry::Fc(Fc { rows: 5, inputs: 9216, outputs: 18 }),
    ];
    for kernel in kernels() {
        let mut scratch = Scratch::default();
        for geometry in &shapes {
            for weight in [127i16, -128, 2047, -2047, i16::MAX, i16::MIN] {
                let weights = vec![weight; geometry.weight_len()];
                for k in [2, 8, 9, 16, 17, 24, 25, 31, 32] {
                    for share in [twinmask_ring::mask(k), 1 << (k - 1), (1 << (k - 1)) - 1, 0x7f80_8000, u32::MAX] {
                        let x = vec![share; geometry.in_len()];
                        let mut y = vec![1; geometry.out_len()];
                        kernel.prepare(geometry, &weights, k).apply(&x, &mut y, &mut scratch);
                        let what = format!("{} {geometry:?} k={k} w={weight} x={share:x}", kernel.name());
                        assert_congruent(&y, &constant(geometry, weight, share), k, &what);
                    }
                }
            }
        }
    }
}

/// The output for equal weights and equal inputs: taps that hit the input, times both.
fn constant(geometry: &Geometry, weight: i16, share: u32) -> Vec<u32> {
    let product = share.wrapping_mul(i32::from(weight) as u32);
    let mut y = vec![0; geometry.out_len()];
    for position in 0..geometry.positions() {
        let mut taps = 0u32;
        geometry.taps(0, position, |_, _| taps += 1);
        for channel in 0..geometry.out_channels() {
            y[geometry.output_index(channel, position)] = product.wrapping_mul(taps);
        }
    }
    y
}

#[test]
fn known_networks_first_layers_and_wide_reductions() {
    let shapes = [
        Geometry::Conv(Conv::square([3, 64], 39, 11, 4, 2)),
        Geometry::Conv(Conv::square([3, 24], 31, 7, 2, 3)),
        Geometry::Conv(Conv::square([64, 192], 9, 5, 1, 2)),
        Geometry::Conv(Conv::square([256, 80], 14, 1, 2, 0)),
        Geometry::Conv(Conv { kw: 7, pad: [0, 3, 0, 3], ..Conv::square([96, 96], 8, 1, 1, 0) }),
        Geometry::Fc(Fc { rows: 1, inputs: 9216, outputs: 70 }),
        Geometry::Fc(Fc { rows: 3, inputs: 4096, outputs: 100 }),
    ];
    for kernel in kernels() {
        let (mut rng, mut scratch) = (Rng(7), Scratch::default());
        for geometry in &shapes {
            for (k, bits) in [(32, 12), (24, 8), (28, 12), (32, 16), (16, 8)] {
                let (weights, x) = (rng.weights(geometry.weight_len(), bits), rng.inputs(geometry.in_len()));
                hold(&*kernel, geometry, &weights, &x, k, &mut scratch);
            }
        }
    }
}

/// Rows around multiples of a vector, channels that do not fill one, and positions around multiples of a block.
#[test]
fn wide_rows() {
    for kernel in kernels() {
        let (mut rng, mut scratch) = (Rng(11), Scratch::default());
        for w in [15, 16, 17, 33, 40] {
            for c_in in [1, 2, 3, 6, 20, 37] {
                for (size, stride, pad) in [(1, 1, 0), (3, 1, 1), (2, 2, 0)] {
                    let geometry = Geometry::Conv(Conv { w, ..Conv::square([c_in, 18], 5, size, stride, pad) });
                    for (k, bits) in [(24, 8), (28, 8), (28, 12)] {
                        let (weights, x) = (rng.weights(geometry.weight_len(), bits), rng.inputs(geometry.in_len()));
                        hold(&*kernel, &geometry, &weights, &x, k, &mut scratch);
                    }
                }
            }
        }
    }
}

#[test]
fn parts_on_threads_make_the_whole() {
    for kernel in kernels() {
        let mut rng = Rng(3);
        for case in 0..60 {
            let geometry = if case % 3 == 0 { rng.fc() } else { rng.conv() };
            let (weights, x) = (rng.weights(geometry.weight_len(), 12), rng.inputs(geometry.in_len()));
            let linear = kernel.prepare(&geometry, &weights, 32);
            let (parts, mut input) = (split(&*linear, 1 + case % 4), Input::default());
            assert_eq!((parts[0].start, parts.last().unwrap().end), (0, geometry.out_channels()));
            assert!(parts.windows(2).all(|w| w[0].end == w[1].start) && parts.iter().all(|p| !p.is_empty()));
            linear.load(&[&x], &mut input);
            let items = input.items();
            let mut y = vec![0; geometry.out_len()];
            std::thread::scope(|scope| {
                let (mut rest, linear, input) = (&mut y[..], &linear, &input);
                for channels in parts {
                    let (part, others) =
                        rest.split_at_mut(channels.len() * (geometry.out_len() / geometry.out_channels()));
                    rest = others;
                    scope.spawn(move || linear.part(input, channels, part, &mut Scratch::default()));
                }
            });
            if let Geometry::Fc(fc) = geometry {
                let by_channel = y.clone();
                for (row, out) in y.chunks_exact_mut(fc.outputs as usize).enumerate() {
                    item(&by_channel, items, row, out);
                }
            }
            assert_congruent(
                &y,
                &naive::apply(&geometry, &weights, &x),
                32,
                &format!("{} {geometry:?}", kernel.name()),
            );
        }
    }
}

#[test]
fn several_devices_share_one_pass_over_the_weights() {
    for kernel in kernels() {
        let (mut rng, mut input) = (Rng(5), Input::default());
        for (rows, devices) in [(1, 1), (1, 2), (1, 3), (1, 7), (4, 2), (1, 65), (30, 5)] {
            let geometry = Geometry::Fc(Fc { rows, inputs: 77, outputs: 50 });
            let weights = rng.weights(geometry.weight_len(), 8);
            let xs: Vec<Vec<u32>> = (0..devices).map(|_| rng.inputs(geometry.in_len())).collect();
            let linear = kernel.prepare(&geometry, &weights, 20);
            linear.load(&xs.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut input);
            assert_eq!(input.items(), rows as usize * devices);
            let mut y = vec![0; geometry.out_len() * devices];
            linear.part(&input, 0..50, &mut y, &mut Scratch::default());
            let mut out = [0; 50];
            for (device, x) in xs.iter().enumerate() {
                for (row, want) in naive::apply(&geometry, &weights, x).chunks_exact(50).enumerate() {
                    item(&y, input.items(), device * rows as usize + row, &mut out);
                    assert_congruent(&out, want, 20, kernel.name());
                }
            }
        }
    }
}

/// What the contract forbids ends in a panic, never in a wrong result or a read out of bounds.
#[test]
fn misuse_is_refused() {
    let fc = Geometry::Fc(Fc { rows: 1, inputs: 10, outputs: 40 });
    let conv = Geometry::Conv(Conv { w: 10, ..Conv::square([1, 40], 1, 1, 1, 0) });
    let refused = |run: &mut dyn FnMut()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
    for kernel in kernels() {
        assert!(refused(&mut || drop(kernel.prepare(&fc, &[1; 399], 32))), "{}", kernel.name());
        for k in [0, 1, 33] {
            assert!(refused(&mut || drop(kernel.prepare(&fc, &[1; 400], k))), "{} k={k}", kernel.name());
        }
        for geometry in [fc, conv] {
            let linear = kernel.prepare(&geometry, &vec![1; geometry.weight_len()], 32);
            let (mut input, mut scratch, mut y) = (Input::default(), Scratch::default(), vec![0; 400]);
            assert!(refused(&mut || linear.load(&[&[1; 9]], &mut input)));
            linear.load(&[&[1; 10]], &mut input);
            assert!(refused(&mut || linear.part(&input, 0..40, &mut y[..39], &mut scratch)));
            assert!(refused(&mut || linear.part(&input, 0..41, &mut y, &mut scratch)));
            if linear.channel_step() > 1 {
                let n = geometry.positions();
                assert!(refused(&mut || linear.part(&input, 1..17, &mut y[..16 * n], &mut scratch)));
            }
        }
        let linear = kernel.prepare(&conv, &[1; 40], 32);
        assert!(refused(&mut || linear.load(&[&[1; 10], &[1; 10]], &mut Input::default())));
        // An input that was never loaded, or was for another layer.
        assert!(refused(&mut || linear.part(&Input::default(), 0..40, &mut [0; 400], &mut Scratch::default())));
    }
}

#[test]
fn kernels_are_known_by_name() {
    let kernels = offered();
    for name in kernels.names() {
        assert_eq!(kernels.named(name).unwrap().name(), name);
    }
    let error = kernels.named("cuda").err().unwrap();
    assert_eq!(error.offered, kernels.names());
    assert!(error.to_string().contains("'cuda'") && error.to_string().contains("portable"), "{error}");
    assert!(kernels.names().contains(&default_kernel().name()));
}
