//! Statistics of secrecy: does what a party sees of many inferences look uniform, and does it tell their inputs apart?
//!
//! They prove nothing about masks that pass. They notice masks that are broken, and each of them is shown to
//! (`common/masking/src/secrecy_tests.rs`).

use std::fmt;

use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF};

/// Elements that a party sees at one place of an inference, below 2^`bits` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What they are.
    pub name: String,
    /// Bits of an element.
    pub bits: u32,
    /// The elements.
    pub elements: Vec<u32>,
}

impl Seen {
    /// Elements of so many bits.
    pub fn new(name: impl Into<String>, bits: u32, elements: Vec<u32>) -> Self {
        Self { name: name.into(), bits, elements }
    }

    /// Bytes.
    pub fn bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(name, 8, bytes.iter().map(|&b| b.into()).collect())
    }

    /// From 0 to 1, never either: uniform if the elements are.
    fn fractions(&self) -> impl Iterator<Item = f64> {
        let size = 2f64.powi(self.bits as i32);
        self.elements.iter().map(move |&e| (f64::from(e) + 0.5) / size)
    }
}

/// What a party sees of inferences on one input, the same places in each.
#[derive(Debug, Clone)]
pub struct Class {
    /// What the input is.
    pub name: &'static str,
    /// Inference by inference.
    pub views: Vec<Vec<Seen>>,
}

impl Class {
    fn at(&self, place: usize) -> Vec<&Seen> {
        self.views.iter().map(|v| &v[place]).collect()
    }
}

/// What is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// The highest and the lowest bits of the elements are uniform (chi-square).
    Bits,
    /// The elements are uniform (Kolmogorov-Smirnov).
    Uniform,
    /// Two inputs give elements of one distribution (Kolmogorov-Smirnov, two samples).
    Alike,
    /// An element tells nothing of the next one (serial correlation).
    Neighbours,
    /// A place tells nothing of another one of the same inference (correlation).
    Places,
    /// An inference tells nothing of the next one, or of one on another input (correlation).
    Inferences,
    /// Bits of what is seen do not tell two inputs apart (logistic regression, half to train and half to test).
    Regression,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Bits, Self::Uniform, Self::Alike, Self::Neighbours, Self::Places, Self::Inferences, Self::Regression];
}

/// One test and what it gave.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was tested.
    pub statistic: Statistic,
    /// On what.
    pub of: String,
    /// How often ideal masks give as much or more.
    pub p: f64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}: p = {:.3e}", self.statistic, self.of, self.p)
    }
}

/// Tests what a party sees. All views are of the same places.
///
/// # Panics
/// If they are not, or there are too few.
#[must_use]
pub fn examine(classes: &[Class]) -> Vec<Finding> {
    let mut found = Vec::new();
    let places = classes[0].views[0].len();
    for place in 0..places {
        let name = &classes[0].views[0][place].name;
        let mut add = |statistic, of: &str, p| {
            found.push(Finding { statistic, of: format!("{name}, {of}"), p });
        };
        for class in classes {
            let seen = class.at(place);
            for (end, p) in ["high", "low"].into_iter().zip(bits(&seen)) {
                add(Statistic::Bits, &format!("{}, {end} bits", class.name), p);
            }
            add(Statistic::Uniform, class.name, uniform(pooled(&seen)));
            add(Statistic::Neighbours, class.name, correlation(&seen, &seen, 1));
            add(Statistic::Inferences, class.name, correlation(&seen[1..], &seen, 0));
            for other in place + 1..places {
                let with = format!("{}, and {}", class.name, class.views[0][other].name);
                add(Statistic::Places, &with, correlation(&seen, &class.at(other), 0));
            }
        }
        for (i, one) in classes.iter().enumerate() {
            for other in &classes[i + 1..] {
                let (a, b, of) = (one.at(place), other.at(place), format!("{} and {}", one.name, other.name));
                add(Statistic::Alike, &of, alike(pooled(&a), pooled(&b)));
                add(Statistic::Inferences, &of, correlation(&a, &b, 0));
                add(Statistic::Regression, &of, regression(&a, &b));
            }
        }
    }
    found
}

/// The findings that ideal masks would give less often than `p`.
#[must_use]
pub fn less_likely(found: &[Finding], p: f64) -> Vec<&Finding> {
    found.iter().filter(|f| f.p.is_nan() || f.p < p).collect()
}

fn pooled(all: &[&Seen]) -> Vec<f64> {
    all.iter().flat_map(|s| s.fractions()).collect()
}

