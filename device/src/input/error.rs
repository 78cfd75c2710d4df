//! Inputs that cannot be used, and outputs that cannot be written.

use std::io;
use std::path::PathBuf;

use twinmask_exec::ExecError;
use twinmask_model::graph::Element;
use twinmask_model::preprocess::PreprocessError;

/// Where an input came from, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The application's own memory.
    Memory,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory => f.write_str("in memory"),
        }
    }
}

/// An input that cannot be used, or an output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is neither a picture nor an array.
    #[error("{origin} is no PNG or JPEG picture and no .npy array: convert it to one of them")]
    Unknown {
        /// What was given.
        origin: Origin,
    },
    /// The picture is too large to decode.
    #[error(
        "{origin} is a picture of {width}x{height} pixels, more than the {most} megapixels that are decoded: \
         scale it down"
    )]
    TooLarge {
        /// What was given.
        origin: Origin,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Megapixels that are decoded.
        most: u64,
    },
    /// The picture is damaged.
    #[error("the picture {origin} is damaged or incomplete ({reason}): fetch it again")]
    Picture {
        /// What was given.
        origin: Origin,
        /// What the decoder says.
        reason: String,
    },
    /// Pixels that are no picture of the size that was said.
    #[error("{found} bytes are no picture of {width}x{height} pixels, which takes {expected}")]
    Pixels {
        /// Bytes given.
        found: usize,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Bytes that the size takes.
        expected: u64,
    },
    /// The array does not fit.
    #[error("the array {origin} {reason}")]
    Array {
        /// What was given.
        origin: Origin,
        /// What is wrong, and the mend.
        reason: String,
    },
    /// Elements that do not fill their shape.
    #[error("{found} elements are no array of shape {shape:?}")]
    Elements {
        /// Elements given.
        found: usize,
        /// The shape that was said.
        shape: Vec<u32>,
    },
    /// The model takes no pictures, or its preprocessing makes no sense.
    #[error("cannot use the picture {origin}: {source}")]
    Preprocess {
        /// What was given.
        origin: Origin,
        /// Why.
        source: PreprocessError,
    },
    /// The tensor for one of the model's inputs does not fit it.
    #[error("the input '{name}' {reason}")]
    Tensor {
        /// The model's name for it.
        name: String,
        /// What is wrong, and the mend.
        reason: String,
    },
    /// The model has several inputs, and they were not named as it names them.
    #[error("the model takes the inputs {}: give each of them once, by its name", expected.join(", "))]
    Names {
        /// The model's names.
        expected: Vec<String>,
    },
    /// An input of another element type than the model's.
    #[error("the input '{name}' holds {found} elements, the model takes {expected}: convert them")]
    Element {
        /// The model's name for it.
        name: String,
        /// What was given.
        found: Element,
        /// What the model takes.
        expected: Element,
    },
    /// Integers that the network's own arithmetic does not hold exactly.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// An input that is not finite.
    #[error("the input holds NaN or infinity (element {index}): nothing was sent")]
    NotFinite {
        /// Which element.
        index: usize,
    },
    /// The output cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
