//! The oracle: the definition of a linear layer, tap by tap.

use twinmask_layer::Geometry;

/// `y = W·x mod 2^32`, from the definition; weights `[out_channels, fan_in]`.
///
/// # Panics
/// If a slice does not have the length that `geometry` asks for.
#[must_use]
pub fn apply(geometry: &Geometry, weights: &[i16], x: &[u32]) -> Vec<u32> {
    assert_eq!(weights.len(), geometry.weight_len());
    assert_eq!(x.len(), geometry.in_len());
    let (fan_in, mut y) = (geometry.fan_in(), vec![0; geometry.out_len()]);
    for channel in 0..geometry.out_channels() {
        let row = &weights[channel * fan_in..][..fan_in];
        for position in 0..geometry.positions() {
            y[geometry.output_index(channel, position)] = dot(geometry, row, channel, position, x);
        }
    }
    y
}

/// One output element mod 2^32: the weights `row` of `channel` at `position`.
#[must_use]
pub fn dot(geometry: &Geometry, row: &[i16], channel: usize, position: usize, x: &[u32]) -> u32 {
    let mut sum = 0u32;
    geometry.taps(channel, position, |w, i| {
        sum = sum.wrapping_add((i32::from(row[w]) as u32).wrapping_mul(x[i]));
    });
    sum
}
