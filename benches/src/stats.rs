//! Medians, spreads and paired ratios.

use serde::Serialize;

/// Distribution of one measured quantity; all in its own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Samples.
    pub n: usize,
    /// Least.
    pub min: f64,
    /// Middle one, or the mean of the middle two.
    pub median: f64,
    /// 90th percentile, nearest rank.
    pub p90: f64,
    /// Greatest.
    pub max: f64,
}

impl Spread {
    /// Of `samples`; all zero if there are none.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let sorted = sorted(samples);
        let rank = |q: f64| sorted.get(((sorted.len() as f64 * q).ceil() as usize).max(1) - 1).copied().unwrap_or(0.0);
        Self { n: sorted.len(), min: rank(0.0), median: median(samples), p90: rank(0.9), max: rank(1.0) }
    }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median of `samples`; 0 if there are none.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let n = sorted.len();
    if n == 0 { 0.0 } else { f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]) }
}

/// Median of the ratios `over[i] / under[i]` of runs that alternated: drift of the machine cancels within each pair.
#[must_use]
pub fn paired_ratio(over: &[f64], under: &[f64]) -> f64 {
    let ratios: Vec<f64> = over.iter().zip(under).filter(|(_, u)| **u > 0.0).map(|(o, u)| o / u).collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranks() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        let ten: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(Spread::of(&ten), Spread { n: 10, min: 1.0, median: 5.5, p90: 9.0, max: 10.0 });
        assert_eq!(paired_ratio(&[2.0, 30.0, 8.0], &[1.0, 10.0, 2.0]), 3.0);
    }
}
