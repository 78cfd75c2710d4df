//! Data sets, read from the folder named by `TWINMASK_DATA`, and batches of them.

mod cifar;
mod mnist;
mod weights;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::prelude::*;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use twinmask_benches::folders::workspace;

pub use cifar::cifar;
pub use mnist::mnist;
pub use weights::Weights;

/// The folder of real data: `TWINMASK_DATA`, by default `../shared/data` beside the workspace.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("TWINMASK_DATA").map_or_else(|| workspace().join("../shared/data"), PathBuf::from)
}

/// The file `below` the data folder `data`.
///
/// # Errors
/// When it is not there; the error names it.
pub fn file(data: &Path, below: &str) -> Result<PathBuf> {
    let path = data.join(below);
    ensure!(path.is_file(), "{} is not there: set TWINMASK_DATA to the folder of real data", path.display());
    Ok(path)
}

/// Training or test images of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

/// Mean and deviation of each channel of pixels from 0 to 1: what a network sees is (pixel - mean) / deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Mean by channel.
    pub mean: &'static [f32],
    /// Standard deviation by channel.
    pub std: &'static [f32],
}

/// Labelled images in memory.
#[derive(Debug, Clone)]
pub struct Images {
    /// Pixels from 0 to 1, `[image, channel, row, column]`.
    pub pixels: Vec<f32>,
    /// Class of each image.
    pub labels: Vec<usize>,
    /// `[channels, rows, columns]`.
    pub shape: [usize; 3],
    /// What networks see of the pixels.
    pub norm: Norm,
}

impl Images {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Numbers in one image.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// The pixels of image `i`.
    #[must_use]
    pub fn image(&self, i: usize) -> &[f32] {
        &self.pixels[i * self.size()..(i + 1) * self.size()]
    }

    /// The images at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            pixels: indices.iter().flat_map(|&i| self.image(i)).copied().collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            ..*self
        }
    }

    /// The first `n`, or all where there are fewer.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        self.range(0, n)
    }

    /// Images `start..end`, as many of them as there are.
    #[must_use]
    pub fn range(&self, start: usize, end: usize) -> Self {
        self.select(&(start.min(self.len())..end.min(self.len())).collect::<Vec<_>>())
    }

    /// The same images under other labels; those without one are left out.
    #[must_use]
    pub fn relabelled(&self, label: impl Fn(usize) -> Option<usize>) -> Self {
        let kept: Vec<_> = (0..self.len()).filter(|&i| label(self.labels[i]).is_some()).collect();
        let mut images = self.select(&kept);
        images.labels = kept.iter().filter_map(|&i| label(self.labels[i])).collect();
        images
    }

    /// The images at `indices` as networks see them, `[n, channels, rows, columns]`, and their labels; with `flip`,
    /// each mirrored or not by a draw.
    pub fn batch(&self, indices: &[usize], mut flip: Option<&mut StdRng>, on: &Device) -> (Tensor<4>, Tensor<1, Int>) {
        let [c, h, w] = self.shape;
        let mut x = Vec::with_capacity(indices.len() * self.size());
        for &i in indices {
            let mirrored = flip.as_mut().is_some_and(|r| r.random());
            for (k, row) in self.image(i).chunks(w).enumerate() {
                let (mean, std) = (self.norm.mean[k / h], self.norm.std[k / h]);
                let seen = row.iter().map(|p| (p - mean) / std);
                if mirrored { x.extend(seen.rev()) } else { x.extend(seen) }
            }
        }
        let x = Tensor::from_data(TensorData::new(x, [indices.len(), c, h, w]), on);
        (x, self.classes(indices, on))
    }

    /// The labels at `indices`.
    #[must_use]
    pub fn classes(&self, indices: &[usize], on: &Device) -> Tensor<1, Int> {
        let labels: Vec<i32> = indices.iter().map(|&i| self.labels[i] as i32).collect();
        Tensor::from_data(TensorData::new(labels, [indices.len()]), on)
    }

    /// Shuffled indices, `size` at a time; a smaller rest is left out unless it is all there is.
    #[must_use]
    pub fn batches(&self, size: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
        let mut indices: Vec<_> = (0..self.len()).collect();
        indices.shuffle(rng);
        indices.chunks(size).filter(|c| c.len() == size || self.len() < size).map(<[usize]>::to_vec).collect()
    }

    /// All indices in order, 100 at a time.
    #[must_use]
    pub fn in_order(&self) -> Vec<Vec<usize>> {
        (0..self.len()).collect::<Vec<_>>().chunks(100).map(<[usize]>::to_vec).collect()
    }

    /// What networks see, `[n, channels, ...]`, back as pixels from 0 to 1.
    pub fn to_pixels(&self, x: Tensor<4>) -> Result<Vec<f32>> {
        let [_, _, h, w] = x.dims();
        let mut values = x.into_data().try_to_vec::<f32>().map_err(|e| anyhow::anyhow!("pixels of a tensor: {e:?}"))?;
        let channels = self.norm.mean.len();
        for (k, plane) in values.chunks_mut(h * w).enumerate() {
            let (mean, std) = (self.norm.mean[k % channels], self.norm.std[k % channels]);
            plane.iter_mut().for_each(|v| *v = (*v * std + mean).clamp(0.0, 1.0));
        }
        Ok(values)
    }
}

/// The bytes of the file `below` the data folder `root`, unpacked where its name ends in `.gz`.
fn read(root: &Path, below: &str) -> Result<Vec<u8>> {
    let path = file(root, below)?;
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    if !below.ends_with(".gz") {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut unpacked)
        .with_context(|| format!("{}: not a whole gzip file", path.display()))?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests;
