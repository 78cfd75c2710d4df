//! CIFAR-10 in its binary format: one byte of label, then 32x32 red, green and blue.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Images, Norm, Part, read};

/// What the stored ResNet-20 was trained with (ImageNet's).
const NORM: Norm = Norm { mean: &[0.485, 0.456, 0.406], std: &[0.229, 0.224, 0.225] };
const RECORD: usize = 1 + 3 * 32 * 32;

/// The 4,000 training or 1,000 test images of the data folder `root`; classes 0 to 9 are airplane, automobile, bird,
/// cat, deer, dog, frog, horse, ship, truck.
///
/// # Errors
/// When the file is missing or is not in that format; the error names it.
pub fn cifar(root: &Path, part: Part) -> Result<Images> {
    let file = match part {
        Part::Train => "datasets/cifar10/train_first4000.bin.gz",
        Part::Test => "datasets/cifar10/test_first1000.bin",
    };
    parse(&read(root, file)?, &root.join(file))
}

fn parse(bytes: &[u8], path: &Path) -> Result<Images> {
    let whole = !bytes.is_empty() && bytes.len().is_multiple_of(RECORD);
    let labelled = bytes.chunks(RECORD).all(|r| r[0] < 10);
    ensure!(whole && labelled, "{}: not CIFAR-10's binary format (records of {RECORD} bytes)", path.display());
    let records = || bytes.chunks(RECORD);
    Ok(Images {
        pixels: records().flat_map(|r| &r[1..]).map(|&p| f32::from(p) / 255.0).collect(),
        labels: records().map(|r| usize::from(r[0])).collect(),
        shape: [3, 32, 32],
        norm: NORM,
    })
}
