//! Picking elements by computed indices.

use crate::reduce::around;
use crate::view::View;

/// The slices of `x` along `axis` at `indices`. In place of what an index picks that is none of the axis comes what 0
/// does, and the first such index is told.
pub(crate) fn gather(x: View<'_>, axis: usize, indices: &[f32], out: &mut [f32]) -> Result<(), (f32, usize)> {
    let (_, n, inner) = around(x.shape, axis);
    let picks: Vec<usize> = indices.iter().map(|&i| position(i, n).unwrap_or(0)).collect();
    for (x, out) in x.data.chunks_exact(n * inner).zip(out.chunks_exact_mut(picks.len() * inner)) {
        for (&pick, out) in picks.iter().zip(out.chunks_exact_mut(inner)) {
            out.copy_from_slice(&x[pick * inner..][..inner]);
        }
    }
    let outside = indices.iter().find(|&&i| position(i, n).is_none());
    outside.map_or(Ok(()), |&i| Err((i, n)))
}

/// Index `i` of an axis of `n`, counted from its end if negative.
fn position(i: f32, n: usize) -> Option<usize> {
    let from_front = if i < 0.0 { f64::from(i) + n as f64 } else { f64::from(i) };
    let inside = i.fract() == 0.0 && (0.0..n as f64).contains(&from_front);
    inside.then_some(from_front as usize)
}
