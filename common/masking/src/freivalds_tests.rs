use super::*;
use twinmask_kernels::naive;
use twinmask_layer::{Conv, Fc};
use twinmask_testkit::{uniform, weights};

fn conv(c_in: u32, c_out: u32, groups: u32) -> Geometry {
    let (stride, pad, dilation) = ([2, 1], [1, 0, 2, 1], [1, 2]);
    Geometry::Conv(Conv { c_in, h: 7, w: 8, c_out, kh: 3, kw: 2, stride, pad, dilation, groups })
}

fn geometries() -> Vec<Geometry> {
    let fc = |rows, inputs, outputs| Geometry::Fc(Fc { rows, inputs, outputs });
    let one_tap = |stride, groups| {
        let (pad, dilation) = ([0; 4], [1, 1]);
        Geometry::Conv(Conv { c_in: 6, h: 5, w: 11, c_out: 4, kh: 1, kw: 1, stride, pad, dilation, groups })
    };
    let convolutions = vec![conv(4, 6, 1), conv(4, 6, 2), conv(3, 3, 3)];
    let projected_to_outer = vec![fc(1, 50, 9), fc(5, 13, 7), one_tap([1, 1], 1), one_tap([1, 1], 2)];
    [convolutions, projected_to_outer, vec![one_tap([2, 1], 1)]].concat()
}

struct Case {
    check: LayerCheck,
    x: Vec<i32>,
    y: Vec<i32>,
}

fn case(i: usize, geometry: Geometry) -> Case {
    geometry.validate().expect("valid");
    let weights = weights(&format!("w{i}"), geometry.weight_len());
    let x: Vec<i32> =
        uniform(&format!("x{i}"), geometry.in_len(), 32).iter().map(|w| (w % 2047) as i32 - 1023).collect();
    let plain: Vec<u32> = x.iter().map(|&v| v as u32).collect();
    let y = naive::apply(&geometry, &weights, &plain);
    let secrets = || Secrets::expand(&[7; 32], &[8; 32], LayerId::at(i), &geometry);
    let mut projection = secrets().project(&geometry, &weights);
    // What is not reduced counts mod q, and overflows nowhere.
    projection.iter_mut().for_each(|p| *p += 7 * Q * (i as u64 % 2));
    let bound = 127 * 1023 * geometry.fan_in() as u64;
    let check = LayerCheck::new(geometry, secrets(), &projection, bound);
    Case { check, x, y: y.into_iter().map(|v| v as i32).collect() }
}

#[test]
fn field_arithmetic() {
    let q = u128::from(Q);
    for v in [0, 1, q - 1, q, q + 1, 2 * q - 1, 2 * q, q * q, u128::MAX >> 6, (u128::MAX >> 4) - 1, u128::MAX >> 4] {
        assert_eq!(u128::from(reduce(v)), v % q, "{v}");
        for signed in [v as i128 >> 2, -(v as i128 >> 2)] {
            assert_eq!(i128::from(reduce_signed(signed)), signed.rem_euclid(i128::from(Q)), "{signed}");
        }
    }
    for (a, b) in [(0, 0), (1, Q - 1), (Q - 1, Q - 1), (Q - 1, 2), (Q / 2, Q / 2 + 1), (Q / 2, Q / 2)] {
        assert_eq!(u128::from(add(a, b)), (u128::from(a) + u128::from(b)) % q, "{a} + {b}");
        assert_eq!(u128::from(mul(a, b)), u128::from(a) * u128::from(b) % q, "{a} * {b}");
    }
}

#[test]
fn honest_answers_pass() {
    for (i, g) in geometries().into_iter().enumerate() {
        let c = case(i, g);
        assert!(c.check.holds(&c.x, &c.y), "{g:?}");
        assert!(!c.check.holds(&c.x[1..], &c.y) && !c.check.holds(&c.x, &c.y[1..]), "lengths");
    }
}

#[test]
fn a_million_single_errors_are_all_found() {
    let mut cases: Vec<Case> = geometries().into_iter().enumerate().map(|(i, g)| case(i, g)).collect();
    let mut words = Key::derive("test", &[b"errors"]).stream(1);
    let mut tried = 0u32;
    while tried < 1_000_000 {
        let r = words.next_u64();
        let c = &mut cases[(r % 8) as usize];
        let at = (r >> 8) as usize % c.y.len();
        let error = 1i32 << ((r >> 40) % 20);
        let honest = c.y[at];
        c.y[at] = if r >> 63 == 1 { honest.wrapping_add(error) } else { honest.wrapping_sub(error) };
        assert!(!c.check.holds(&c.x, &c.y), "{at} off by {error}");
        c.y[at] = honest;
        tried += 1;
    }
}

/// Errors made to cancel: in every plain sum over channels or positions, and by powers of two, which would be zero
/// divisors if the identity were checked in the ring of the shares.
#[test]
fn errors_that_cancel_are_found() {
    let patterns: [fn(i32) -> [i32; 2]; 4] =
        [|e| [e, -e], |e| [e, e], |_| [1 << 19, 1 << 19], |_| [1 << 19, -(1 << 19)]];
    for (i, g) in geometries().into_iter().enumerate() {
        let mut c = case(i, g);
        c.check.bound = u64::from(u32::MAX);
        let (channels, positions) = (g.out_channels(), g.positions());
        for e in 1..200 {
            let at = |ch: usize, p: usize| g.output_index(ch % channels, p % positions);
            let (ch, p) = (e as usize * 7, e as usize * 3);
            let [plus, minus] = patterns[e as usize % 4](e);
            // A rectangle of +e, -e, -e, +e: its rows and columns all add up to zero.
            let mut y = c.y.clone();
            for (index, v) in
                [(at(ch, p), plus), (at(ch + 1, p), minus), (at(ch, p + 1), minus), (at(ch + 1, p + 1), plus)]
            {
                y[index] += v;
            }
            assert!(y == c.y || !c.check.holds(&c.x, &y), "{g:?}, {e}");
        }
    }
}

#[test]
fn the_range_is_checked_before_the_identity() {
    // y + q·(something) would satisfy the identity but not the range; with i32 answers the smallest such error in one
    // element is out of reach, so the range is tested by itself.
    let mut c = case(3, geometries()[3]);
    c.check.bound = c.y.iter().map(|v| u64::from(v.unsigned_abs())).max().expect("outputs");
    assert!(c.check.holds(&c.x, &c.y));
    c.check.bound -= 1;
    assert!(!c.check.holds(&c.x, &c.y));
}

#[test]
fn secrets_differ_by_device_model_and_layer() {
    let g = geometries()[3];
    let first = |key: u8, digest: u8, l: u32| Secrets::expand(&[key; 32], &[digest; 32], LayerId::new(l), &g).s[0];
    let base = first(1, 1, 1);
    assert!(base < Q && base == first(1, 1, 1));
    assert!(![first(2, 1, 1), first(1, 2, 1), first(1, 1, 2)].contains(&base));
}
