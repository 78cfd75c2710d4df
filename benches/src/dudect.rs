//! Whether a function takes other times for other data: Welch's t over interleaved classes, whole and cropped at
//! percentiles, as in Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?" (2017).

use std::time::{Duration, Instant};

use anyhow::Result;
use twinmask_ring::prf::Key;

/// Above this a function's time depends on the class, says dudect; below, nothing was seen.
pub const LEAKS: f64 = 10.0;

/// Crops: shares of the fastest samples of both classes together. Slow ones tell more of the machine than of the data.
const CROPS: [f64; 7] = [1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25];

/// Times in ns, by class.
pub type Times = Vec<Vec<f64>>;

/// Measures `classes` in a random order, `n` times each or a little more or less; `measure` does class i once and says
/// how long it took.
///
/// # Errors
/// The first of `measure`.
pub fn interleaved(classes: usize, n: usize, mut measure: impl FnMut(usize) -> Result<Duration>) -> Result<Times> {
    let mut times = vec![Vec::with_capacity(n); classes];
    let order = Key::derive("bench", &[b"order"]).elements(0, 32, classes * n);
    for class in 0..classes {
        measure(class)?; // warms up
    }
    for class in order.into_iter().map(|word| word as usize % classes) {
        times[class].push(measure(class)?.as_secs_f64() * 1e9);
    }
    Ok(times)
}

/// Data of each class, which change places all the time: where data lie in memory tells on times, too.
pub struct Places<T> {
    data: Vec<Vec<T>>,
    /// Which of `data` class 0 is now, and so on.
    first: usize,
    uses: usize,
}

impl<T: Copy> Places<T> {
    /// How often data are used before they change places.
    const USES: usize = 32;

    /// Of data of one length.
    #[must_use]
    pub fn new(data: Vec<Vec<T>>) -> Self {
        Self { data, first: 0, uses: 0 }
    }

    /// Copies the data of `class` to `out`.
    pub fn copy(&mut self, class: usize, out: &mut [T]) {
        self.uses += 1;
        if self.uses.is_multiple_of(Self::USES) {
            self.rotate();
        }
        let n = self.data.len();
        out.copy_from_slice(&self.data[(self.first + class) % n]);
    }

    /// Every class to the place of the next one.
    fn rotate(&mut self) {
        let n = self.data.len();
        let (last, others) = self.data.split_last_mut().expect("several classes");
        others.iter_mut().for_each(|other| other.swap_with_slice(last));
        self.first = (self.first + 1) % n;
    }
}

/// Time of `work`.
pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(work());
    begun.elapsed()
}

/// The farthest that any two classes are apart under any crop: |t|.
#[must_use]
pub fn largest_t(times: &Times) -> f64 {
    let pairs = times.iter().enumerate().flat_map(|(i, a)| times[i + 1..].iter().map(move |b| (a, b)));
    pairs.flat_map(|(a, b)| CROPS.map(|share| cropped(a, b, share).abs())).fold(0.0, f64::max)
}

fn cropped(a: &[f64], b: &[f64], share: f64) -> f64 {
    let mut all = [a, b].concat();
    all.sort_by(f64::total_cmp);
    let Some(&limit) = all.get(((all.len() as f64 * share) as usize).saturating_sub(1)) else { return 0.0 };
    let below = |times: &[f64]| times.iter().copied().filter(|&t| t <= limit).collect::<Vec<_>>();
    welch(&below(a), &below(b))
}

/// Welch's t of two samples; 0 if one has fewer than two values, or none varies.
#[must_use]
pub fn welch(a: &[f64], b: &[f64]) -> f64 {
    let moments = |sample: &[f64]| {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        let variance = sample.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    };
    let ((mean_a, a), (mean_b, b)) = (moments(a), moments(b));
    let t = (mean_a - mean_b) / (a + b).sqrt();
    if t.is_finite() { t } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of Wikipedia's article on the test: t = -2.46.
    #[test]
    fn a_known_value() {
        let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
        let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
        assert!((welch(&a, &b) + 2.46).abs() < 0.01, "{}", welch(&a, &b));
        assert_eq!(welch(&[1.0], &[2.0]), 0.0);
        assert_eq!(welch(&[1.0, 1.0], &[1.0, 1.0]), 0.0);
    }

    /// A tenth of the noise is found in the mass of the samples and, under outliers, by cropping.
    #[test]
    fn a_small_difference_is_found_and_none_is_not() {
        let noise = |label: &[u8], shift: f64| {
            let words = Key::derive("bench", &[label]).elements(0, 16, 20_000);
            let outlier = |i: usize| if i.is_multiple_of(100) { 1e6 } else { 0.0 };
            words
                .iter()
                .enumerate()
                .map(|(i, &w)| f64::from(w) / 65_536.0 + outlier(i) * f64::from(w) + shift)
                .collect()
        };
        let (a, b, c): (Vec<f64>, Vec<f64>, Vec<f64>) = (noise(b"a", 0.0), noise(b"b", 0.0), noise(b"c", 0.05));
        assert!(welch(&a, &c).abs() < 4.5, "without cropping the outliers hide it");
        assert!(largest_t(&vec![a.clone(), c]) > LEAKS);
        assert!(largest_t(&vec![a, b]) < 4.5);
    }

    #[test]
    fn data_change_places_and_stay_what_they_are() {
        let mut places = Places::new(vec![vec![0; 4], vec![1; 4], vec![2; 4]]);
        let (mut out, mut seen) = ([9; 4], std::collections::BTreeSet::new());
        for i in 0..1000 {
            places.copy(i % 3, &mut out);
            assert_eq!(out, [i % 3; 4]);
            seen.insert((i % 3, (places.first + i % 3) % 3));
        }
        assert_eq!(seen.len(), 9, "each class was in each place");
    }

    #[test]
    fn classes_are_interleaved() {
        let mut seen = Vec::new();
        let times = interleaved(3, 100, |class| {
            seen.push(class);
            Ok(Duration::from_nanos(class as u64))
        });
        let times = times.expect("nothing fails");
        assert_eq!(times.iter().map(Vec::len).sum::<usize>(), 300);
        assert!(times.iter().all(|t| t.len() > 60));
        assert!(seen[3..].windows(2).filter(|w| w[0] != w[1]).count() > 150);
    }
}
