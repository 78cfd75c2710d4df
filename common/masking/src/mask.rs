//! Masking and unmasking in mode `split` (paper Algorithm 2; PROTOCOL.md, "One inference, mode `split`"):
//!
//! ```text
//! v = x + S_in - R mod 2^k          to edge B; edge A expands R itself
//! y = z_A + z_B - S_out mod 2^k     centred; = W·x exactly, because |W·x| <= M < 2^(k-1)
//! ```

use std::sync::Arc;

use twinmask_ring::prf::{Key, mask_key};
use twinmask_ring::{centre, mask as low_bits};
use zeroize::{Zeroize, Zeroizing};

use crate::integrity::{Answers, Checker, IntegrityError};
use crate::keys::DeviceKeys;
use crate::random;

/// The secret that a session's masks come from: known to the device and edge A, never to edge B.
pub struct SessionSeed(Zeroizing<[u8; 32]>);

impl SessionSeed {
    /// A fresh seed from the operating system.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random::fill(seed.as_mut());
        Self(seed)
    }

    /// The seed's bytes, to be sent to edge A and to nobody else.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SessionSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSeed(..)")
    }
}

/// A fresh random session id, from the operating system.
#[must_use]
pub fn session_id() -> [u8; 16] {
    let mut id = [0; 16];
    random::fill(&mut id);
    id
}

/// A mask was about to be used twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// Counters of one session only go up.
    #[error("counter {counter} is not above {last}: its masks may have been used; open a new session")]
    CounterUsed {
        /// Counter that was asked for.
        counter: u64,
        /// Highest counter begun.
        last: u64,
    },
    /// A group is masked once per inference.
    #[error("group {0} was masked before in this inference")]
    GroupUsed(usize),
    /// A tensor of another length or with integers beyond the group's range.
    #[error("group {group}: {reason}")]
    Input {
        /// Index of the group.
        group: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Makes the masks of one session.
#[derive(Debug)]
pub struct Masker {
    keys: Arc<DeviceKeys>,
    seed: SessionSeed,
    last: Option<u64>,
}

impl Masker {
    /// For one session; the seed is consumed, so that no second session can use it.
    #[must_use]
    pub const fn new(keys: Arc<DeviceKeys>, seed: SessionSeed) -> Self {
        Self { keys, seed, last: None }
    }

    /// The masks of inference `counter`, which edge A has granted. Counters must ascend.
    ///
    /// # Errors
    /// [`MaskError::CounterUsed`] when `counter` is not above every counter before.
    pub fn begin(&mut self, counter: u64) -> Result<InferenceMasks, MaskError> {
        if let Some(last) = self.last.filter(|&last| counter <= last) {
            return Err(MaskError::CounterUsed { counter, last });
        }
        self.last = Some(counter);
        let used = vec![false; self.keys.plan.groups.len()];
        Ok(InferenceMasks { keys: Arc::clone(&self.keys), r: mask_key(&self.seed.0, counter), used })
    }
}

/// The masks of one inference, each group's used once.
#[derive(Debug)]
pub struct InferenceMasks {
    keys: Arc<DeviceKeys>,
    r: Key,
    used: Vec<bool>,
}

impl InferenceMasks {
    /// Masks the quantized tensor `x` of `group`; the result holds edge B's share `v` and what unmasking needs.
    ///
    /// # Errors
    /// [`MaskError::GroupUsed`] the second time; [`MaskError::Input`] when `x` does not fit the group.
    pub fn mask(&mut self, group: usize, x: &[i32]) -> Result<Pending, MaskError> {
        let planned = &self.keys.plan.groups[group];
        let top = twinmask_ring::fixed::x_max(u32::from(planned.x_bits));
        let low = if planned.signed { -top } else { 0 };
        if x.len() != planned.len as usize || x.iter().any(|v| !(low..=top).contains(v)) {
            let reason = format!("{} integers do not fit {} in [{low}, {top}]", x.len(), planned.len);
            return Err(MaskError::Input { group, reason });
        }
        if std::mem::replace(&mut self.used[group], true) {
            return Err(MaskError::GroupUsed(group));
        }
        let k = u32::from(planned.k);
        let mut r = vec![0; x.len()];
        self.r.fill(group as u64, k, &mut r);
        let keep = low_bits(k);
        let masked = x.iter().zip(self.keys.s_in(group)).zip(&r);
        let v = masked.map(|((&x, &s), &r)| (x as u32).wrapping_add(s).wrapping_sub(r) & keep).collect();
        Ok(Pending { group, r, v })
    }
}

/// A group's shares on their way: edge A's `R` (which A expands itself) and edge B's `v`. Neither cloned nor reused:
/// [`open`](Self::open) consumes it.
pub struct Pending {
    group: usize,
    r: Vec<u32>,
    v: Vec<u32>,
}

impl Pending {
    /// Index of the group.
    #[must_use]
    pub const fn group(&self) -> usize {
        self.group
    }

    /// Edge B's share, uniform in `Z_2^k` whatever the data.
    #[must_use]
    pub fn share_b(&self) -> &[u32] {
        &self.v
    }

    /// Edge A's share `R`, uniform and independent of the data.
    #[must_use]
    pub fn share_a(&self) -> &[u32] {
        &self.r
    }

    /// Checks the answers of each layer of the group (in the plan's order) and unmasks them: exact integers `W·x` for
    /// the tensor `x` that was masked.
    ///
    /// # Errors
    /// [`IntegrityError`] when an answer has the wrong length or a check fails; nothing unmasked leaves then.
    pub fn open(
        self,
        keys: &DeviceKeys,
        checker: &Checker,
        x: &[i32],
        answers: &[Answers<'_>],
    ) -> Result<Vec<Vec<i32>>, IntegrityError> {
        let group = &keys.plan.groups[self.group];
        assert_eq!(answers.len(), group.layers.len(), "one pair of answers per layer of the group");
        let k = u32::from(group.k);
        for (&l, answer) in group.layers.iter().zip(answers) {
            checker.check_layer(&keys.plan, l as usize, &self.r, &self.v, answer)?;
        }
        let unmask = |(&l, answer): (&u32, &Answers<'_>)| {
            let masked = answer.z_a.iter().zip(answer.z_b).zip(keys.s_out(l as usize));
            let y: Vec<i32> = masked.map(|((&a, &b), &s)| centre(a.wrapping_add(b).wrapping_sub(s), k)).collect();
            checker.check_opened(&keys.plan, l as usize, x, &y).map(|()| y)
        };
        group.layers.iter().zip(answers).map(unmask).collect()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.r.zeroize();
        self.v.zeroize();
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(group {}, ..)", self.group)
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
