//! Masking (paper Algorithm 2; PROTOCOL.md, "One inference"): edge B gets `v = x + S_in - R mod 2^k`, edge A expands
//! `R` itself. What comes back is opened in [`unmask`](crate::unmask).

use std::collections::BTreeMap;
use std::sync::Arc;

use twinmask_codec::{Counter, GroupId, LayerId};
use twinmask_kernels::elementwise;
use twinmask_ring::keys::{MaskKey, SessionKeys};
use twinmask_ring::prf::{Algorithm, Key};
use twinmask_ring::{mask as low_bits, pack};
use zeroize::Zeroizing;

use crate::freivalds::Running;
use crate::integrity::Checker;
use crate::keys::DeviceKeys;
use crate::random;
use crate::wiped::Wiped;

/// Elements that are masked or opened at a time, in the fastest cache: a multiple of 8, so that they pack into whole
/// bytes.
pub const PIECE: usize = elementwise::MOST_TERMS;

/// The device's part of what a session's masks come from: known to it and edge A, never to edge B.
pub struct SessionSeed(Zeroizing<[u8; 32]>);

impl SessionSeed {
    /// A fresh seed from the operating system.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random::fill(seed.as_mut());
        Self(seed)
    }

    /// The keys of the session that this seed was sent for. It is consumed, so that no second session can use it.
    #[must_use]
    pub fn keys(self, key: &MaskKey, nonce: &[u8; 32]) -> SessionKeys {
        SessionKeys::new(key, &self.0, nonce)
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

/// A mask was about to be used twice, or for what it does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// Counters of one session only go up.
    #[error("counter {counter} is not above {last}: its masks may have been used; open a new session")]
    CounterUsed {
        /// Counter that was asked for.
        counter: Counter,
        /// Highest counter begun.
        last: Counter,
    },
    /// A group is masked once per inference.
    #[error("group {0} was masked before in this inference")]
    GroupUsed(GroupId),
    /// A tensor of another length or with integers beyond the group's range.
    #[error("group {group}: {misfit}")]
    Input {
        /// The group.
        group: GroupId,
        /// What is wrong.
        misfit: Misfit,
    },
}

/// How a tensor does not fit its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// A piece beyond the tensor's end, or behind one that did not fill whole bytes.
    #[error("{more} integers more at {at} of a tensor of {len}")]
    Piece {
        /// Integers of the piece.
        more: usize,
        /// Integers before it.
        at: usize,
        /// Integers of the group's tensor.
        len: usize,
    },
    /// An integer that the group's bits cannot hold.
    #[error("an integer is not in [{low}, {high}]")]
    Range {
        /// Least integer.
        low: i32,
        /// Largest integer.
        high: i32,
    },
    /// Integers are missing at the end.
    #[error("{at} integers for a tensor of {len}")]
    Short {
        /// Integers that came.
        at: usize,
        /// Integers of the group's tensor.
        len: usize,
    },
}

/// Makes the masks of one session.
#[derive(Debug)]
pub struct Masker {
    keys: Arc<DeviceKeys>,
    algorithm: Algorithm,
    session: SessionKeys,
    last: Option<Counter>,
}

impl Masker {
    /// For one session that agreed on `algorithm`; its keys are consumed.
    #[must_use]
    pub const fn new(keys: Arc<DeviceKeys>, algorithm: Algorithm, session: SessionKeys) -> Self {
        Self { keys, algorithm, session, last: None }
    }

    /// The masks of inference `counter`, which edge A has granted. Counters must ascend.
    ///
    /// # Errors
    /// [`MaskError::CounterUsed`] when `counter` is not above every counter before.
    pub fn begin(&mut self, counter: Counter) -> Result<InferenceMasks, MaskError> {
        if let Some(last) = self.last.filter(|&last| counter <= last) {
            return Err(MaskError::CounterUsed { counter, last });
        }
        self.last = Some(counter);
        let used = vec![false; self.keys.plan.groups().len()];
        let r = self.session.masks(self.algorithm, counter.get());
        let t = self.session.answers(self.algorithm, counter.get());
        let (keys, differences) = (Arc::clone(&self.keys), BTreeMap::new());
        Ok(InferenceMasks { keys, r, t, used, differences, spare: Vec::new(), spare_x: Vec::new() })
    }
}

/// The masks of one inference, each group's used once.
#[derive(Debug)]
pub struct InferenceMasks {
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) r: Key,
    pub(crate) t: Key,
    used: Vec<bool>,
    /// `S_in - R` by group, as far as expanded ahead.
    differences: BTreeMap<GroupId, Wiped<u32>>,
    pub(crate) spare: Vec<Wiped<u32>>,
    spare_x: Vec<Wiped<i16>>,
}

impl InferenceMasks {
    /// Expands the masks of `groups` while there is nothing else to do: what comes next then takes less time.
    pub fn expand_ahead(&mut self, groups: &[GroupId]) {
        for &g in groups {
            if !self.used[g.index()] {
                let difference = self.difference(g);
                self.differences.insert(g, difference);
            }
        }
    }

    /// `S_in - R` of a group.
    fn difference(&mut self, g: GroupId) -> Wiped<u32> {
        let s_in = self.keys.s_in(g);
        let mut difference = Wiped::of(&mut self.spare, s_in.len());
        self.r.fill(g.into(), self.keys.plan.group(g).k(), &mut difference.0);
        elementwise::subtract_from(s_in, &mut difference.0);
        difference
    }

