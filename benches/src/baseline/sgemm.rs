//! Linear layers in f32: im2col and OpenBLAS sgemm through ndarray.

use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, Slice};
use twinmask_layer::{Conv, Geometry};

/// Elements of the im2col matrix that are built at a time: 2 MiB of f32.
const COLUMN_ELEMENTS: usize = 1 << 19;

/// Buffers reused from layer to layer.
#[derive(Default)]
pub struct Scratch {
    columns: Vec<f32>,
}

/// One layer with its weights `[out_channels, fan_in]`.
pub(super) struct FloatLayer {
    geometry: Geometry,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl FloatLayer {
    /// # Panics
    /// If weights or bias do not fit the geometry.
    pub(super) fn new(geometry: Geometry, weights: Vec<f32>, bias: Option<Vec<f32>>) -> Self {
        let bias = bias.unwrap_or_else(|| vec![0.0; geometry.out_channels()]);
        assert!(weights.len() == geometry.weight_len() && bias.len() == geometry.out_channels(), "{geometry:?}");
        Self { geometry, weights, bias }
    }

    /// Appends `W·x + bias` to `out`.
    pub(super) fn apply(&self, x: &[f32], out: &mut Vec<f32>, scratch: &mut Scratch) {
        assert_eq!(x.len(), self.geometry.in_len(), "input of {:?}", self.geometry);
        let start = out.len();
        match &self.geometry {
            Geometry::Fc(fc) => {
                let (rows, fan_in) = (fc.rows as usize, self.geometry.fan_in());
                (0..rows).for_each(|_| out.extend_from_slice(&self.bias));
                let w = matrix(&self.weights, fan_in);
                if rows == 1 {
                    let mut y = ArrayViewMut1::from(&mut out[start..]);
                    general_mat_vec_mul(1.0, &w, &ArrayView1::from(x), 1.0, &mut y);
                } else {
                    let mut y = matrix_mut(&mut out[start..], self.bias.len());
                    general_mat_mul(1.0, &matrix(x, fan_in), &w.t(), 1.0, &mut y);
                }
            }
            Geometry::Conv(conv) => {
                let positions = self.geometry.positions();
                out.resize(start + self.geometry.out_len(), 0.0);
                let y = &mut out[start..];
                y.chunks_exact_mut(positions).zip(&self.bias).for_each(|(row, &b)| row.fill(b));
                let per_group = self.bias.len() / conv.groups as usize;
                for (group, y) in y.chunks_exact_mut(per_group * positions).enumerate() {
                    self.group(conv, group, x, y, scratch);
                }
            }
        }
    }

    /// Adds the product of one group of a convolution to `y`, `[channels of the group, positions]`.
    fn group(&self, conv: &Conv, group: usize, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let (fan_in, positions) = (self.geometry.fan_in(), self.geometry.positions());
        let channels = y.len() / positions;
        let w = matrix(&self.weights[group * channels * fan_in..][..channels * fan_in], fan_in);
        let mut y = matrix_mut(y, positions);
        if conv.kh * conv.kw == 1 && conv.stride == [1, 1] && conv.pad == [0; 4] {
            general_mat_mul(
                1.0,
                &w,
                &matrix(&x[group * fan_in * positions..][..fan_in * positions], positions),
                1.0,
                &mut y,
            );
            return;
        }
        // Whole output rows at a time.
        let out_w = conv.out_w() as usize;
        let rows = (COLUMN_ELEMENTS / (fan_in * out_w)).max(1);
        let out_h = positions / out_w;
        for top in (0..out_h).step_by(rows) {
            let bottom = out_h.min(top + rows);
            let width = (bottom - top) * out_w;
            scratch.columns.resize(fan_in * width, 0.0);
            im2col(conv, group, top..bottom, x, &mut scratch.columns);
            let columns = matrix(&scratch.columns, width);
            let mut part = y.slice_axis_mut(Axis(1), Slice::from(top * out_w..bottom * out_w));
            general_mat_mul(1.0, &w, &columns, 1.0, &mut part);
        }
    }
}

/// Writes the im2col matrix `[fan_in, output rows * out_w]` of one group.
fn im2col(conv: &Conv, group: usize, rows: std::ops::Range<usize>, x: &[f32], out: &mut [f32]) {
    let (kh, kw, out_w) = (conv.kh as usize, conv.kw as usize, conv.out_w() as usize);
    let (h, w) = (conv.h as usize, conv.w as usize);
    let [down, right] = conv.stride.map(|s| s as usize);
    let first = group * (conv.c_in / conv.groups) as usize;
    for (tap, line) in out.chunks_exact_mut(rows.len() * out_w).enumerate() {
        let (channel, ky, kx) = (first + tap / (kh * kw), tap / kw % kh, tap % kw);
        let (dy, dx) = (ky * conv.dilation[0] as usize, kx * conv.dilation[1] as usize);
        for (oy, out) in rows.clone().zip(line.chunks_exact_mut(out_w)) {
            let Some(y) = (oy * down + dy).checked_sub(conv.pad[0] as usize).filter(|&y| y < h) else {
                out.fill(0.0);
                continue;
            };
            let source = &x[(channel * h + y) * w..][..w];
            let pad = conv.pad[1] as usize;
            // Outputs that lie left of the input, and in or left of its end.
            let before = pad.saturating_sub(dx).div_ceil(right).min(out_w);
            let inside = (w + pad).saturating_sub(dx).div_ceil(right).clamp(before, out_w);
            out[..before].fill(0.0);
            out[inside..].fill(0.0);
            let taken = source.iter().skip((before * right + dx).saturating_sub(pad)).step_by(right);
            out[before..inside].iter_mut().zip(taken).for_each(|(o, &v)| *o = v);
        }
    }
}

fn matrix(data: &[f32], width: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((data.len() / width, width), data).expect("whole rows")
}

fn matrix_mut(data: &mut [f32], width: usize) -> ArrayViewMut2<'_, f32> {
    let rows = data.len() / width;
    ArrayViewMut2::from_shape((rows, width), data).expect("whole rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_layer::Fc;

    fn small_integers(n: usize) -> Vec<i16> {
        (0..n).map(|i| ((i * 7919 + 13) % 17) as i16 - 8).collect()
    }

    /// On small integers f32 is exact, so the integer oracle says what must come out.
    fn check(geometry: Geometry) {
        let (w, x) = (small_integers(geometry.weight_len()), small_integers(geometry.in_len()));
        let x32: Vec<u32> = x.iter().map(|&v| i32::from(v) as u32).collect();
        let y = twinmask_kernels::naive::apply(&geometry, &w, &x32);
        let bias: Vec<f32> = (0..geometry.out_channels()).map(|c| c as f32).collect();
        let layer = FloatLayer::new(geometry, w.iter().map(|&v| f32::from(v)).collect(), Some(bias));
        let mut out = vec![5.0];
        let x: Vec<f32> = x.iter().map(|&v| f32::from(v)).collect();
        layer.apply(&x, &mut out, &mut Scratch::default());
        assert_eq!(out.len(), 1 + y.len());
        let channel = |i: usize| match geometry {
            Geometry::Conv(_) => i / geometry.positions(),
            Geometry::Fc(_) => i % geometry.out_channels(),
        };
        for (i, (&got, &expected)) in out[1..].iter().zip(&y).enumerate() {
            assert_eq!(got, expected as i32 as f32 + channel(i) as f32, "{geometry:?}, output {i}");
        }
    }

    #[test]
    fn layers_equal_the_integer_oracle() {
        let conv = Conv {
            c_in: 6,
            h: 11,
            w: 9,
            c_out: 4,
            kh: 3,
            kw: 2,
            stride: [1, 1],
            pad: [1, 0, 1, 1],
            dilation: [1, 1],
            groups: 1,
        };
        let one = Conv { kh: 1, kw: 1, pad: [0; 4], ..conv };
        let strided = Conv { stride: [2, 3], pad: [2, 3, 1, 2], ..conv };
        for conv in [
            conv,
            one,
            strided,
            Conv { groups: 2, ..conv },
            Conv { groups: 2, ..one },
            Conv { dilation: [2, 3], ..strided },
        ] {
            check(Geometry::Conv(conv));
        }
        for rows in [1, 5] {
            check(Geometry::Fc(Fc { rows, inputs: 37, outputs: 11 }));
        }
    }
}
