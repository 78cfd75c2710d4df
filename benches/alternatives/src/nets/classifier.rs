//! Any of the classifiers.

use burn::prelude::*;

use super::{Cnn, ResNet, Vgg};
use crate::export::{Graph, Value};

/// A network that gives logits.
#[derive(Module, Debug)]
pub enum Classifier {
    /// Residual.
    ResNet(ResNet),
    /// Plain, deep.
    Vgg(Vgg),
    /// Plain, shallow.
    Cnn(Cnn),
}

impl Classifier {
    /// Logits `[n, classes]` of images `[n, channels, h, w]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        match self {
            Self::ResNet(net) => net.forward(x),
            Self::Vgg(net) => net.forward(x),
            Self::Cnn(net) => net.forward(x),
        }
    }

    /// Its nodes in `g`; gives the logits.
    pub fn describe(&self, g: &mut Graph, x: &Value) -> Value {
        match self {
            Self::ResNet(net) => net.describe(g, x),
            Self::Vgg(net) => net.describe(g, x),
            Self::Cnn(net) => net.describe(g, x),
        }
    }
}
