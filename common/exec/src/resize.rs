//! Resampling, one axis after the other (bilinear interpolation is a product of linear ones).

use twinmask_model::ops::{Coordinates, NearestRounding, Resize, ResizeMode};

use crate::reduce::around;
use crate::view::View;

/// The two input indices that an output index lies between, and the weight of the second.
type Between = (usize, usize, f32);

/// `x` resampled.
pub(crate) fn resize(x: View<'_>, op: &Resize, out: &mut [f32]) -> Result<(), String> {
    let &Resize { mode, coordinates, ref scale, ref shape } = op;
    let finite = scale.iter().all(|s| s.is_finite() && *s > 0.0);
    if scale.len() != shape.len() || !finite {
        return Err(format!("scales {scale:?} from {:?} to {shape:?}", x.shape));
    }
    let mut axes: Vec<usize> = (0..shape.len()).filter(|&i| shape[i] != x.shape[i] || scale[i] != 1.0).collect();
    // Shrinking axes first: what lies between is then never larger than the input or the output.
    axes.sort_by_key(|&i| (shape[i] > x.shape[i], i));
    let (mut current, mut data) = (x.shape.to_vec(), None::<Vec<f32>>);
    for axis in axes {
        let source = data.as_deref().unwrap_or(x.data);
        let table: Vec<Between> = (0..shape[axis])
            .map(|o| between(coordinate(o, current[axis], shape[axis], scale[axis], coordinates), current[axis], mode))
            .collect();
        let resampled = along(source, around(&current, axis), &table);
        current[axis] = shape[axis];
        data = Some(resampled);
    }
    out.copy_from_slice(data.as_deref().unwrap_or(x.data));
    Ok(())
}

/// Input coordinate of output index `o`, as the ONNX definition of each mode has it.
fn coordinate(o: u32, from: u32, to: u32, scale: f32, coordinates: Coordinates) -> f32 {
    let x = o as f32;
    match coordinates {
        Coordinates::PytorchHalfPixel if to == 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if to == 1 => 0.0,
        Coordinates::AlignCorners => x * (from - 1) as f32 / (to - 1) as f32,
        Coordinates::Asymmetric => x / scale,
    }
}

fn between(x: f32, n: u32, mode: ResizeMode) -> Between {
    let last = n - 1;
    match mode {
        ResizeMode::Linear => {
            let x = x.clamp(0.0, last as f32);
            let first = x as u32;
            (first as usize, (first + 1).min(last) as usize, x - first as f32)
        }
        ResizeMode::Nearest(rounding) => {
            let rounded = match rounding {
                NearestRounding::RoundPreferFloor => (x - 0.5).ceil(),
                NearestRounding::RoundPreferCeil => (x + 0.5).floor(),
                NearestRounding::Floor => x.floor(),
                NearestRounding::Ceil => x.ceil(),
            };
            let i = rounded.clamp(0.0, last as f32) as usize;
            (i, i, 0.0)
        }
    }
}

fn along(x: &[f32], (outer, n, inner): (usize, usize, usize), table: &[Between]) -> Vec<f32> {
    let mut out = Vec::with_capacity(outer * table.len() * inner);
    for x in x.chunks_exact(n * inner) {
        for &(first, second, w) in table {
            let (a, b) = (&x[first * inner..][..inner], &x[second * inner..][..inner]);
            if w == 0.0 {
                out.extend_from_slice(a);
            } else {
                out.extend(a.iter().zip(b).map(|(a, b)| a * (1.0 - w) + b * w));
            }
        }
    }
    out
}
