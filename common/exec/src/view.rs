//! Tensors to read.

/// A tensor to read: `data` holds the elements of `shape`, row-major.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Dimensions.
    pub shape: &'a [u32],
    /// Elements.
    pub data: &'a [f32],
}

impl<'a> View<'a> {
    /// The tensor of this shape and these elements.
    #[must_use]
    pub fn new(shape: &'a [u32], data: &'a [f32]) -> Self {
        Self { shape, data }
    }
}
