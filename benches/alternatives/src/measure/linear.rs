//! A fresh attacker for what edges see: ridge regression from the elements that were sent to the pictures behind them,
//! its strength chosen on pictures of their own, and judged on others still. Where the elements tell nothing, the best
//! that it can do is the mean picture.

use ndarray::{Array1, Array2, ArrayView1, Axis, Slice};

use crate::attack::Quality;

/// Strengths that are tried, relative to the features' mean square.
const STRENGTHS: [f64; 7] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];

/// What the attacker has seen with the pictures that belong to it.
pub struct Seen {
    /// `[n, elements]`.
    pub sent: Array2<f64>,
    /// `[n, pixels]`, 0 to 1.
    pub pictures: Array2<f64>,
}

impl Seen {
    /// Of rows, one for each inference.
    ///
    /// # Panics
    /// If rows differ in length.
    #[must_use]
    pub fn of(sent: &[Vec<f64>], pictures: &[Vec<f32>]) -> Self {
        let wide: Vec<Vec<f64>> = pictures.iter().map(|p| p.iter().map(|&v| f64::from(v)).collect()).collect();
        Self { sent: matrix(sent), pictures: matrix(&wide) }
    }
}

fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    let width = rows.first().map_or(0, Vec::len);
    Array2::from_shape_vec((rows.len(), width), rows.concat()).expect("rows of one length")
}

/// A trained attacker.
pub struct Attacker {
    mean_sent: Array1<f64>,
    mean_picture: Array1<f64>,
    /// `[elements, pixels]`; `None` where nothing beats the mean picture.
    weights: Option<Array2<f64>>,
    /// The strength that was chosen.
    pub strength: Option<f64>,
}

impl Attacker {
    /// Trains on four fifths of `seen` and chooses on the rest.
    #[must_use]
    pub fn train(seen: &Seen) -> Self {
        let cut = seen.sent.nrows() * 4 / 5;
        let (sent, held_sent) = seen.sent.view().split_at(Axis(0), cut);
        let (pictures, held) = seen.pictures.view().split_at(Axis(0), cut);
        let mean_sent = sent.mean_axis(Axis(0)).expect("some pictures");
        let mean_picture = pictures.mean_axis(Axis(0)).expect("some pictures");
        let (x, y) = (&sent - &mean_sent, &pictures - &mean_picture);
        let (gram, moment) = (x.t().dot(&x), x.t().dot(&y));
        let unit = gram.diag().mean().unwrap_or(1.0).max(f64::MIN_POSITIVE);
        let (held_x, held_y) = (&held_sent - &mean_sent, &held - &mean_picture);
        let error = |rest: &Array2<f64>| rest.iter().map(|v| v * v).sum::<f64>();
        let mut best = (error(&held_y), None, None);
        for strength in STRENGTHS {
            let Some(weights) = solve(&gram, strength * unit, &moment) else { continue };
            let found = error(&(&held_y - &held_x.dot(&weights)));
            if found < best.0 {
                best = (found, Some(weights), Some(strength));
            }
        }
        Self { mean_sent, mean_picture, weights: best.1, strength: best.2 }
    }

    /// The picture that it makes of `sent`, 0 to 1.
    #[must_use]
    pub fn rebuild(&self, sent: ArrayView1<'_, f64>) -> Vec<f32> {
        let mut picture = self.mean_picture.clone();
        if let Some(weights) = &self.weights {
            picture += &(&sent - &self.mean_sent).dot(weights);
        }
        picture.iter().map(|&v| v.clamp(0.0, 1.0) as f32).collect()
    }

    /// Judges it on others, whose pictures have `shape`.
    #[must_use]
    pub fn judge(&self, others: &Seen, shape: [usize; 3]) -> Quality {
        let rebuilt: Vec<f32> = others.sent.rows().into_iter().flat_map(|sent| self.rebuild(sent)).collect();
        let originals: Vec<f32> = others.pictures.iter().map(|&v| v as f32).collect();
        Quality::of(&rebuilt, &originals, shape)
    }
}

