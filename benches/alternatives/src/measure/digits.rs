//! MNIST as LeNet takes it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;

use super::data::data_file;

/// Most digits of a file: announced lengths beyond are refused before anything is allocated.
const MOST: usize = 100_000;

/// Pictures of digits with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Digits {
    /// Width and height.
    pub const SIDE: usize = 28;
    /// Pixels of a digit.
    pub const PIXELS: usize = Self::SIDE * Self::SIDE;

    /// The 10,000 test digits below the data folder `data`.
    ///
    /// # Errors
    /// When a file is not there, or is not what it should be; the error names it.
    pub fn test(data: &Path) -> Result<Self> {
        Self::read(data, "t10k")
    }

    /// The 60,000 training digits.
    ///
    /// # Errors
    /// As [`test`](Self::test).
    pub fn train(data: &Path) -> Result<Self> {
        Self::read(data, "train")
    }

    fn read(data: &Path, set: &str) -> Result<Self> {
        let file = |kind: &str| data_file(data, &format!("datasets/mnist/{set}-{kind}-ubyte.gz"));
        let side = Self::SIDE as u32;
        let pixels = idx(&file("images-idx3")?, 0x0803, &[side, side])?;
        let labels = idx(&file("labels-idx1")?, 0x0801, &[])?;
        if pixels.len() != labels.len() * Self::PIXELS || labels.iter().any(|&l| l > 9) {
            bail!("{}: {set} images and labels of MNIST do not fit together", data.display());
        }
        Ok(Self { pixels, labels })
    }

    /// The first `n` of them, or all if there are fewer.
    #[must_use]
    pub fn first(mut self, n: usize) -> Self {
        self.labels.truncate(n);
        self.pixels.truncate(n * Self::PIXELS);
        self
    }

    /// Digits.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Digit `i` as the network's input: `px / 256`.
    ///
    /// # Panics
    /// If there is no such digit.
    #[must_use]
    pub fn input(&self, i: usize) -> Vec<f32> {
        self.pixels[i * Self::PIXELS..][..Self::PIXELS].iter().map(|&p| f32::from(p) / 256.0).collect()
    }

    /// Digit `i` as a picture, 0 to 1.
    ///
    /// # Panics
    /// If there is no such digit.
    #[must_use]
    pub fn picture(&self, i: usize) -> Vec<f32> {
        self.pixels[i * Self::PIXELS..][..Self::PIXELS].iter().map(|&p| f32::from(p) / 255.0).collect()
    }

    /// How many percent of the first digits `answers` are right about.
    #[must_use]
    pub fn percent(&self, answers: &[usize]) -> f64 {
        let right = self.labels.iter().zip(answers).filter(|&(&l, &a)| usize::from(l) == a).count();
        100.0 * right as f64 / answers.len().max(1) as f64
    }
}

/// The bytes of an IDX file with this magic number, whose items have `shape`.
fn idx(path: &Path, magic: u32, shape: &[u32]) -> Result<Vec<u8>> {
    let name = || path.display().to_string();
    let mut file = GzDecoder::new(File::open(path).with_context(name)?);
    let mut word = || {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map(|()| u32::from_be_bytes(bytes))
    };
    let fail = || format!("{}: no IDX file of MNIST", path.display());
    let (found, count) = (word().with_context(fail)?, word().with_context(fail)? as usize);
    let found_shape = shape.iter().map(|_| word()).collect::<Result<Vec<u32>, _>>().with_context(fail)?;
    if found != magic || found_shape != shape || count > MOST {
        bail!(fail());
    }
    let mut bytes = vec![0; count * shape.iter().product::<u32>() as usize];
    file.read_exact(&mut bytes).with_context(|| format!("{}: cut short", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gz(path: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let mut out = GzEncoder::new(File::create(path).expect("made"), Compression::fast());
        out.write_all(bytes).and_then(|()| out.finish().map(drop)).expect("written");
    }

    fn words(words: &[u32], then: &[u8]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).chain(then.iter().copied()).collect()
    }

    #[test]
    fn files_are_read_and_checked() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(format!("datasets/mnist/t10k-{name}-ubyte.gz"));
        let refused = |what: &str| {
            let error = format!("{:#}", Digits::test(folder.path()).expect_err(what));
            assert!(error.contains("datasets/mnist/t10k-") || error.contains("do not fit"), "{what}: {error}");
        };
        refused("nothing is there");
        gz(&file("labels-idx1"), &words(&[0x0801, 2], &[3, 9]));
        refused("no pictures");
        let mut pixels = vec![0; 2 * 784];
        pixels[784] = 255;
        for (what, bytes) in [
            ("wrong magic", words(&[0x0802, 2, 28, 28], &pixels)),
            ("wrong shape", words(&[0x0803, 2, 28, 27], &pixels)),
            ("cut short", words(&[0x0803, 2, 28, 28], &pixels[1..])),
            ("too many", words(&[0x0803, u32::MAX, 28, 28], &pixels)),
            ("one picture", words(&[0x0803, 1, 28, 28], &pixels)),
            ("no head", vec![0; 3]),
        ] {
            gz(&file("images-idx3"), &bytes);
            refused(what);
        }
        gz(&file("images-idx3"), &words(&[0x0803, 2, 28, 28], &pixels));
        let digits = Digits::test(folder.path()).expect("two digits");
        assert_eq!((digits.len(), digits.picture(1)[0], digits.input(1)[0]), (2, 1.0, 255.0 / 256.0));
        assert_eq!((digits.percent(&[3, 1]), digits.first(1).percent(&[3])), (50.0, 100.0));
        gz(&file("labels-idx1"), &words(&[0x0801, 2], &[3, 10]));
        refused("a label that is no digit");
    }
}
