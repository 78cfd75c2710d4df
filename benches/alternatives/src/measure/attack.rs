//! The attack on what an edge gets of pictures: the fresh attacker of [`linear`](super::linear), and a picture of what
//! it made of it.

use std::path::Path;

use anyhow::{Result, bail};
use twinmask_ring::{centre, mask};

use super::digits::Digits;
use super::linear::{Attacker, Seen};
use crate::attack::Quality;
use crate::report;
use crate::results::{Cell, Column, Row};

/// Pictures shown.
const SHOWN: usize = 8;
/// Of the pictures, one in so many judges the attacker.
const JUDGING: usize = 5;

/// What came of it.
pub struct Attacked {
    score: Quality,
    /// The attacker that always shows the mean picture.
    mean: Quality,
    strength: Option<f64>,
    trained_on: usize,
    judged_on: usize,
}

/// Attacks `sent[i]`, elements of a ring of `k` bits, which stand for the digit `i` of `digits`; writes originals, what
/// was sent and what was rebuilt to `path`.
///
/// # Errors
/// When there are too few, or the picture cannot be written.
pub fn run(sent: &[Vec<u32>], k: u32, digits: &Digits, path: &Path) -> Result<Attacked> {
    let judged_on = sent.len() / JUDGING;
    let trained_on = sent.len() - judged_on;
    if judged_on == 0 || sent.len() > digits.len() {
        bail!("{} sent tensors of {} pictures are not to be attacked", sent.len(), digits.len());
    }
    let ring = f64::from(mask(k)) + 1.0;
    let features: Vec<Vec<f64>> =
        sent.iter().map(|v| v.iter().map(|&e| f64::from(centre(e, k)) / ring).collect()).collect();
    let pictures: Vec<Vec<f32>> = (0..sent.len()).map(|i| digits.picture(i)).collect();
    let seen = Seen::of(&features[..trained_on], &pictures[..trained_on]);
    let others = Seen::of(&features[trained_on..], &pictures[trained_on..]);
    let attacker = Attacker::train(&seen);
    let nothing = vec![vec![0.0]; sent.len()];
    let ignorant = Attacker::train(&Seen::of(&nothing[..trained_on], &pictures[..trained_on]));
    let mean = ignorant.judge(&Seen::of(&nothing[trained_on..], &pictures[trained_on..]), Digits::SHAPE);
    let shown = trained_on..(trained_on + SHOWN).min(sent.len());
    let originals = pictures[shown.clone()].concat();
    let arrived: Vec<f32> = sent[shown.clone()].iter().flatten().map(|&e| e as f32 / mask(k) as f32).collect();
    let rebuilt: Vec<f32> = shown.flat_map(|i| attacker.rebuild(others.sent.row(i - trained_on))).collect();
    report::grid(path, Digits::SHAPE, &[&originals, &arrived, &rebuilt])?;
    let score = attacker.judge(&others, Digits::SHAPE);
    Ok(Attacked { score, mean, strength: attacker.strength, trained_on, judged_on })
}

impl Attacked {
    /// The row with the columns of the attack.
    #[must_use]
    pub fn into_row(self, row: Row, file: &str) -> Row {
        let round = |v: f64| (v * 1000.0).round() / 1000.0;
        let strength = match self.strength {
            None => "no strength beats the mean picture".to_owned(),
            Some(s) => format!("strength {s} chosen"),
        };
        let how = format!(
            "ridge regression on {} pictures with what the edge got of them, judged on {} others ({strength}); the \
             mean picture alone gives {:.2} dB, SSIM {:.3}",
            self.trained_on, self.judged_on, self.mean.psnr_db, self.mean.ssim
        );
        row.with(Column::AttackPicture, Cell::measured("original, as sent, rebuilt").picture(file))
            .with(Column::AttackPsnrDb, Cell::measured(round(self.score.psnr_db)))
            .with(Column::AttackSsim, Cell::measured(round(self.score.ssim)))
            .with(Column::AttackHow, Cell::measured(how))
    }
}