/// `(a + ridge)^-1 b` for a symmetric positive `a`, by Cholesky; `None` where it is not positive.
fn solve(a: &Array2<f64>, ridge: f64, b: &Array2<f64>) -> Option<Array2<f64>> {
    let l = cholesky(a, ridge)?;
    let (n, mut x) = (l.nrows(), b.clone());
    for i in 0..n {
        let (done, mut rest) = x.view_mut().split_at(Axis(0), i);
        let mut row = rest.row_mut(0);
        row -= &part(l.row(i), Slice::from(..i)).dot(&done);
        row /= l[[i, i]];
    }
    for i in (0..n).rev() {
        let (mut rest, done) = x.view_mut().split_at(Axis(0), i + 1);
        let mut row = rest.row_mut(i);
        row -= &part(l.column(i), Slice::from(i + 1..)).dot(&done);
        row /= l[[i, i]];
    }
    Some(x)
}

/// The lower triangle L of `a + ridge = L L^T`; what stands above the diagonal is not of it.
fn cholesky(a: &Array2<f64>, ridge: f64) -> Option<Array2<f64>> {
    let mut l = a.clone();
    l.diag_mut().mapv_inplace(|d| d + ridge);
    for j in 0..l.nrows() {
        let row_j = part(l.row(j), Slice::from(..j)).to_owned();
        let pivot = l[[j, j]] - row_j.dot(&row_j);
        if pivot <= 0.0 || !pivot.is_finite() {
            return None;
        }
        l[[j, j]] = pivot.sqrt();
        for i in j + 1..l.nrows() {
            l[[i, j]] = (l[[i, j]] - part(l.row(i), Slice::from(..j)).dot(&row_j)) / l[[j, j]];
        }
    }
    Some(l)
}

fn part(row: ArrayView1<'_, f64>, which: Slice) -> ArrayView1<'_, f64> {
    let mut row = row;
    row.slice_axis_inplace(Axis(0), which);
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_ring::prf::Key;

    const SIDE: usize = 12;

    /// Smooth pictures of two random numbers each.
    fn pictures(key: &Key, from: u64, n: usize) -> Vec<Vec<f32>> {
        let picture = |i: u64| {
            let e = key.elements(i, 16, 2);
            let [a, b] = [e[0], e[1]].map(|v| v as f32 / 65536.0);
            (0..SIDE * SIDE).map(|p| 0.5 * a * (p % SIDE) as f32 / 11.0 + 0.5 * b * (p / SIDE) as f32 / 11.0).collect()
        };
        (from..from + n as u64).map(picture).collect()
    }

    fn seen(sent: impl Fn(u64, &[f32]) -> Vec<f64>, from: u64, n: usize) -> Seen {
        let pictures = pictures(&Key::derive("pictures", &[]), from, n);
        let sent: Vec<Vec<f64>> = (from..).zip(&pictures).map(|(i, p)| sent(i, p)).collect();
        Seen::of(&sent, &pictures)
    }

    #[test]
    fn what_is_sent_in_clear_is_rebuilt_and_noise_is_not() {
        let clear = |_: u64, p: &[f32]| p.iter().rev().map(|&v| f64::from(2.0 * v) - 1.0).collect();
        let masks = Key::derive("masks", &[]);
        let masked = |i: u64, p: &[f32]| {
            let masks = masks.elements(i, 16, p.len());
            p.iter().zip(masks).map(|(&v, m)| f64::from(((v * 100.0) as u32 + m) & 0xffff) / 65536.0).collect()
        };
        let score = |sent: &dyn Fn(u64, &[f32]) -> Vec<f64>| {
            let attacker = Attacker::train(&seen(sent, 0, 500));
            attacker.judge(&seen(sent, 1000, 100), [1, SIDE, SIDE])
        };
        let (open, hidden) = (score(&clear), score(&masked));
        let mean = score(&|_, _| vec![0.0; 3]);
        assert!(open.psnr_db > 30.0 && open.ssim > 0.9, "{open:?}");
        assert!(hidden.psnr_db < mean.psnr_db + 0.1, "{hidden:?} {mean:?}");
    }

    #[test]
    fn systems_are_solved() {
        let a = ndarray::array![[4.0, 1.0], [1.0, 3.0]];
        let b = ndarray::array![[1.0], [2.0]];
        let x = solve(&a, 0.0, &b).expect("positive");
        assert!((a.dot(&x) - b).iter().all(|d| d.abs() < 1e-12));
        assert!(solve(&ndarray::array![[0.0]], 0.0, &ndarray::array![[1.0]]).is_none());
    }
}