/// Of the highest bits and of the lowest, as many as leave 64 elements for each of their values.
fn bits(all: &[&Seen]) -> [f64; 2] {
    let n: usize = all.iter().map(|s| s.elements.len()).sum();
    assert!(n >= 256, "{n} elements are too few");
    let taken = (n / 64).ilog2().min(8).min(all[0].bits);
    let count = |value: &dyn Fn(&Seen, u32) -> u32| {
        let mut counts = vec![0; 1 << taken];
        all.iter().for_each(|s| s.elements.iter().for_each(|&e| counts[value(s, e) as usize] += 1));
        chi_square(&counts)
    };
    [count(&|s, e| e >> (s.bits - taken)), count(&|_, e| e & ((1 << taken) - 1))]
}

/// Pearson's test that all of `counts` come from equal chances.
fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let statistic = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    ChiSquared::new(counts.len() as f64 - 1.0).expect("several counts").sf(statistic)
}

fn uniform(mut sample: Vec<f64>) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    // Each step of the sample's distribution, before and after it.
    let off = |(i, x): (usize, &f64)| (x - i as f64 / n).max((i + 1) as f64 / n - x);
    farthest(sample.iter().enumerate().map(off).fold(0.0, f64::max), n)
}

fn alike(mut one: Vec<f64>, mut other: Vec<f64>) -> f64 {
    one.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    let (n, m) = (one.len() as f64, other.len() as f64);
    let (mut i, mut j, mut farthest_off) = (0, 0, 0f64);
    while i < one.len() && j < other.len() {
        let next = one[i].min(other[j]);
        i += one[i..].iter().take_while(|&&x| x == next).count();
        j += other[j..].iter().take_while(|&&x| x == next).count();
        farthest_off = farthest_off.max((i as f64 / n - j as f64 / m).abs());
    }
    farthest(farthest_off, n * m / (n + m))
}

/// Of Kolmogorov's and Smirnov's distance `d` of `n` elements: a bound for any `n`, and nearly what it is where it is
/// small (Dvoretzky, Kiefer, Wolfowitz; Massart).
fn farthest(d: f64, n: f64) -> f64 {
    (2.0 * (-2.0 * n * d * d).exp()).min(1.0)
}

/// Element i of each of `x` beside element i + `shift` of the same of `y`, by the bits that both have: whether they are
/// correlated at any i. Each i by itself, because `S_in` differs from i to i: a mask used twice correlates them here
/// and the other way round there.
fn correlation(x: &[&Seen], y: &[&Seen], shift: usize) -> f64 {
    let bits = x[0].bits.min(y[0].bits);
    let (keep, size) = (twinmask_ring::mask(bits), 2f64.powi(bits as i32));
    let centred = |e: u32| (f64::from(e & keep) + 0.5) / size - 0.5;
    let columns = x[0].elements.len().min(y[0].elements.len() - shift);
    let column = |i: usize| {
        let products = x.iter().zip(y).map(|(x, y)| centred(x.elements[i]) * centred(y.elements[i + shift]));
        // Standard normal: a fraction's variance is 1/12.
        products.sum::<f64>() * 12.0 / f64::sqrt(x.len().min(y.len()) as f64)
    };
    let squares: f64 = (0..columns).map(|i| f64::powi(column(i), 2)).sum();
    ChiSquared::new(columns as f64).expect("an element").sf(squares)
}

/// Elements whose bits the regression looks at: of many more it would have to see more inferences.
const LOOKED_AT: usize = 16;
const EPOCHS: usize = 20;

/// Learns on every second view to tell `one` from `other`, and tries it on the rest: how often guessing is as far from
/// one half.
fn regression(one: &[&Seen], other: &[&Seen]) -> f64 {
    let rows: Vec<(Vec<f32>, f32)> =
        one.iter().zip(other).flat_map(|(a, b)| [(a, 1.0), (b, 0.0)]).map(|(v, label)| (signs(v), label)).collect();
    let (train, test): (Vec<_>, Vec<_>) = rows.iter().enumerate().partition(|(i, _)| i / 2 % 2 == 0);
    let width = rows[0].0.len();
    let (mut w, mut bias) = (vec![0f32; width], 0f32);
    let score = |w: &[f32], bias: f32, x: &[f32]| bias + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    for epoch in 0..EPOCHS {
        let rate = 2.0 / width as f32 / (1.0 + epoch as f32 / 4.0);
        for (_, (x, label)) in &train {
            let step = rate * (label - 1.0 / (1.0 + (-score(&w, bias, x)).exp()));
            w.iter_mut().zip(x).for_each(|(w, x)| *w += step * x);
            bias += step;
        }
    }
    let right = test.iter().filter(|(_, (x, label))| (score(&w, bias, x) > 0.0) == (*label > 0.5)).count();
    guessed(right as u64, test.len() as u64)
}

