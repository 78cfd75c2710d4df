//! Model zoo: well-known architectures with seeded random weights, written as ONNX files.
//!
//! Weights are He-normal: element pairs by Box-Muller in f64 from a ChaCha20 stream per tensor, so the same seed
//! gives the same file, byte for byte, on every platform.

mod alexnet;
mod builder;
mod facenet;
mod inception;
mod mobilenet;
mod resnet;
mod weights;

use std::io::Write;
use std::path::Path;

use builder::Net;

/// An architecture of the zoo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// AlexNet as in torchvision ("One weird trick", one GPU): 3x224x224, 61.1 M parameters, 714 MMAC.
    AlexNet,
    /// AlexNet as in the paper that twinmask implements: 3x227x227, LRN, ungrouped, 1,135 MMAC.
    AlexNet227,
    /// FaceNet NN1 (arXiv:1503.03832, table 1): 3x220x220, maxout, 128-d unit embedding, 1.6 GMAC.
    FacenetNn1,
    /// FaceNet by David Sandberg, Inception-ResNet-v1: 3x160x160, 512-d embedding, 1,418 MMAC.
    FacenetIrv1,
    /// ResNet-50 v1.5 as in torchvision, BatchNormalization folded: 3x224x224, 4,089 MMAC.
    ResNet50,
    /// MobileNetV2 as in torchvision, BatchNormalization folded: 3x224x224, 301 MMAC.
    MobileNetV2,
    /// VGG-16 as in torchvision: 3x224x224, 138 M parameters, 15.5 GMAC.
    Vgg16,
    /// LeNet as shipped with Caffe: 1x28x28, 2.3 MMAC.
    LeNet,
}

/// All architectures.
pub const ARCHS: [Arch; 8] = [
    Arch::AlexNet,
    Arch::AlexNet227,
    Arch::FacenetNn1,
    Arch::FacenetIrv1,
    Arch::ResNet50,
    Arch::MobileNetV2,
    Arch::Vgg16,
    Arch::LeNet,
];

/// A zoo model cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// No such architecture.
    #[error("there is no architecture '{name}' in the zoo; take one of {}", ARCHS.map(Arch::name).join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The file cannot be created.
    #[error("cannot create '{path}': {source}; check folder, permissions and free space")]
    Create {
        /// The file.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write the model: {0}; check permissions and free space")]
    Write(#[from] rten_onnx::protobuf::ProtobufError),
}

impl Arch {
    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlexNet => "alexnet",
            Self::AlexNet227 => "alexnet227",
            Self::FacenetNn1 => "facenet-nn1",
            Self::FacenetIrv1 => "facenet-irv1",
            Self::ResNet50 => "resnet50",
            Self::MobileNetV2 => "mobilenet-v2",
            Self::Vgg16 => "vgg16",
            Self::LeNet => "lenet",
        }
    }

    fn net(self) -> Net {
        match self {
            Self::AlexNet => alexnet::alexnet(),
            Self::AlexNet227 => alexnet::alexnet227(),
            Self::FacenetNn1 => facenet::nn1(),
            Self::FacenetIrv1 => inception::irv1(),
            Self::ResNet50 => resnet::resnet50(),
            Self::MobileNetV2 => mobilenet::v2(),
            Self::Vgg16 => alexnet::vgg16(),
            Self::LeNet => alexnet::lenet(),
        }
    }
}

impl std::str::FromStr for Arch {
    type Err = ZooError;

    fn from_str(name: &str) -> Result<Self, ZooError> {
        ARCHS.into_iter().find(|a| a.name() == name).ok_or_else(|| ZooError::Unknown { name: name.into() })
    }
}

/// Writes the model to `out` (best a buffered one). Takes the memory of its largest tensor.
///
/// # Errors
/// [`ZooError::Write`] when `out` fails.
pub fn write(arch: Arch, seed: u64, out: impl Write) -> Result<(), ZooError> {
    Ok(arch.net().write(arch.name(), seed, out)?)
}

/// Writes the model to the file `path`.
///
/// # Errors
/// [`ZooError`] when the file cannot be created or written.
pub fn write_file(arch: Arch, seed: u64, path: &Path) -> Result<(), ZooError> {
    let fail = |source| ZooError::Create { path: path.display().to_string(), source };
    let file = std::fs::File::create(path).map_err(fail)?;
    write(arch, seed, std::io::BufWriter::with_capacity(1 << 20, &file))?;
    file.sync_all().map_err(fail)
}

#[cfg(test)]
mod tests;
