//! Inputs of an inference: pictures from files, bytes or pixels, preprocessed arrays, tensors by name.

mod error;
pub mod npy;
mod picture;
mod resample;
mod rows;
mod source;
mod tensor;

pub use error::{InputError, Origin};
pub use picture::{Image, MAX_MEGAPIXELS};
pub use source::{Input, InputSpec, TensorSpec};
pub use tensor::{Data, Tensor};
pub use twinmask_model::graph::Element;

#[cfg(test)]
mod tests;
