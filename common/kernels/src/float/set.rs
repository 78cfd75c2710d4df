//! The instruction sets that tiles are computed with, and the checks before a tile's pointers are used.

#[cfg(target_arch = "aarch64")]
use crate::float::lanes::Pair;
use crate::float::lanes::{Lanes, Plain};
#[cfg(target_arch = "x86_64")]
use crate::float::lanes::{Middle, Wide};
use crate::float::micro::{Raw, Start, VECTORS, any};

/// An instruction set that this processor has: only [`Set::all`] makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

/// Where the operands of the steps lie, with the furthest of them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    at: Vec<u32>,
    last: usize,
}

impl Places {
    /// Of these places.
    pub(crate) fn new(at: Vec<u32>) -> Self {
        Self { last: at.iter().max().map_or(0, |&m| m as usize), at }
    }

    /// `steps` places, `step` from each other.
    pub(crate) fn regular(steps: usize, step: usize) -> Self {
        Self::new((0..steps).map(|k| (k * step) as u32).collect())
    }
}

/// A tile of sums; slices begin where the tile's numbers do.
pub(crate) struct Tile<'a> {
    /// Rows, from 1 to [`Set::rows`].
    pub(crate) rows: usize,
    /// From 1 to [`VECTORS`].
    pub(crate) vectors: usize,
    /// The lanes' numbers.
    pub(crate) vector: (&'a [f32], &'a Places),
    /// From one row's lanes to the next one's, where rows are lines of one channel: they share numbers and start.
    pub(crate) lines: Option<usize>,
    /// The rows' numbers.
    pub(crate) scalar: (&'a [f32], &'a Places),
    /// What the sums begin with.
    pub(crate) start: (&'a [f32], Start),
    /// Sums are kept between these.
    pub(crate) clamp: [f32; 2],
}

impl Set {
    /// What this processor has, the best first.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Self::Neon);
        all.push(Self::Plain);
        all
    }

    /// Lanes of a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Wide::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Middle::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Pair::LANES,
            Self::Plain => Plain::LANES,
        }
    }

    /// Most rows of a tile: so many sums of [`VECTORS`] vectors fit the registers.
    pub(crate) const fn rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 14,
            _ => 6,
        }
    }

    /// Writes the sums of `tile` to `out`, rows `stride` apart.
    pub(crate) fn tile(self, tile: &Tile<'_>, out: &mut [f32], stride: usize) {
        let Tile { rows, vectors, vector, lines, scalar, start, clamp } = *tile;
        let lanes = vectors * self.lanes();
        assert!(
            (1..=self.rows()).contains(&rows) && (1..=VECTORS).contains(&vectors),
            "{rows} rows, {vectors} vectors"
        );
        let (numbers, line) = lines.map_or((rows, 0), |line| (1, line));
        let furthest = vector.1.last + (rows - 1) * line + lanes;
        assert!(furthest <= vector.0.len() && scalar.1.last + numbers <= scalar.0.len(), "operands end early");
        assert!(start.0.len() >= if start.1 == Start::Rows { numbers } else { lanes }, "the start ends early");
        assert!((rows - 1) * stride + lanes <= out.len(), "the result ends early");
        let raw = Raw {
            size: (rows, vectors),
            vector: (vector.0.as_ptr(), &vector.1.at),
            line,
            scalar: (scalar.0.as_ptr(), &scalar.1.at),
            start: (start.0.as_ptr(), start.1),
            out: (out.as_mut_ptr(), stride),
            clamp,
        };
        // SAFETY: a set is only made where its instructions are, and the lengths were checked above.
        unsafe { if lines.is_some() { self.run::<true>(&raw) } else { self.run::<false>(&raw) } }
    }

    /// # Safety
    /// As [`any`], but for the instructions.
    unsafe fn run<const LINES: bool>(self, raw: &Raw<'_>) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        unsafe fn avx512<const LINES: bool>(raw: &Raw<'_>) {
            // SAFETY: by the caller's promise.
            unsafe { any::<Wide, LINES, 14>(raw) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<const LINES: bool>(raw: &Raw<'_>) {
            // SAFETY: by the caller's promise.
            unsafe { any::<Middle, LINES, 6>(raw) }
        }
        // SAFETY: by the caller's promise, and a set is only made where its instructions are.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::<LINES>(raw),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::<LINES>(raw),
                #[cfg(target_arch = "aarch64")]
                Self::Neon => any::<Pair, LINES, 6>(raw),
                Self::Plain => any::<Plain, LINES, 6>(raw),
            }
        }
    }
}
