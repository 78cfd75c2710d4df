//! What participants train: a small network from scratch, all layers, or the last layer on a frozen base.

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Gradients;
use burn::tensor::activation::tanh;

use crate::nets::SqueezeNet;

/// Name of the experiment.
pub const NAME: &str = "gradients";

/// Airplane, automobile, bird, cat: CIFAR-10's first four.
pub(super) const CLASSES: usize = 4;

/// Where training starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// A network from scratch, all layers trained.
    Cnn,
    /// SqueezeNet 1.1, frozen; a new last layer.
    SqueezeNet,
}

impl Base {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SqueezeNet, Self::Cnn];

    /// Name in jobs and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::SqueezeNet => "squeezenet",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.name() == name)
    }
}

/// What is trained, and shared.
#[derive(Module, Debug)]
pub enum Model {
    /// Of [`Base::Cnn`].
    Cnn(Tanh),
    /// Of [`Base::SqueezeNet`].
    Last(Linear),
}

impl Model {
    /// Before training.
    #[must_use]
    pub fn new(base: Base, on: &Device) -> Self {
        match base {
            Base::Cnn => Self::Cnn(Tanh::new(on)),
            Base::SqueezeNet => Self::Last(LinearConfig::new(SqueezeNet::FEATURES, CLASSES).init(on)),
        }
    }

    /// Logits `[n, 4]` of images `[n, 3, 32, 32]`, or of features `[n, 1, 1, 512]`.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        match self {
            Self::Cnn(net) => net.forward(x),
            Self::Last(last) => last.forward(x.flatten(1, 3)),
        }
    }
}

/// Strides of the three convolutions.
pub(super) const STRIDES: [usize; 3] = [2, 2, 1];
pub(super) const KERNEL: usize = 5;

/// Three 5x5 convolutions with tanh and a linear layer, without biases: its gradients can be written as tensor
/// operations.
#[derive(Module, Debug)]
pub struct Tanh {
    /// `[16, 3, 5, 5]`, `[24, 16, 5, 5]`, `[24, 24, 5, 5]`.
    pub convs: Vec<Conv2d>,
    /// `[1536, 4]`.
    pub last: Linear,
}

impl Tanh {
    fn new(on: &Device) -> Self {
        let widths = [3, 16, 24, 24];
        let conv = |i: usize| {
            Conv2dConfig::new([widths[i], widths[i + 1]], [KERNEL, KERNEL])
                .with_stride([STRIDES[i]; 2])
                .with_padding(PaddingConfig2d::Explicit(2, 2, 2, 2))
                .with_bias(false)
                .init(on)
        };
        let last = LinearConfig::new(24 * 8 * 8, CLASSES).with_bias(false).init(on);
        Self { convs: (0..3).map(conv).collect(), last }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.convs.iter().fold(x, |x, conv| tanh(conv.forward(x)));
        self.last.forward(x.flatten(1, 3))
    }
}

/// All parameters in a row, in the order of the module.
#[must_use]
pub(super) fn flat<M: Module>(net: &M) -> Vec<f32> {
    let mut collect = Collect { gradients: None, values: vec![] };
    net.visit(&mut collect);
    collect.values
}

/// All gradients in a row; zeros for what has none.
#[must_use]
pub(super) fn flat_gradients<M: Module>(net: &M, gradients: Gradients) -> Vec<f32> {
    let mut collect = Collect { gradients: Some(GradientsParams::from_grads(gradients, net)), values: vec![] };
    net.visit(&mut collect);
    collect.values
}

/// `net`, on a device that differentiates, with `delta` added to its parameters.
#[must_use]
pub(super) fn moved<M: Module>(net: M, delta: &[f32]) -> M {
    net.map(&mut Move { delta, at: 0 })
}

struct Collect {
    gradients: Option<GradientsParams>,
    values: Vec<f32>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match &self.gradients {
            None => self.values.extend(param.val().into_data().iter::<f32>()),
            Some(gradients) => match gradients.get::<D>(param.id) {
                Some(gradient) => self.values.extend(gradient.into_data().iter::<f32>()),
                None => self.values.extend(vec![0.0; param.shape().num_elements()]),
            },
        }
    }
}

struct Move<'a> {
    delta: &'a [f32],
    at: usize,
}

impl ModuleMapper for Move<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.shape();
        let end = self.at + shape.num_elements();
        let delta = TensorData::new(self.delta[self.at..end].to_vec(), shape);
        self.at = end;
        param.map(|value| {
            let tracked = value.is_require_grad();
            let value = value.inner();
            let delta = Tensor::from_data(delta, &value.device());
            Tensor::from_inner(value + delta).set_require_grad(tracked)
        })
    }
}
