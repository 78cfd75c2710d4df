//! How near a picture is to another: PSNR and SSIM, of pictures from 0 to 1.

/// Side of the windows that SSIM compares, as in its usual implementations without a Gaussian.
const WINDOW: usize = 7;

/// Mean squared difference. Slices of one length.
#[must_use]
pub fn mse(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len().max(1) as f64
}

/// Peak signal-to-noise ratio in dB, of a mean squared difference; infinite for equal pictures.
#[must_use]
pub fn psnr(mse: f64) -> f64 {
    -10.0 * mse.log10()
}

/// Structural similarity of two pictures with rows of `width`: the mean over all 7x7 windows, at most 1 (Wang et al.
/// 2004, K1 = 0.01, K2 = 0.03).
///
/// # Panics
/// If the pictures are of different size or smaller than a window.
#[must_use]
pub fn ssim(a: &[f32], b: &[f32], width: usize) -> f64 {
    let height = a.len() / width;
    assert!(a.len() == b.len() && width.min(height) >= WINDOW, "{width}x{height}");
    let (down, right) = (height - WINDOW + 1, width - WINDOW + 1);
    let windows = (0..down).flat_map(|y| (0..right).map(move |x| (y, x)));
    windows.map(|at| of_window(a, b, width, at)).sum::<f64>() / (down * right) as f64
}

fn of_window(a: &[f32], b: &[f32], width: usize, (top, left): (usize, usize)) -> f64 {
    let n = (WINDOW * WINDOW) as f64;
    let mut sums = [0.0; 5];
    for y in top..top + WINDOW {
        for x in left..left + WINDOW {
            let (a, b) = (f64::from(a[y * width + x]), f64::from(b[y * width + x]));
            for (sum, term) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                *sum += term;
            }
        }
    }
    let [mean_a, mean_b, aa, bb, ab] = sums.map(|s| s / n);
    let (var_a, var_b, cov) = (aa - mean_a * mean_a, bb - mean_b * mean_b, ab - mean_a * mean_b);
    let (c1, c2) = (1e-4, 9e-4);
    (2.0 * mean_a * mean_b + c1) * (2.0 * cov + c2) / ((mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(phase: f32) -> Vec<f32> {
        (0..28 * 28).map(|i| 0.5 + 0.5 * (i as f32 * 0.37 + phase).sin()).collect()
    }

    #[test]
    fn equal_pictures_are_equal_and_others_are_less() {
        let (a, b) = (wave(0.0), wave(0.3));
        assert_eq!((mse(&a, &a), psnr(0.0)), (0.0, f64::INFINITY));
        assert!((ssim(&a, &a, 28) - 1.0).abs() < 1e-9);
        assert!(ssim(&a, &b, 28) < 0.99 && ssim(&a, &b, 28) > ssim(&a, &wave(3.0), 28));
        assert!((psnr(mse(&[0.0, 0.0], &[0.1, 0.1])) - 20.0).abs() < 1e-4);
    }
}
