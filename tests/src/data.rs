//! Real data, where it is: the folder `TWINMASK_DATA`, by default `../shared/data` beside the workspace.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::binaries;

/// The folder of real data, if it is there.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    let default = || binaries::workspace().join("../shared/data");
    let folder = std::env::var_os("TWINMASK_DATA").map_or_else(default, PathBuf::from);
    folder.join("models").is_dir().then_some(folder)
}

/// The folder of real data for the test `name`; where it is missing, says so and adds a line to
/// `target/skipped-tests.txt`, which `make test` shows at its end.
///
/// # Panics
/// If that file cannot be written.
#[must_use]
pub fn data_or_skip(name: &str) -> Option<PathBuf> {
    let found = data_dir();
    if found.is_none() {
        let line = format!("skipped: {name}: TWINMASK_DATA not there\n");
        eprint!("{line}");
        let list = binaries::target_dir().join("skipped-tests.txt");
        let mut list =
            std::fs::OpenOptions::new().create(true).append(true).open(list).expect("target/ can be written");
        list.write_all(line.as_bytes()).expect("target/ can be written");
    }
    found
}

/// Shape and elements of a float32 .npy file's bytes.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn parse_npy(bytes: &[u8]) -> (Vec<usize>, Vec<f32>) {
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).expect("a text header");
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a shape").0;
    let shape: Vec<usize> = shape.split(',').filter_map(|d| d.trim().parse().ok()).collect();
    let data: Vec<f32> = bytes[start..].as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    assert_eq!(shape.iter().product::<usize>(), data.len(), "{header}");
    (shape, data)
}

/// Rows of a two-dimensional (or stacked) float32 .npy file.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn rows(path: &Path) -> Vec<Vec<f32>> {
    let (shape, data) = parse_npy(&std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    data.chunks_exact(data.len() / shape[0]).map(<[f32]>::to_vec).collect()
}

/// The photos in the order of the reference.
///
/// # Panics
/// If their list cannot be read.
#[must_use]
pub fn photos(data: &Path) -> Vec<PathBuf> {
    let list = std::fs::read_to_string(data.join("reference/photos224.list.txt")).expect("the list of photos");
    list.lines().map(|name| data.join("images/photos224").join(name)).collect()
}

/// Labelled inputs of a network.
pub struct Labelled {
    /// Shape of one input.
    pub shape: [u32; 4],
    /// Preprocessed inputs.
    pub inputs: Vec<Vec<f32>>,
    /// Their classes.
    pub labels: Vec<u8>,
}

/// The first `n` test digits of MNIST, as LeNet takes them.
///
/// # Panics
/// If the files are damaged.
#[must_use]
pub fn mnist(data: &Path, n: usize) -> Labelled {
    let unpack = |name: &str, len: usize| {
        let file = std::fs::File::open(data.join("datasets/mnist").join(name)).expect("MNIST");
        let mut bytes = vec![0; len];
        GzDecoder::new(file).read_exact(&mut bytes).expect("enough digits");
        bytes
    };
    let images = unpack("t10k-images-idx3-ubyte.gz", 16 + 784 * n);
    let labels = unpack("t10k-labels-idx1-ubyte.gz", 8 + n)[8..].to_vec();
    let inputs = images[16..].chunks_exact(784).map(|i| i.iter().map(|&p| f32::from(p) / 256.0).collect()).collect();
    Labelled { shape: [1, 1, 28, 28], inputs, labels }
}

/// The first `n` test images of CIFAR-10, as ResNet-20 takes them.
///
/// # Panics
/// If the file is damaged.
#[must_use]
pub fn cifar(data: &Path, n: usize) -> Labelled {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];
    let bytes = std::fs::read(data.join("datasets/cifar10/test_first1000.bin")).expect("CIFAR-10");
    let records: Vec<&[u8]> = bytes.chunks_exact(3073).take(n).collect();
    assert_eq!(records.len(), n);
    let normalised = |r: &&[u8]| {
        r[1..].iter().enumerate().map(|(i, &p)| (f32::from(p) / 255.0 - MEAN[i / 1024]) / STD[i / 1024]).collect()
    };
    let labels = records.iter().map(|r| r[0]).collect();
    Labelled { shape: [1, 3, 32, 32], inputs: records.iter().map(normalised).collect(), labels }
}

/// The largest element's index.
#[must_use]
pub fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
}
