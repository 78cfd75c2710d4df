//! Data sets and classifiers of the experiment, and how long each budget trains on them.

use anyhow::Result;
use burn::prelude::*;

use crate::data::{Images, Part, Weights, cifar, mnist};
use crate::nets::{Classifier, Cnn, ResNet, Vgg};
use crate::train::Run;

/// A data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Digits.
    Mnist,
    /// CIFAR-10.
    Cifar,
}

impl Set {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mnist, Self::Cifar];

    /// Name in jobs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Cifar => "cifar",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Training and test images of the budget.
    ///
    /// # Errors
    /// When the data are missing or wrong.
    pub fn images(self, run: &Run) -> Result<(Images, Images)> {
        let (known, unseen) = match self {
            Self::Mnist => (mnist(&run.data, Part::Train)?, mnist(&run.data, Part::Test)?),
            Self::Cifar => (cifar(&run.data, Part::Train)?, cifar(&run.data, Part::Test)?),
        };
        Ok((known.first(run.pick(150, 10_000, 60_000)), unseen.first(run.pick(100, 2_000, 10_000))))
    }

    /// Channels of an image.
    #[must_use]
    pub fn channels(self) -> usize {
        self.shape()[0]
    }

    /// Shape of an image.
    #[must_use]
    pub fn shape(self) -> [usize; 3] {
        match self {
            Self::Mnist => [1, 28, 28],
            Self::Cifar => [3, 32, 32],
        }
    }

    /// A mirrored digit is none.
    #[must_use]
    pub fn flips(self) -> bool {
        self == Self::Cifar
    }

    /// The classifiers: two of them one architecture from two seeds. With CIFAR budget `normal` has time for two.
    #[must_use]
    pub fn targets(self, run: &Run) -> Vec<Target> {
        use Target::{Cnn, ResNetA, ResNetB, Stored, Vgg};
        match self {
            Self::Mnist => {
                run.pick(vec![ResNetA, ResNetB], vec![ResNetA, ResNetB, Vgg, Cnn], vec![ResNetA, ResNetB, Vgg, Cnn])
            }
            Self::Cifar => run.pick(vec![Stored], vec![Stored, Vgg], vec![Stored, ResNetA, ResNetB, Vgg]),
        }
    }

    pub(super) fn classifier_epochs(self, run: &Run) -> usize {
        match self {
            Self::Mnist => run.pick(1, 4, 30),
            Self::Cifar => run.pick(1, 20, 100),
        }
    }

    pub(super) fn obfuscator_epochs(self, run: &Run) -> usize {
        match self {
            Self::Mnist => run.pick(1, 3, 100),
            Self::Cifar => run.pick(1, 7, 100),
        }
    }

    /// Epochs of an auto-encoder before the adversary counts. The publication has none; a hundred epochs need none.
    pub(super) fn warm_epochs(self, run: &Run) -> usize {
        match self {
            Self::Mnist => 0,
            Self::Cifar => run.pick(0, 2, 0),
        }
    }

    pub(super) fn attack_epochs(self) -> usize {
        match self {
            Self::Mnist => 3,
            Self::Cifar => 4,
        }
    }
}

/// A classifier that obfuscators are trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The stored ResNet-20 for CIFAR-10.
    Stored,
    /// A ResNet-8.
    ResNetA,
    /// The same from another seed.
    ResNetB,
    /// VGG-like.
    Vgg,
    /// LeNet-like.
    Cnn,
}

impl Target {
    const ALL: [Self; 5] = [Self::Stored, Self::ResNetA, Self::ResNetB, Self::Vgg, Self::Cnn];

    /// Name in jobs and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "resnet20",
            Self::ResNetA => "resnet8a",
            Self::ResNetB => "resnet8b",
            Self::Vgg => "vgg",
            Self::Cnn => "cnn",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Whether it comes trained.
    #[must_use]
    pub fn is_stored(self) -> bool {
        self == Self::Stored
    }

    /// The network before training; the stored one as it is.
    ///
    /// # Errors
    /// When the stored one's file is missing or another one.
    pub fn net(self, set: Set, run: &Run, on: &Device) -> Result<Classifier> {
        let (c, width) = (set.channels(), if set == Set::Mnist { 8 } else { 16 });
        Ok(match self {
            Self::Stored => Classifier::ResNet(ResNet::stored(&Weights::read(&run.data, "resnet20_cifar10")?, on)?),
            Self::ResNetA | Self::ResNetB => Classifier::ResNet(ResNet::new(1, c, width, 10, on)),
            Self::Vgg => Classifier::Vgg(Vgg::new(c, width, 10, on)),
            Self::Cnn => Classifier::Cnn(Cnn::new(set.shape(), 10, on)),
        })
    }
}
