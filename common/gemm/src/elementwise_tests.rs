use super::*;
use twinmask_ring::mask as low_bits;
use twinmask_ring::prf::Key;

fn words(label: &str, n: usize) -> Vec<u32> {
    Key::derive("test", &[label.as_bytes()]).elements(0, 32, n)
}

fn ints(label: &str, n: usize) -> Vec<i32> {
    words(label, n).into_iter().map(|w| w as i32).collect()
}

/// Runs `test` with every instruction set that this CPU has, and many lengths.
fn everywhere(test: impl Fn(usize)) {
    let mut levels = vec![Level::Baseline];
    #[cfg(target_arch = "x86_64")]
    levels.extend([Level::Avx2, Level::Avx512]);
    for level in levels {
        FORCED.set(Some(level));
        [0, 1, 2, 7, 8, 9, 15, 16, 31, 33, 64, 100, 1000].into_iter().for_each(&test);
        FORCED.set(None);
    }
}

#[test]
fn masking_and_unmasking_are_the_formulas() {
    everywhere(|n| {
        let (a, b, s) = (words("a", n), words("b", n), words("s", n));
        for (k, f) in [(32, 0), (28, 0), (24, 7), (17, 3), (2, 0)] {
            let x: Vec<i32> = ints("x", n).iter().map(|v| v % 100).collect();
            let mut v = vec![9; n];
            assert!(mask(&x, &s, &a, low_bits(k), -99, 99, &mut v));
            let expected = |i: usize| (x[i] as u32).wrapping_add(s[i]).wrapping_sub(a[i]) & low_bits(k);
            assert!((0..n).all(|i| v[i] == expected(i)), "mask {n} {k}");
            let mut y = vec![9; n];
            unmask_pair(&a, &b, &s, k, f, &mut y);
            let expected = |i: usize| {
                let sum = (u128::from(a[i]) + u128::from(b[i])) << f;
                centre((sum + (1 << 40) - u128::from(s[i]) + (1 << f) - 1) as u32, k)
            };
            assert!((0..n).all(|i| y[i] == expected(i)), "pair {n} {k} {f}");
            unmask_sum(&a, &b, &s, k, f, &mut y);
            let expected = |i: usize| {
                let half = if f == 0 { 0 } else { 1u128 << (f - 1) };
                centre(((u128::from(a[i]) << f) + (1 << 40) - u128::from(b[i]) - u128::from(s[i]) + half) as u32, k)
            };
            assert!((0..n).all(|i| y[i] == expected(i)), "sum {n} {k} {f}");
        }
    });
}

#[test]
fn integers_out_of_range_are_noticed_wherever_they_stand() {
    everywhere(|n| {
        let zeros = vec![0; n];
        for at in 0..n.min(40) {
            for bad in [-6, 6, i32::MIN, i32::MAX] {
                let mut x = vec![5; n];
                x[at] = bad;
                assert!(!mask(&x, &zeros, &zeros, 1, -5, 5, &mut vec![0; n]), "{bad} at {at} of {n}");
            }
        }
    });
}

#[test]
fn scaling_and_quantizing_are_the_same_bits_everywhere() {
    let y = ints("y", 1000);
    let x: Vec<f32> = y.iter().map(|&v| v as f32 * 1e-7).collect();
    let naive: Vec<u32> = y.iter().map(|&v| (v as f32 * 0.37 + 1.5).to_bits()).collect();
    let mut integers = vec![0; 1000];
    let step = fixed::quantize(&x, 10, true, &mut integers).expect("finite");
    everywhere(|n| {
        let mut out = vec![0.0; n];
        scale(&y[..n], 0.37, 1.5, &mut out);
        assert!(out.iter().zip(&naive).all(|(o, b)| o.to_bits() == *b));
        let mut found = vec![0; 1000];
        assert_eq!(quantize(&x, 10, true, &mut found).expect("finite").to_bits(), step.to_bits());
        assert_eq!(found, integers);
        assert_eq!(largest(&y[..n]), y[..n].iter().map(|v| v.unsigned_abs()).max().unwrap_or(0));
    });
}
