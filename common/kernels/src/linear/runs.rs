//! The units that a tile reads. What they reach is checked once for a tile, not for each of them: kernels lose an
//! eighth of their time to checks of every read.

/// Neighbouring units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Bytes from the position's first to the first unit's.
    start: usize,
    /// Index of the first unit among all.
    first: usize,
    /// How many.
    units: usize,
}

impl Run {
    /// Bytes from the position's first to the first unit's.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// Indices of its units among all.
    pub(crate) const fn units(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.units
    }
}

/// All units of a reduction, in order. Every unit's bytes end at [`reach`](Self::reach) at most, and indices are
/// below [`units`](Self::units): nothing but [`push`](Self::push) changes it.
#[derive(Debug)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    /// Bytes of a unit.
    unit: usize,
    units: usize,
    reach: usize,
}

impl Runs {
    /// None yet, of `unit` bytes each.
    pub(crate) const fn new(unit: usize) -> Self {
        Self { runs: Vec::new(), unit, units: 0, reach: 0 }
    }

    /// One run of `units`, of `unit` bytes each, from the first byte on.
    pub(crate) fn one(unit: usize, units: usize) -> Self {
        let mut runs = Self::new(unit);
        runs.push(0, units);
        runs
    }

    /// Adds `units` neighbouring units from byte `start` on.
    pub(crate) fn push(&mut self, start: usize, units: usize) {
        match self.runs.last_mut() {
            Some(last) if last.start + self.unit * last.units == start => last.units += units,
            _ => self.runs.push(Run { start, first: self.units, units }),
        }
        self.units += units;
        self.reach = self.reach.max(start + self.unit * units);
    }

    /// The runs in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Bytes of a unit.
    pub(crate) const fn unit(&self) -> usize {
        self.unit
    }

    /// Units in all.
    pub(crate) const fn units(&self) -> usize {
        self.units
    }

    /// Bytes from the position's first to the end of the last unit.
    pub(crate) const fn reach(&self) -> usize {
        self.reach
    }
}

/// The 4 bytes at `at`.
///
/// # Safety
/// `pixel` has them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn word(pixel: &[u8], at: usize) -> i32 {
    debug_assert!(at + 4 <= pixel.len(), "{at} of {}", pixel.len());
    // SAFETY: the caller's.
    unsafe { pixel.as_ptr().add(at).cast::<i32>().read_unaligned() }
}

/// The weights of unit `unit`.
///
/// # Safety
/// There is such a unit.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(crate) unsafe fn weights<W>(of: &[W], unit: usize) -> &W {
    debug_assert!(unit < of.len(), "{unit} of {}", of.len());
    // SAFETY: the caller's.
    unsafe { of.get_unchecked(unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let mut runs = Runs::new(4);
        for (start, units) in [(0, 3), (12, 1), (40, 2), (20, 1)] {
            runs.push(start, units);
        }
        let found: Vec<_> = runs.iter().map(|r| (r.start(), r.units())).collect();
        assert_eq!(found, [(0, 0..4), (40, 4..6), (20, 6..7)]);
        assert_eq!((runs.units(), runs.reach()), (7, 48));
        assert_eq!((Runs::one(8, 5).units(), Runs::one(8, 5).reach()), (5, 40));
    }
}
