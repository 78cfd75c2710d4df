//! Four classes of CIFAR-10, shared out; and SqueezeNet's features of them.

use anyhow::{Context, Result};
use burn::prelude::*;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use serde_json::{Value, json};

use super::model::{Base, CLASSES, NAME};
use crate::data::{Images, Norm, Part, Weights, cifar};
use crate::nets::SqueezeNet;
use crate::train::Run;

/// Participants.
pub(super) const PEOPLE: usize = 4;
/// Rows and columns that images are enlarged to for SqueezeNet.
const ENLARGED: usize = 96;

/// Who has which images.
pub struct Task {
    /// What the initial model is trained with: the first quarter.
    pub initial: Images,
    /// The rest, disjoint by participant.
    pub shares: Vec<Images>,
    /// Validation.
    pub unseen: Images,
}

impl Task {
    /// Of the run's images, or of the base's features of them.
    ///
    /// # Errors
    /// When the data are missing or wrong.
    pub fn new(run: &Run, base: Base) -> Result<Self> {
        let [known, unseen] = match base {
            Base::Cnn => [images(run, Part::Train)?, images(run, Part::Test)?],
            Base::SqueezeNet => [read(run, Part::Train)?, read(run, Part::Test)?],
        };
        Ok(Self::shared(&known, unseen))
    }

    fn shared(known: &Images, unseen: Images) -> Self {
        let (first, n) = (known.len() / 4, known.len());
        let share = |i: usize| first + (n - first) * i / PEOPLE;
        let shares = (0..PEOPLE).map(|i| known.range(share(i), share(i + 1))).collect();
        Self { initial: known.first(first), shares, unseen }
    }

    /// All training images: what a centralised training has.
    #[must_use]
    pub fn whole(&self) -> Images {
        let mut whole = self.initial.clone();
        for share in &self.shares {
            whole.pixels.extend(&share.pixels);
            whole.labels.extend(&share.labels);
        }
        whole
    }
}

/// The four classes of the budget's images.
pub(super) fn images(run: &Run, part: Part) -> Result<Images> {
    let four = cifar(&run.data, part)?.relabelled(|l| (l < CLASSES).then_some(l));
    Ok(four.first(run.pick(80, 4_000, 4_000)))
}

/// Computes SqueezeNet's features once and keeps them.
pub(super) fn features(run: &Run) -> Result<Value> {
    let on = Device::flex();
    let net = SqueezeNet::stored(&Weights::read(&run.data, "squeezenet1.1")?, &on)?;
    let side = run.pick(48, ENLARGED, 224);
    let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_output_size([side, side]);
    let mut scale = None;
    for part in [Part::Train, Part::Test] {
        let images = images(run, part)?;
        let mut values = Vec::new();
        for indices in images.in_order() {
            let x = interpolate(images.batch(&indices, None, &on).0, options.clone());
            values.extend(net.forward(x).into_data().iter::<f32>());
        }
        // A last layer learns at the rates used here when features are about a quarter.
        let scale = *scale.get_or_insert_with(|| 0.25 / mean_square(&values).sqrt());
        let bytes: Vec<u8> = values.iter().flat_map(|v| (v * scale).to_le_bytes()).collect();
        std::fs::write(path(run, part), bytes).context("features")?;
    }
    Ok(json!({ "side": side }))
}

fn mean_square(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum::<f32>() / values.len().max(1) as f32
}

fn read(run: &Run, part: Part) -> Result<Images> {
    let path = path(run, part);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let features = bytes.chunks_exact(4).filter_map(|b| b.try_into().ok()).map(f32::from_le_bytes).collect();
    let norm = Norm { mean: &[0.0], std: &[1.0] };
    Ok(Images { pixels: features, shape: [1, 1, SqueezeNet::FEATURES], norm, ..images(run, part)? })
}

fn path(run: &Run, part: Part) -> std::path::PathBuf {
    run.stem(NAME, if part == Part::Train { "train.features" } else { "test.features" })
}
