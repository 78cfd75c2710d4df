//! How a benchmark's time is shared: every row gets at least one inference, and what is left over goes first to rows
//! with fast inferences, which can make use of it. What was really used corrects the rest.

use std::time::{Duration, Instant};

/// Time that a program takes to begin and end a turn besides its inferences, s.
const START_S: f64 = 0.3;
/// An inference that takes longer, s, is a slow one.
const SLOW_S: f64 = 2.0;
/// What a fast row gets at most before slow ones get more than one inference, s.
const ENOUGH_S: f64 = 20.0;

/// The turns of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Turns.
    pub turns: usize,
    /// Inferences at the beginning of each that do not count.
    pub warmup: usize,
    /// Inferences of each that count.
    pub runs: usize,
}

impl Turns {
    /// At most `most` of what fits into `row_s`, when one inference takes about `one_s`; at least one inference.
    #[must_use]
    pub fn fitting(one_s: f64, row_s: f64, most: Turns) -> Turns {
        // Windows and round-trip estimates begin anew with each connection; over seconds that is averaged out.
        let warmup = match one_s {
            0.0..0.3 => most.warmup,
            0.3..SLOW_S => most.warmup.min(1),
            _ => 0,
        };
        let fitting = |turns: usize| {
            let inferences = (row_s / turns as f64 - START_S) / one_s.max(1e-3);
            Turns { turns, warmup, runs: (inferences as usize).saturating_sub(warmup).min(most.runs) }
        };
        // As many inferences as possible, in as many turns.
        let best = (1..=most.turns).map(fitting).max_by_key(|t| t.turns * t.runs);
        best.filter(|t| t.runs > 0).unwrap_or(Turns { turns: 1, warmup: warmup.min(1), runs: 1 })
    }
}

/// What is left for rows that are still to come.
#[derive(Debug)]
pub struct Budget {
    end: Instant,
    fast: usize,
    slow: usize,
    least_s: f64,
}

impl Budget {
    /// `total` from now on for rows whose inferences take at least `least` seconds each.
    #[must_use]
    pub fn new(total: Duration, least: &[f64]) -> Self {
        let fast = least.iter().filter(|t| **t <= SLOW_S).count();
        Self { end: Instant::now() + total, fast, slow: least.len() - fast, least_s: floor_s(least) }
    }

    /// The next rows' seconds, in order, given that their inferences take at least `least` each.
    pub fn take(&mut self, least: &[f64]) -> Vec<f64> {
        let left = (self.end.saturating_duration_since(Instant::now()).as_secs_f64() - self.least_s).max(0.0);
        let to_fast = (left / self.fast.max(1) as f64).min(ENOUGH_S);
        let to_slow = (left - to_fast * self.fast as f64) / self.slow.max(1) as f64;
        let fast = least.iter().filter(|t| **t <= SLOW_S).count();
        self.fast = self.fast.saturating_sub(fast);
        self.slow = self.slow.saturating_sub(least.len() - fast);
        self.least_s -= floor_s(least);
        least.iter().map(|t| t + START_S + if *t <= SLOW_S { to_fast } else { to_slow }).collect()
    }
}

/// One inference of each row, s.
fn floor_s(least: &[f64]) -> f64 {
    least.iter().map(|t| t + START_S).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Turns = Turns { turns: 3, warmup: 2, runs: 5 };

    #[test]
    fn turns_fill_the_time_and_no_more() {
        assert_eq!(Turns::fitting(0.01, 60.0, MOST), MOST, "no more than what was asked for");
        assert_eq!(Turns::fitting(1.0, 5.5, MOST), Turns { turns: 1, warmup: 1, runs: 4 });
        assert_eq!(Turns::fitting(1.0, 13.0, MOST), Turns { turns: 2, warmup: 1, runs: 5 });
        assert_eq!(Turns::fitting(1.0, 19.0, MOST), Turns { turns: 3, warmup: 1, runs: 5 });
        assert_eq!(Turns::fitting(4.0, 9.0, MOST), Turns { turns: 2, warmup: 0, runs: 1 });
        assert_eq!(Turns::fitting(20.0, 1.0, MOST), Turns { turns: 1, warmup: 0, runs: 1 }, "one is always made");
    }

    #[test]
    fn what_is_left_goes_to_fast_rows_first() {
        let close = |a: f64, b: f64| (a - b).abs() < 0.1;
        // 50 - 13 - 4 * 0.3 are left, for three fast rows.
        let mut budget = Budget::new(Duration::from_secs(50), &[10.0, 1.0, 1.0, 1.0]);
        let first = budget.take(&[10.0, 1.0]);
        assert!(close(first[0], 10.3) && close(first[1], 1.3 + 35.8 / 3.0), "{first:?}");
        // Nothing was used: the other two share all of it, up to what is enough.
        let last = budget.take(&[1.0, 1.0]);
        assert!(close(last[0], 21.3) && close(last[1], 21.3), "{last:?}");
        let mut ample = Budget::new(Duration::from_secs(100), &[10.0, 1.0]);
        let both = ample.take(&[10.0, 1.0]);
        assert!(close(both.iter().sum(), 100.0) && close(both[1], 21.3), "{both:?}");
        assert!(close(Budget::new(Duration::ZERO, &[5.0]).take(&[5.0])[0], 5.3));
    }
}
