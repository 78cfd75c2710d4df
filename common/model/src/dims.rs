//! Arithmetic on the dimensions of tensors.

/// Most elements of one tensor.
pub const MAX_TENSOR: usize = 1 << 28;
/// Highest rank of a tensor.
pub const MAX_RANK: usize = 8;

/// Dimensions of a tensor.
pub type Shape = Vec<u32>;

/// Dimensions that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DimsError {
    /// Two shapes have no common numpy broadcast.
    #[error("{0:?} and {1:?} do not broadcast")]
    Broadcast(Shape, Shape),
    /// A shape is none of an image of batch 1.
    #[error("{0:?} is not [1, channels, height, width] or [1, channels, length]")]
    Image(Shape),
}

impl From<DimsError> for String {
    fn from(e: DimsError) -> Self {
        e.to_string()
    }
}

/// Product of the dimensions, saturating.
#[must_use]
pub fn elements(shape: &[u32]) -> usize {
    shape.iter().fold(1usize, |n, &d| n.saturating_mul(d as usize))
}

/// The numpy broadcast of two shapes.
///
/// # Errors
/// [`DimsError::Broadcast`], which says which shapes do not broadcast.
pub fn broadcast(a: &[u32], b: &[u32]) -> Result<Shape, DimsError> {
    let rank = a.len().max(b.len());
    let at = |s: &[u32], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(DimsError::Broadcast(a.to_vec(), b.to_vec())),
        })
        .collect()
}

/// Channels, height and width of `[1, c, h, w]` or `[1, c, l]` (height 1).
///
/// # Errors
/// [`DimsError::Image`], which says which shape is no image of batch 1.
pub fn image(x: &[u32]) -> Result<[u32; 3], DimsError> {
    match *x {
        [1, c, h, w] => Ok([c, h, w]),
        [1, c, l] => Ok([c, 1, l]),
        _ => Err(DimsError::Image(x.to_vec())),
    }
}

pub(crate) fn axis_of(x: &[u32], axis: u32) -> Result<usize, String> {
    if (axis as usize) < x.len() { Ok(axis as usize) } else { Err(format!("axis {axis} of {x:?}")) }
}

pub(crate) fn axes_of(x: &[u32], axes: &[u32]) -> Result<(), String> {
    if axes.windows(2).any(|w| w[0] >= w[1]) {
        return Err(format!("axes {axes:?} are not sorted and distinct"));
    }
    axes.iter().try_for_each(|&a| axis_of(x, a).map(|_| ()))
}

/// `x` without `axes`, or with 1 in their place.
pub(crate) fn reduced(x: &[u32], axes: &[u32], keep: bool) -> Shape {
    let gone = |i: usize| axes.contains(&(i as u32));
    if keep {
        x.iter().enumerate().map(|(i, &d)| if gone(i) { 1 } else { d }).collect()
    } else {
        x.iter().enumerate().filter(|&(i, _)| !gone(i)).map(|(_, &d)| d).collect()
    }
}
