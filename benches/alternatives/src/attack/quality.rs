//! How near a rebuilt image comes to the original.

use serde::{Deserialize, Serialize};

/// Means over images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Peak signal-to-noise ratio, dB.
    pub psnr_db: f64,
    /// Structural similarity, at most 1.
    pub ssim: f64,
}

impl Quality {
    /// Of `rebuilt` against `originals`, both `[image, channel, row, column]` with pixels from 0 to 1; `shape` is one
    /// image's.
    #[must_use]
    pub fn of(rebuilt: &[f32], originals: &[f32], shape: [usize; 3]) -> Self {
        let size = shape.iter().product::<usize>();
        let pairs = || rebuilt.chunks(size).zip(originals.chunks(size));
        let n = pairs().count().max(1) as f64;
        Self {
            psnr_db: pairs().map(|(a, b)| psnr(a, b)).sum::<f64>() / n,
            ssim: pairs().map(|(a, b)| ssim(a, b, shape)).sum::<f64>() / n,
        }
    }
}

/// Peak signal-to-noise ratio of two images with pixels from 0 to 1, in dB; at most 100.
#[must_use]
pub fn psnr(a: &[f32], b: &[f32]) -> f64 {
    let error = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len().max(1) as f64;
    (-10.0 * error.log10()).min(100.0)
}

/// Structural similarity (Wang et al. 2004): Gaussian window of 11x11 and deviation 1.5, K = 0.01 and 0.03, mean over
/// channels and over all windows that lie within the image.
#[must_use]
pub fn ssim(a: &[f32], b: &[f32], shape: [usize; 3]) -> f64 {
    let [c, h, w] = shape;
    let planes = a.chunks(h * w).zip(b.chunks(h * w));
    planes.map(|(a, b)| ssim_plane(a, b, h, w)).sum::<f64>() / c as f64
}

const WINDOW: usize = 11;

fn ssim_plane(a: &[f32], b: &[f32], h: usize, w: usize) -> f64 {
    let blurred = |f: &dyn Fn(usize) -> f64| blur(&(0..h * w).map(f).collect::<Vec<_>>(), h, w);
    let (a, b) = (|i: usize| f64::from(a[i]), |i: usize| f64::from(b[i]));
    let (ma, mb) = (blurred(&a), blurred(&b));
    let (aa, bb, ab) = (blurred(&|i| a(i) * a(i)), blurred(&|i| b(i) * b(i)), blurred(&|i| a(i) * b(i)));
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let similarity = |i: usize| {
        let (va, vb, cov) = (aa[i] - ma[i] * ma[i], bb[i] - mb[i] * mb[i], ab[i] - ma[i] * mb[i]);
        let light = (2.0 * ma[i] * mb[i] + c1) / (ma[i] * ma[i] + mb[i] * mb[i] + c1);
        light * (2.0 * cov + c2) / (va + vb + c2)
    };
    (0..ma.len()).map(similarity).sum::<f64>() / ma.len().max(1) as f64
}

/// The windows' weighted means, without borders; for images of at least 11x11.
fn blur(x: &[f64], h: usize, w: usize) -> Vec<f64> {
    let weights: Vec<f64> = (0..WINDOW).map(|i| (-((i as f64 - 5.0).powi(2)) / (2.0 * 1.5 * 1.5)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mean = |get: &dyn Fn(usize) -> f64| weights.iter().enumerate().map(|(i, k)| k * get(i)).sum::<f64>() / total;
    let (rows, columns) = (h.saturating_sub(WINDOW - 1), w.saturating_sub(WINDOW - 1));
    let across: Vec<f64> = (0..h * columns).map(|i| mean(&|k| x[i / columns * w + i % columns + k])).collect();
    (0..rows * columns).map(|i| mean(&|k| across[(i / columns + k) * columns + i % columns])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Vec<f32> {
        (0..16 * 16).map(|i| (i % 16) as f32 / 16.0).collect()
    }

    #[test]
    fn an_image_is_like_itself() {
        let q = Quality::of(&ramp(), &ramp(), [1, 16, 16]);
        assert_eq!(q.psnr_db, 100.0);
        assert!((q.ssim - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_tenth_off_everywhere_is_twenty_db() {
        let off: Vec<f32> = ramp().iter().map(|v| v + 0.1).collect();
        assert!((psnr(&off, &ramp()) - 20.0).abs() < 1e-3);
    }

    #[test]
    fn a_flat_image_is_unlike_a_ramp_and_an_inverted_one_more_so() {
        let flat = vec![0.5; 256];
        let inverted: Vec<f32> = ramp().iter().map(|v| 1.0 - v).collect();
        let (f, i) = (ssim(&flat, &ramp(), [1, 16, 16]), ssim(&inverted, &ramp(), [1, 16, 16]));
        assert!(f < 0.2 && i < f, "{f} {i}");
    }
}
