//! Opening what the edges answered (paper Algorithm 3; PROTOCOL.md, "One inference" and "Dropped output bits"):
//!
//! ```text
//! split             y = z_A + z_B - S_out
//! relay             y = z - S_out - T                       z = W·v + z_A + T, from edge B
//! split, f dropped  y = (h_A + h_B)·2^f - S_out + 2^f - 1   |error| <= 2^f - 1
//! relay, f dropped  y = h·2^f - S_out - T + 2^(f-1)         |error| <= 2^(f-1)
//! ```
//! all mod 2^k and centred. Without dropped bits y = W·x exactly, because |W·x| <= M < 2^(k-1).

use twinmask_gemm::elementwise;

use crate::integrity::{Checker, IntegrityError, Share};
use crate::mask::{Elements, InferenceMasks, Pending};

/// What came back for one layer, `[out_len]`.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// Mode `split` (and the fallback of `relay`): both edges' shares.
    Pair {
        /// Edge A's `W·R`.
        z_a: &'a [u32],
        /// Edge B's `W·v`.
        z_b: &'a [u32],
    },
    /// Mode `relay`: edge B's sum `W·v + W·R + T`.
    Sum(&'a [u32]),
}

impl InferenceMasks {
    /// Checks the answers to each layer of the group (in the plan's order) and unmasks them: the integers `W·x` for the
    /// tensor `x` that was masked, exact unless bits were `dropped`.
    ///
    /// # Errors
    /// [`IntegrityError`] when an answer has the wrong length or a check fails; nothing unmasked leaves then.
    ///
    /// # Panics
    /// If there is not one answer per layer of the group.
    pub fn open(
        &self,
        pending: Pending,
        checker: &Checker,
        x: &[i32],
        answers: &[Answer<'_>],
        dropped: bool,
    ) -> Result<Vec<Vec<i32>>, IntegrityError> {
        let plan = &self.keys.plan;
        let layers = &plan.groups[pending.group()].layers;
        assert_eq!(answers.len(), layers.len(), "one answer per layer of the group");
        let open = |(&l, answer): (&u32, &Answer<'_>)| {
            let l = l as usize;
            let f = if dropped { plan.drop_bits(l) } else { 0 };
            let y = self.open_layer(&pending, checker, l, answer, f)?;
            if !dropped {
                checker.check_opened(plan, l, x, &y)?;
            }
            Ok(y)
        };
        layers.iter().zip(answers).map(open).collect()
    }

    fn open_layer(
        &self,
        pending: &Pending,
        checker: &Checker,
        l: usize,
        answer: &Answer<'_>,
        f: u32,
    ) -> Result<Vec<i32>, IntegrityError> {
        let plan = &self.keys.plan;
        let (k, s_out) = (plan.k_of(l), self.keys.s_out(l));
        let n = plan.layers[l].geometry.out_len();
        match *answer {
            Answer::Pair { z_a, z_b } => {
                checker.check_length(plan, l, Share::A, z_a.len(), n)?;
                checker.check_length(plan, l, Share::B, z_b.len(), n)?;
                checker.check_pair(plan, l, f, [(&pending.r, z_a), (&pending.v, z_b)])?;
                let mut y = vec![0; n];
                elementwise::unmask_pair(z_a, z_b, s_out, k, f, &mut y);
                Ok(y)
            }
            Answer::Sum(z) => {
                checker.check_length(plan, l, Share::Sum, z.len(), n)?;
                let t = Elements(self.t.elements(l as u64, k, n));
                checker.check_sum(plan, l, f, pending, z, &t)?;
                let mut y = vec![0; n];
                elementwise::unmask_sum(z, s_out, &t, k, f, &mut y);
                Ok(y)
            }
        }
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
