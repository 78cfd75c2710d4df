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
    const LEVELS: &[Level] = &[
        Level::Baseline,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512,
    ];
    for &level in LEVELS {
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
            let (mut difference, mut sum) = (a.clone(), b.clone());
            subtract_from(&s, &mut difference);
            add_to(&s, &mut sum);
            assert!(mask(&x, &difference, low_bits(k), -99, 99, &mut v));
            let expected = |i: usize| (x[i] as u32).wrapping_add(s[i]).wrapping_sub(a[i]) & low_bits(k);
            assert!((0..n).all(|i| v[i] == expected(i)), "mask {n} {k}");
            let mut y = vec![9; n];
            unmask_pair(&a, &b, &s, k, f, &mut y);
            let expected = |i: usize| {
                let sum = (u128::from(a[i]) + u128::from(b[i])) << f;
                centre((sum + (1 << 40) - u128::from(s[i]) + (1 << f) - 1) as u32, k)
            };
            assert!((0..n).all(|i| y[i] == expected(i)), "pair {n} {k} {f}");
            unmask_sum(&a, &sum, k, f, &mut y);
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
                assert!(!mask(&x, &zeros, 1, -5, 5, &mut vec![0; n]), "{bad} at {at} of {n}");
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
    let reference = Scale::of(&x, 10, true).expect("finite");
    reference.quantize(&x, &mut integers);
    everywhere(|n| {
        let mut out = vec![0.0; n];
        rescale(&y[..n], 0.37, 1.5, f32::NEG_INFINITY, &mut out);
        assert!(out.iter().zip(&naive).all(|(o, b)| o.to_bits() == *b));
        rescale(&y[..n], 0.37, 1.5, 0.0, &mut out);
        let at_least_zero = |b: u32| f32::from_bits(b).max(0.0);
        assert!(out.iter().zip(&naive).all(|(o, b)| *o == at_least_zero(*b)));
        rescale_each(&y[..n], 0.5, &vec![0.74; n], &vec![1.5; n], f32::NEG_INFINITY, &mut out);
        assert!(out.iter().zip(&naive).all(|(o, b)| o.to_bits() == *b));
        let mut found = vec![0; 1000];
        let scale = scale_of(&x, 10, true).expect("finite");
        assert!(scale == reference);
        quantize(&x, scale, &mut found);
        assert_eq!(found, integers);
        assert_eq!(largest(&y[..n]), y[..n].iter().map(|v| v.unsigned_abs()).max().unwrap_or(0));
    });
}

#[test]
fn inner_products_are_exact() {
    let v = [ints("v", MOST_TERMS), vec![i32::MIN; MOST_TERMS], vec![i32::MAX; MOST_TERMS]];
    let random = words("a", 2 * MOST_TERMS);
    let random: Vec<u64> =
        random.chunks(2).map(|w| (u64::from(w[0]) << 32 | u64::from(w[1])) & (u64::MAX >> 1)).collect();
    let a = [random, vec![u64::MAX >> 1; MOST_TERMS], vec![0; MOST_TERMS]];
    everywhere(|n| {
        for (a, v) in a.iter().flat_map(|a| v.iter().map(move |v| (a, v))) {
            let n = if n == 1000 { MOST_TERMS } else { n };
            let naive: i128 = a[..n].iter().zip(&v[..n]).map(|(&a, &v)| i128::from(a) * i128::from(v)).sum();
            let [low, middle, high] = dot(&a[..n], &v[..n]).map(i128::from);
            assert_eq!(low + (middle << 21) + (high << 42), naive);
        }
    });
}
