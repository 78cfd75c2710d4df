//! Masking (paper Algorithm 2; PROTOCOL.md, "One inference"): edge B gets `v = x + S_in - R mod 2^k`, edge A expands `R`
//! itself. What comes back is opened in [`unmask`](crate::unmask).

use std::sync::Arc;

use twinmask_gemm::elementwise;
use twinmask_ring::mask as low_bits;
use twinmask_ring::prf::{Algorithm, Key};
use zeroize::{Zeroize, Zeroizing};

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

    #[cfg(test)]
    pub(crate) fn for_tests(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
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
    algorithm: Algorithm,
    seed: SessionSeed,
    last: Option<u64>,
}

impl Masker {
    /// For one session that agreed on `algorithm`; the seed is consumed, so that no second session can use it.
    #[must_use]
    pub const fn new(keys: Arc<DeviceKeys>, algorithm: Algorithm, seed: SessionSeed) -> Self {
        Self { keys, algorithm, seed, last: None }
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
        let r = Key::for_masks(self.algorithm, &self.seed.0, counter);
        let t = Key::for_corrections(self.algorithm, &self.seed.0, counter);
        Ok(InferenceMasks { keys: Arc::clone(&self.keys), r, t, used })
    }
}

/// The masks of one inference, each group's used once.
#[derive(Debug)]
pub struct InferenceMasks {
    pub(crate) keys: Arc<DeviceKeys>,
    r: Key,
    pub(crate) t: Key,
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
        let misfit = |reason: String| MaskError::Input { group, reason };
        if x.len() != planned.len as usize {
            return Err(misfit(format!("{} integers for a tensor of {}", x.len(), planned.len)));
        }
        if self.used[group] {
            return Err(MaskError::GroupUsed(group));
        }
        let k = u32::from(planned.k);
        let keep = low_bits(k);
        let r = Elements(self.r.elements(group as u64, k, x.len()));
        let mut v = vec![0; x.len()];
        let in_range = elementwise::mask(x, self.keys.s_in(group), &r, keep, low, top, &mut v);
        let pending = Pending { group, r, v };
        if !in_range {
            return Err(misfit(format!("an integer is not in [{low}, {top}]")));
        }
        self.used[group] = true;
        Ok(pending)
    }
}

/// A group's shares on their way: edge A's `R` (which A expands itself) and edge B's `v`. Neither cloned nor reused:
/// [`InferenceMasks::open`] consumes it.
pub struct Pending {
    group: usize,
    pub(crate) r: Elements,
    /// Has left the device, so it is not wiped.
    pub(crate) v: Vec<u32>,
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
}

/// Secret elements, wiped when dropped. (`Zeroizing<Vec<u32>>` would wipe them twice, the second time byte by byte.)
pub(crate) struct Elements(pub(crate) Vec<u32>);

impl std::ops::Deref for Elements {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.0
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(group {}, ..)", self.group)
    }
}
