//! MNIST in its IDX format.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Images, Norm, Part, read};

const NORM: Norm = Norm { mean: &[0.1307], std: &[0.3081] };

/// The 60,000 training or 10,000 test digits of the data folder `root`, 28x28.
///
/// # Errors
/// When a file is missing or is not in that format; the error names it.
pub fn mnist(root: &Path, part: Part) -> Result<Images> {
    let name = match part {
        Part::Train => "train",
        Part::Test => "t10k",
    };
    let file = |what: &str| format!("datasets/mnist/{name}-{what}-ubyte.gz");
    let (images, labels) = (file("images-idx3"), file("labels-idx1"));
    let (x, count) = idx(&read(root, &images)?, 2051, 28 * 28, &root.join(&images))?;
    let (y, labelled) = idx(&read(root, &labels)?, 2049, 1, &root.join(&labels))?;
    ensure!(count == labelled, "{}: {labelled} labels for {count} images", root.join(&labels).display());
    ensure!(y.iter().all(|&l| l < 10), "{}: a label above 9", root.join(&labels).display());
    Ok(Images {
        pixels: x.iter().map(|&p| f32::from(p) / 255.0).collect(),
        labels: y.into_iter().map(usize::from).collect(),
        shape: [1, 28, 28],
        norm: NORM,
    })
}

/// The values of an IDX file of bytes with the given magic number and bytes an item, and how many items.
fn idx(bytes: &[u8], magic: u32, item: usize, path: &Path) -> Result<(Vec<u8>, usize)> {
    let word = |i: usize| bytes.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    let header = if item == 1 { 8 } else { 16 };
    let count = word(1).unwrap_or(0) as usize;
    let sides = item == 1 || (word(2), word(3)) == (Some(28), Some(28));
    let whole = word(0) == Some(magic) && count > 0 && sides && bytes.len() == header + count * item;
    ensure!(whole, "{}: not a whole IDX file of MNIST (magic {magic})", path.display());
    Ok((bytes[header..].to_vec(), count))
}
