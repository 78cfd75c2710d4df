//! Opening what the edges answered (paper Algorithm 3; PROTOCOL.md, "One inference" and "Dropped output bits"):
//!
//! ```text
//! split             y = z_A + z_B - S_out - T                   z_A = W·R + T, z_B = W·v
//! relay             y = z - S_out - T                           z = W·v + W·R + T, from edge B
//! split, f dropped  y = (h_A + h_B)·2^f - S_out - T + 2^f - 1   |error| <= 2^f - 1
//! relay, f dropped  y = h·2^f - S_out - T + 2^(f-1)             |error| <= 2^(f-1)
//! ```
//! all mod 2^k and centred. Without dropped bits y = W·x exactly, because |W·x| <= M < 2^(k-1). T is for whoever reads
//! all links: W·R and W·v together are W·x + S_out.

use twinmask_codec::LayerId;
use twinmask_kernels::elementwise;

use crate::freivalds::{Left, Running};
use crate::integrity::{Checker, IntegrityError, Sampled, Shares};
use crate::mask::{InferenceMasks, Pending};
use crate::wiped::Wiped;

/// The next elements of what came back for one layer.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// Mode `split` (and the fallback of `relay`): both edges' shares.
    Pair {
        /// Edge A's `W·R + T`.
        z_a: &'a [u32],
        /// Edge B's `W·v`.
        z_b: &'a [u32],
    },
    /// Mode `relay`: edge B's sum `W·v + W·R + T`.
    Sum(&'a [u32]),
}

impl InferenceMasks {
    /// Begins to open the answer to layer `i` of the group of `pending`.
    ///
    /// # Panics
    /// If the group has no layer `i`.
    #[must_use]
    pub fn open<'a>(&'a self, pending: &'a Pending, checker: &'a Checker, i: usize, dropped: bool) -> Opening<'a> {
        let plan = &self.keys.plan;
        let l = plan.group(pending.group).layers()[i];
        let out_len = plan.layer(l).geometry().out_len();
        Opening {
            masks: self,
            pending,
            checker,
            l,
            k: plan.k_of(l),
            f: if dropped { plan.drop_bits(l) } else { 0 },
            sum: None,
            left: if dropped { None } else { checker.left(l).map(|left| (left, &pending.right[i])) },
            kept: (checker.integrity().samples > 0)
                .then(|| Kept { y: Wiped(Vec::with_capacity(out_len)), z_a: Vec::new() }),
            at: 0,
        }
    }
}

/// One layer's answer while it is opened, piece by piece. The checks stand at the end: until [`finish`](Self::finish)
/// has found nothing, nothing that was opened may be used.
pub struct Opening<'a> {
    masks: &'a InferenceMasks,
    pending: &'a Pending,
    checker: &'a Checker,
    l: LayerId,
    k: u32,
    f: u32,
    /// `S_out + T`, unless it was expanded ahead.
    sum: Option<Wiped<u32>>,
    left: Option<(Left<'a>, &'a Running)>,
    kept: Option<Kept>,
    at: usize,
}

/// What spot checks look at.
struct Kept {
    y: Wiped<i32>,
    /// Edge A's answer, if it is known by itself. It is masked.
    z_a: Vec<u32>,
}

impl Opening<'_> {
    /// Opens the next elements of the answer: the integers `W·x` into `y`, exact unless bits were dropped. Slices of
    /// one length.
    ///
    /// # Panics
    /// If the answer is longer than the layer's output.
    pub fn push(&mut self, answer: Answer<'_>, y: &mut [i32]) {
        let (k, f, masks) = (self.k, self.f, self.masks);
        let sum = match masks.sums.get(&self.l) {
            Some(ahead) => ahead,
            None => self.sum.get_or_insert_with(|| masks.sum(self.l, &mut Vec::new())),
        };
        let sum = &sum.0[self.at..][..y.len()];
        match answer {
            Answer::Pair { z_a, z_b } => elementwise::unmask_pair(z_a, z_b, sum, k, f, y),
            Answer::Sum(z) => elementwise::unmask_sum(z, sum, k, f, y),
        }
        if let Some((left, _)) = &mut self.left {
            left.push(y);
        }
        if let Some(kept) = &mut self.kept {
            kept.y.0.extend_from_slice(y);
            if let Answer::Pair { z_a, .. } = answer {
                kept.z_a.extend_from_slice(z_a);
            }
        }
        self.at += y.len();
    }

    /// Checks the whole answer.
    ///
    /// # Errors
    /// [`IntegrityError`] when a check fails.
    ///
    /// # Panics
    /// If elements are missing.
    pub fn finish(self) -> Result<(), IntegrityError> {
        let (masks, l, f) = (self.masks, self.l, self.f);
        let plan = &masks.keys.plan;
        assert_eq!(self.at, plan.layer(l).geometry().out_len(), "all of the answer is opened");
        if let Some(Kept { y, z_a }) = &self.kept {
            let sampled = Sampled { plan, l, f, x: &self.pending.x.0, y: &y.0 };
            match masks.sums.get(&l).or(self.sum.as_ref()) {
                Some(sum) if !z_a.is_empty() => {
                    let r = Wiped(masks.r.elements(self.pending.group.into(), self.k, self.pending.x.0.len()));
                    let shares = Shares { r: &r.0, z_a, s_out: masks.keys.s_out(l), sum: &sum.0 };
                    self.checker.check_pair(&sampled, &shares)?;
                }
                _ => self.checker.check_sum(&sampled)?,
            }
        }
        match self.left {
            Some((left, right)) if !left.holds(right) => {
                Err(IntegrityError::Freivalds { layer: plan.layer(l).name().into() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
