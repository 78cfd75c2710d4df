//! What the networks decide.

use anyhow::Result;

use crate::data::{Images, Part, cifar, mnist};
use crate::train::Run;

/// A decision about images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// CIFAR-10: animal or vehicle.
    Animals,
    /// MNIST: even or odd.
    Parity,
    /// MNIST: which digit.
    Digits,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Animals, Self::Parity, Self::Digits];

    /// Name in jobs and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Animals => "animals",
            Self::Parity => "parity",
            Self::Digits => "digits",
        }
    }

    /// How many answers there are.
    #[must_use]
    pub fn classes(self) -> usize {
        if self == Self::Digits { 10 } else { 2 }
    }

    /// Whether mirrored images are of the same kind.
    #[must_use]
    pub fn flips(self) -> bool {
        self == Self::Animals
    }

    /// The label of class `class` of its data set.
    #[must_use]
    pub fn label(self, class: usize) -> usize {
        match self {
            Self::Animals => usize::from((2..8).contains(&class)),
            Self::Parity => class % 2,
            Self::Digits => class,
        }
    }

    /// Training and test images of the budget, labelled.
    ///
    /// # Errors
    /// When the data are missing or wrong.
    pub fn images(self, run: &Run) -> Result<(Images, Images)> {
        let read = |part| if self == Self::Animals { cifar(&run.data, part) } else { mnist(&run.data, part) };
        let known = read(Part::Train)?.first(run.pick(200, 10_000, 60_000));
        let unseen = read(Part::Test)?.first(run.pick(100, 2_000, 10_000));
        let label = |images: Images| images.relabelled(|class| Some(self.label(class)));
        Ok((label(known), label(unseen)))
    }

    /// Epochs of each network, plain or not.
    #[must_use]
    pub fn epochs(self, run: &Run) -> usize {
        match self {
            Self::Animals => run.pick(1, 12, 100),
            Self::Parity | Self::Digits => run.pick(1, 4, 40),
        }
    }
}
