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

use std::ops::Range;
use std::sync::Arc;

use twinmask_codec::LayerId;
use twinmask_kernels::elementwise;

use crate::freivalds::Left;
use crate::integrity::{Checker, IntegrityError, Sampled, Shares};
use crate::keys::DeviceKeys;
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

impl Answer<'_> {
    fn part(&self, range: Range<usize>) -> Self {
        match self {
            Self::Pair { z_a, z_b } => Self::Pair { z_a: &z_a[range.clone()], z_b: &z_b[range] },
            Self::Sum(z) => Self::Sum(&z[range]),
        }
    }
}

impl InferenceMasks {
    /// Begins to open the answer to layer `l`.
    #[must_use]
    pub fn open<'a>(&mut self, l: LayerId, checker: &'a Checker, dropped: bool) -> Opening<'a> {
        let keys = Arc::clone(&self.keys);
        let kept = if checker.integrity().samples > 0 { keys.plan.answer_part(l).len } else { 0 };
        Opening {
            checker,
            l,
            k: keys.plan.k_of(l),
            f: if dropped { keys.plan.drop_bits(l) } else { 0 },
            sum: self.sum(l),
            left: if dropped { None } else { checker.left(l) },
            y: Wiped(vec![0; kept]),
            z_a: Vec::new(),
            at: 0,
            keys,
        }
    }
}

/// One layer's answer while it is opened, piece by piece, in the order in which it travels. The checks stand at the
/// end: until [`finish`](Self::finish) has found nothing, nothing that was opened may be used.
pub struct Opening<'a> {
    keys: Arc<DeviceKeys>,
    checker: &'a Checker,
    l: LayerId,
    k: u32,
    f: u32,
    /// `S_out + T`.
    sum: Wiped<u32>,
    left: Option<Left<'a>>,
    /// What spot checks look at: all of it, or nothing.
    y: Wiped<i32>,
    /// Edge A's answer, if it is known by itself. It is masked.
    z_a: Vec<u32>,
    /// Place that comes next.
    at: usize,
}

impl Opening<'_> {
    /// Opens the next elements of the answer: the integers `W·x` into `y`, exact unless bits were dropped. Slices of
    /// one length.
    ///
    /// # Panics
    /// If the answer is longer than the layer's output.
    pub fn push(&mut self, answer: Answer<'_>, y: &mut [i32]) {
        let keys = Arc::clone(&self.keys);
        let mut from = 0;
        for run in keys.plan.output_order(self.l).runs(self.at..self.at + y.len()) {
            let to = from + run.len();
            self.push_run(run, answer.part(from..to), &mut y[from..to]);
            from = to;
        }
        self.at += y.len();
    }

    fn push_run(&mut self, run: Range<usize>, answer: Answer<'_>, y: &mut [i32]) {
        let (k, f, sum) = (self.k, self.f, &self.sum.0[run.clone()]);
        match answer {
            Answer::Pair { z_a, z_b } => elementwise::unmask_pair(z_a, z_b, sum, k, f, y),
            Answer::Sum(z) => elementwise::unmask_sum(z, sum, k, f, y),
        }
        if let Some(left) = &mut self.left {
            left.push(run.start, y);
        }
        if !self.y.0.is_empty() {
            self.y.0[run.clone()].copy_from_slice(y);
            if let Answer::Pair { z_a, .. } = answer {
                self.z_a.resize(self.y.0.len(), 0);
                self.z_a[run].copy_from_slice(z_a);
            }
        }
    }

    /// Checks the whole answer to what is `pending`, under the `masks` that it was opened with.
    ///
    /// # Errors
    /// [`IntegrityError`] when a check fails.
    ///
    /// # Panics
    /// If elements are missing, or the answer is not one to what is pending.
    pub fn finish(self, masks: &mut InferenceMasks, pending: &Pending) -> Result<(), IntegrityError> {
        let (plan, l, f) = (&self.keys.plan, self.l, self.f);
        assert_eq!(self.at, plan.answer_part(l).len, "all of the answer is opened");
        if !self.y.0.is_empty() {
            let sampled = Sampled { plan, l, f, x: &pending.x.0, y: &self.y.0 };
            if self.z_a.is_empty() {
                self.checker.check_sum(&sampled)?;
            } else {
                let r = Wiped(masks.r.elements(pending.group.into(), self.k, pending.x.0.len()));
                let shares = Shares { r: &r.0, z_a: &self.z_a, s_out: self.keys.s_out(l), sum: &self.sum.0 };
                self.checker.check_pair(&sampled, &shares)?;
            }
        }
        masks.spare.push(self.sum);
        let i = plan.group(pending.group).layers().iter().position(|&of| of == l).expect("a layer of the group");
        match self.left {
            Some(left) if !left.holds(&pending.right[i]) => {
                Err(IntegrityError::Freivalds { layer: plan.layer(l).name().into() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
