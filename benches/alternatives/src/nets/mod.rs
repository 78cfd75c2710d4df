//! Networks: classifiers, the obfuscator, attackers. Each describes itself as a [`Graph`](crate::export::Graph),
//! which counts its work and becomes its ONNX file.

mod classifier;
mod cnn;
mod decoder;
mod layers;
mod obfuscator;
mod resnet;
mod squeezenet;
mod vgg;

pub use classifier::Classifier;
pub use cnn::Cnn;
pub use decoder::Decoder;
pub use layers::{ConvBn, conv, lrelu, upsample};
pub use obfuscator::Obfuscator;
pub use resnet::ResNet;
pub use squeezenet::SqueezeNet;
pub use vgg::Vgg;

#[cfg(test)]
mod tests;