/// 1 for every bit that is set, else -1.
fn signs(seen: &Seen) -> Vec<f32> {
    let of = |&e: &u32| (0..seen.bits).map(move |bit| if e >> bit & 1 == 1 { 1.0 } else { -1.0 });
    seen.elements.iter().take(LOOKED_AT).flat_map(of).collect()
}

/// How often `n` fair guesses are as far from one half as `right` of them.
fn guessed(right: u64, n: u64) -> f64 {
    let most = right.max(n - right);
    let beyond = if most == 0 { 1.0 } else { Binomial::new(0.5, n).expect("a chance").sf(most - 1) };
    (2.0 * beyond).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uniform as elements;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not {expected}");
    }

    /// Values of R and scipy.
    #[test]
    fn known_values() {
        close(chi_square(&[16, 18, 16, 14, 12, 12]), 0.849_145);
        close(chi_square(&[100, 0]), 1.523_97e-23);
        close(guessed(60, 100), 0.056_888);
        close(guessed(0, 100), 2f64.powi(-99));
        close(guessed(50, 100), 1.0);
        // scipy.stats.kstest and ks_2samp give D = 0.1 of the first, 0.1 of the second, 0 of the third.
        let grid =
            |n: u32, from: f64| (0..n).map(|i| ((f64::from(i) + 0.5) / f64::from(n)).max(from)).collect::<Vec<_>>();
        close(uniform(grid(400, 0.1)), 2.0 * f64::exp(-2.0 * 400.0 * 0.1 * 0.1));
        close(alike(grid(800, 0.0), grid(800, 0.1)), 2.0 * f64::exp(-2.0 * 400.0 * 0.1 * 0.1));
        close(alike(grid(800, 0.1), grid(800, 0.1)), 1.0);
        close(uniform(vec![0.5; 20]), 2.0 * f64::exp(-2.0 * 20.0 * 0.25));
    }

    /// One column of four, each pair near the same end: four times 1/4, by 12, over the root of four, is 6.
    #[test]
    fn correlations_are_known_too() {
        let seen = [0, 1, 0, 1].map(|e| Seen::new("ends", 32, vec![e * u32::MAX, e * u32::MAX]));
        let all: Vec<&Seen> = seen.iter().collect();
        close(correlation(&all, &all, 1), 1.973_18e-9);
        close(correlation(&all, &all, 0), f64::exp(-36.0));
        // Each beside the next one: three pairs of opposite ends, twice.
        close(correlation(&all[1..], &all, 0), f64::exp(-27.0));
    }

    fn view(label: &str) -> Vec<Seen> {
        vec![
            Seen::new("share", 24, elements(label, 60, 24)),
            Seen::new("other", 32, elements(&format!("{label}'"), 40, 32)),
        ]
    }

    fn class(name: &'static str) -> Class {
        Class { name, views: (0..400).map(|i| view(&format!("{name} {i}"))).collect() }
    }

    /// If this fails, the tests cry wolf, or leave something out.
    #[test]
    fn uniform_elements_pass_all_of_them() {
        let found = examine(&[class("a"), class("b"), class("c")]);
        assert_eq!(less_likely(&found, 1e-4).len(), 0, "{:?}", less_likely(&found, 1e-4));
        for statistic in Statistic::ALL {
            assert!(found.iter().any(|f| f.statistic == statistic), "{statistic:?}");
        }
        // 2 places x 3 classes x 5, 1 pair of places x 3 classes, 2 places x 3 pairs of classes x 3.
        assert_eq!(found.len(), 30 + 3 + 18);
    }

    /// One bit of one element in a hundred is all that differs.
    #[test]
    fn a_single_bit_gives_an_input_away() {
        let mut classes = [class("a"), class("b")];
        for (value, class) in classes.iter_mut().enumerate() {
            class.views.iter_mut().for_each(|v| v[0].elements[7] = v[0].elements[7] & !1 | value as u32);
        }
        let found = examine(&classes);
        let convicting = less_likely(&found, 1e-6);
        assert_eq!(convicting.iter().map(|f| f.statistic).collect::<Vec<_>>(), [Statistic::Regression]);
        assert_eq!(less_likely(&[Finding { p: f64::NAN, ..found[0].clone() }], 1e-6).len(), 1);
    }
}