    /// `S_out + T` of layer `l`.
    pub(crate) fn sum(&mut self, l: LayerId) -> Wiped<u32> {
        let s_out = self.keys.s_out(l);
        let mut sum = Wiped::of(&mut self.spare, s_out.len());
        self.t.fill(l.into(), self.keys.plan.k_of(l), &mut sum.0);
        elementwise::add_to(s_out, &mut sum.0);
        sum
    }

    /// Begins to mask the tensor of `group`; what `checker` needs of it for the answers is taken on the way.
    ///
    /// # Errors
    /// [`MaskError::GroupUsed`] the second time.
    pub fn mask<'a>(&mut self, group: GroupId, checker: &'a Checker) -> Result<Masking<'a>, MaskError> {
        if std::mem::replace(&mut self.used[group.index()], true) {
            return Err(MaskError::GroupUsed(group));
        }
        let difference = self.differences.remove(&group).unwrap_or_else(|| self.difference(group));
        let planned = self.keys.plan.group(group);
        let high = twinmask_ring::fixed::x_max(planned.x_bits());
        let kept = if checker.integrity().samples > 0 { planned.in_len() } else { 0 };
        Ok(Masking {
            keys: Arc::clone(&self.keys),
            checker,
            low: if planned.signed() { -high } else { 0 },
            high,
            at: 0,
            pending: Pending {
                group,
                right: Zeroizing::new(planned.layers().iter().map(|_| Running::default()).collect()),
                difference,
                x: Wiped::of(&mut self.spare_x, kept),
            },
        })
    }

    /// Takes back what is left of a tensor whose answers are opened, for the next ones.
    pub fn done(&mut self, pending: Pending) {
        self.spare.push(pending.difference);
        self.spare_x.push(pending.x);
    }

    /// The first `n` elements of edge A's share `R` of a group: uniform and independent of the data.
    #[must_use]
    pub fn share_a(&self, pending: &Pending, n: usize) -> Zeroizing<Vec<u32>> {
        let k = self.keys.plan.group(pending.group).k();
        Zeroizing::new(self.r.elements(pending.group.into(), k, n))
    }
}

/// A group's tensor while it is masked, piece by piece, in the order in which it travels.
pub struct Masking<'a> {
    keys: Arc<DeviceKeys>,
    checker: &'a Checker,
    low: i32,
    high: i32,
    /// Place that comes next.
    at: usize,
    pending: Pending,
}

impl Masking<'_> {
    /// Masks the next integers `x` of the tensor and appends edge B's share of them to `out`, packed: uniform in
    /// `Z_2^k` whatever the data. Every push but the last of a stripe is of a multiple of 8 integers.
    ///
    /// # Errors
    /// [`MaskError::Input`] when `x` does not fit the group; what was appended must not leave then.
    pub fn push(&mut self, x: &[i32], out: &mut Vec<u8>) -> Result<(), MaskError> {
        let (group, keys) = (self.pending.group, Arc::clone(&self.keys));
        let (planned, order) = (keys.plan.group(group), keys.plan.input_order(group));
        let (k, len) = (planned.k(), planned.in_len());
        let stripe = order.stripe_at(self.at);
        if x.len() > stripe.end - self.at || !(self.at - stripe.start).is_multiple_of(8) {
            return Err(self.misfit(Misfit::Piece { more: x.len(), at: self.at, len }));
        }
        let mut v = [0; PIECE];
        for x in x.chunks(PIECE) {
            let v = &mut v[..x.len()];
            let (mut rest, mut masked) = (x, &mut *v);
            for run in order.runs(self.at..self.at + x.len()) {
                let (x, v);
                (x, rest) = rest.split_at(run.len());
                (v, masked) = masked.split_at_mut(run.len());
                let difference = &self.pending.difference.0[run.clone()];
                if !elementwise::mask(x, difference, low_bits(k), self.low, self.high, v) {
                    return Err(self.misfit(Misfit::Range { low: self.low, high: self.high }));
                }
                self.checker.count(planned.layers(), run.start, x, &mut self.pending.right);
                if self.checker.integrity().samples > 0 {
                    // Integers have at most 15 magnitude bits.
                    self.pending.x.0[run].iter_mut().zip(x).for_each(|(kept, &x)| *kept = x as i16);
                }
            }
            pack::pack(v, k, out);
            self.at += x.len();
        }
        Ok(())
    }

    /// All of the tensor is masked.
    ///
    /// # Errors
    /// [`MaskError::Input`] when integers are missing.
    pub fn finish(self) -> Result<Pending, MaskError> {
        let len = self.keys.plan.group(self.pending.group).in_len();
        if self.at != len {
            return Err(self.misfit(Misfit::Short { at: self.at, len }));
        }
        Ok(self.pending)
    }

    const fn misfit(&self, misfit: Misfit) -> MaskError {
        MaskError::Input { group: self.pending.group, misfit }
    }
}

/// What remains of a masked tensor until its answers come: what the checks need. Neither cloned nor reused.
pub struct Pending {
    pub(crate) group: GroupId,
    /// `S_in - R`: used, and wiped with the rest at the end of the inference, if not written over before.
    difference: Wiped<u32>,
    /// By layer of the group, `<a, x>` of the Freivalds check.
    pub(crate) right: Zeroizing<Vec<Running>>,
    /// The tensor, for spot checks; else empty.
    pub(crate) x: Wiped<i16>,
}

impl Pending {
    /// The group.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(group {}, ..)", self.group)
    }
}
