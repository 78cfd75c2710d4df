//! What an inference is run on, and how it becomes the tensors that the model takes.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use twinmask_model::graph::Element;
use twinmask_model::preprocess::Preprocess;

use crate::input::error::{InputError, Origin};
use crate::input::npy;
use crate::input::picture::{Image, png_tensor};
use crate::input::tensor::Tensor;

/// One input or output tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name from the model file.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<u32>,
    /// Type of the elements.
    pub element: Element,
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Its inputs, in the file's order.
    pub tensors: Vec<TensorSpec>,
    /// How pictures become the tensor, where there is one.
    pub preprocess: Preprocess,
    /// Most megapixels (2^20) of a picture's file.
    pub max_megapixels: u32,
}

/// The input of one inference.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// A PNG or JPEG picture or an .npy array, told by its first bytes, for a model with one input.
    File(PathBuf),
    /// A picture, for a model that takes one.
    Image(Image),
    /// A preprocessed tensor, for a model with one input.
    Tensor(Tensor),
    /// Each of the model's inputs by its name.
    Named(Vec<(String, Tensor)>),
}

impl Input {
    /// A PNG or JPEG picture or an .npy array, told by its first bytes.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// Each of the model's inputs by its name.
    pub fn named<N: Into<String>>(inputs: impl IntoIterator<Item = (N, Tensor)>) -> Self {
        Self::Named(inputs.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect())
    }

    /// The elements of each of the model's inputs, as its arithmetic takes them.
    ///
    /// # Errors
    /// [`InputError`], naming the file or the input and what to do.
    pub(crate) fn resolve(self, spec: &InputSpec) -> Result<Vec<Vec<f32>>, InputError> {
        let names = || InputError::Names { expected: spec.tensors.iter().map(|t| t.name.clone()).collect() };
        let mut named = match (self, spec.tensors.as_slice()) {
            (Self::File(path), [_]) => return load(&path, spec).map(|tensor| vec![tensor]),
            (Self::Image(image), [only]) => return pictured(&image, only, spec).map(|tensor| vec![tensor]),
            (Self::Tensor(tensor), [only]) => vec![(only.name.clone(), tensor)],
            (Self::Named(named), _) if named.len() == spec.tensors.len() => named,
            _ => return Err(names()),
        };
        let take = |wanted: &TensorSpec| {
            let found = named.iter().position(|(name, _)| *name == wanted.name).ok_or_else(names)?;
            fitting(named.swap_remove(found).1, wanted)
        };
        spec.tensors.iter().map(take).collect()
    }
}

impl From<Image> for Input {
    fn from(image: Image) -> Self {
        Self::Image(image)
    }
}

impl From<Tensor> for Input {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

fn fitting(tensor: Tensor, wanted: &TensorSpec) -> Result<Vec<f32>, InputError> {
    let name = || wanted.name.clone();
    if tensor.shape() != wanted.shape {
        let reason = format!("has the shape {:?}, the model takes {:?}: reshape it", tensor.shape(), wanted.shape);
        return Err(InputError::Tensor { name: name(), reason });
    }
    if tensor.element() != wanted.element {
        return Err(InputError::Element { name: name(), found: tensor.element(), expected: wanted.element });
    }
    tensor.into_network(&wanted.name)
}

fn pictured(image: &Image, wanted: &TensorSpec, spec: &InputSpec) -> Result<Vec<f32>, InputError> {
    let wrong = |source| InputError::Preprocess { origin: image.origin().clone(), source };
    let size = spec.preprocess.picture(&wanted.shape).map_err(wrong)?;
    Ok(image.to_tensor(size, &spec.preprocess))
}

/// Reads the picture or array at `path` for a model with one input. What a file is, its first bytes say; arrays of
/// another size are refused before anything of their size is allocated.
fn load(path: &Path, spec: &InputSpec) -> Result<Vec<f32>, InputError> {
    let wanted = &spec.tensors[0];
    let unread = |source| InputError::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(unread)?;
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start).map_err(unread)?;
    file.rewind().map_err(unread)?;
    let npy_name = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
    if npy_name || start.starts_with(npy::MAGIC) {
        let array = |reason| InputError::Array { origin: Origin::File(path.into()), reason };
        return npy::read_array(file, &wanted.shape, wanted.element).map_err(array)?.into_network(&wanted.name);
    }
    let format = image::guess_format(&start);
    if let Ok(image::ImageFormat::Png | image::ImageFormat::Jpeg) = format {
        // Whether the model takes pictures at all is known before one is decoded.
        let origin = Origin::File(path.into());
        let wrong = |source| InputError::Preprocess { origin: origin.clone(), source };
        let size = spec.preprocess.picture(&wanted.shape).map_err(wrong)?;
        if let Ok(image::ImageFormat::Png) = format {
            let rows = png_tensor(BufReader::new(&file), &origin, spec.max_megapixels, size, &spec.preprocess)?;
            if let Some(tensor) = rows {
                return Ok(tensor);
            }
            file.rewind().map_err(unread)?;
        }
    }
    pictured(&Image::read(file, path, spec.max_megapixels)?, wanted, spec)
}
