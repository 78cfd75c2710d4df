//! Inputs of an inference: PNG and JPEG pictures, and .npy arrays that are already preprocessed.

pub mod npy;
mod picture;
mod resample;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use twinmask_model::preprocess::{Preprocess, PreprocessError};

/// What a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Shape of the model's input, batch 1.
    pub shape: Vec<u32>,
    /// How pictures become that tensor.
    pub preprocess: Preprocess,
}

/// An input that cannot be read, or an output that cannot be written.
#[derive(Debug, thiserror::Error)]
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
    #[error("{} is no PNG or JPEG picture and no .npy array: convert it to one of them", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The picture is too large to decode.
    #[error("{} is a picture of {width}x{height} pixels, more than the {} megapixels that are decoded: scale it down", path.display(), picture::MAX_PIXELS >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The picture is damaged.
    #[error("the picture {} is damaged or incomplete ({reason}): fetch it again", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// The array does not fit.
    #[error("the array {} {reason}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the mend.
        reason: String,
    },
    /// The model takes no pictures, or its preprocessing makes no sense.
    #[error("cannot use the picture {}: {source}", path.display())]
    Preprocess {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PreprocessError,
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

/// Reads the picture or array at `path` as the model's input, row-major elements of `spec.shape`.
///
/// Pictures are turned upright (EXIF), resized (short side, bilinear, antialiased) and centre-cropped unless they have the size
/// already; alpha is dropped, one-channel models get the grey of the colours. What a file is, its first bytes say.
///
/// # Errors
/// [`InputError`], naming the file and what to do. Pictures beyond 64 megapixels and arrays of another size are
/// refused before anything of their size is allocated.
pub fn load(path: &Path, spec: &InputSpec) -> Result<Vec<f32>, InputError> {
    let unread = |source| InputError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(unread)?;
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start).map_err(unread)?;
    file.rewind().map_err(unread)?;
    let npy_name = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
    if npy_name || start.starts_with(npy::MAGIC) {
        return npy::read(file, &spec.shape).map_err(|reason| InputError::Npy { path: path.into(), reason });
    }
    let Ok(format @ (image::ImageFormat::Png | image::ImageFormat::Jpeg)) = image::guess_format(&start) else {
        return Err(InputError::Unknown { path: path.into() });
    };
    let size =
        spec.preprocess.picture(&spec.shape).map_err(|source| InputError::Preprocess { path: path.into(), source })?;
    let picture = picture::decode(path, file, format)?;
    Ok(picture::to_tensor(&picture, size, &spec.preprocess))
}

#[cfg(test)]
mod tests;
