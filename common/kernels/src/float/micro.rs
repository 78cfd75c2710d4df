//! The inner loop of [`FloatConv`](super::FloatConv): a tile of sums in registers, one vector of numbers times one
//! number at a time.

use crate::float::lanes::Lanes;

/// Vectors side by side in a tile.
pub(crate) const VECTORS: usize = 2;

/// One tile as the loop sees it: `sum[t][lane] = start + vector[lane] * scalar[t] + ..`, products fused and added in
/// the order of the steps, so that the bits do not depend on how a layer is divided into tiles.
pub(crate) struct Raw<'a> {
    /// Rows and vectors.
    pub(crate) size: (usize, usize),
    /// The lanes' numbers, and where each step's lie from there.
    pub(crate) vector: (*const f32, &'a [u32]),
    /// From one row's lanes to the next one's, if it has its own.
    pub(crate) line: usize,
    /// The rows' numbers, and where each step's lie from there.
    pub(crate) scalar: (*const f32, &'a [u32]),
    /// What the sums begin with: a number for each lane, or for each row.
    pub(crate) start: (*const f32, Start),
    /// Where the first row's sums go, and how far from there the next one's.
    pub(crate) out: (*mut f32, usize),
    /// Sums are kept between these.
    pub(crate) clamp: [f32; 2],
}

/// What the numbers belong to that sums begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// One for each lane.
    Lanes,
    /// One for each row.
    Rows,
}

/// Computes a tile of `T` rows and `N` vectors. If `LINES`, each row has lanes of its own, `raw.line` from those of the
/// row before, and all rows have one number at each step, and begin with one.
///
/// # Safety
/// `V`'s instructions are there. `N` vectors (of each row) may be read at each step's lanes, `T` numbers at each
/// step's scalars, `N` vectors or `T` numbers at the start (1 number each, if `LINES`); `T` runs of `N` vectors may
/// be written.
#[inline(always)]
unsafe fn tile<V: Lanes, const LINES: bool, const N: usize, const T: usize>(raw: &Raw<'_>) {
    // SAFETY: all by the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; T];
        for (t, row) in sums.iter_mut().enumerate() {
            for (n, sum) in row.iter_mut().enumerate() {
                *sum = match raw.start.1 {
                    Start::Lanes => V::load(raw.start.0.add(n * V::LANES)),
                    Start::Rows => V::splat(*raw.start.0.add(if LINES { 0 } else { t })),
                };
            }
        }
        for (&vector, &scalar) in raw.vector.1.iter().zip(raw.scalar.1) {
            let (vector, scalar) = (raw.vector.0.add(vector as usize), raw.scalar.0.add(scalar as usize));
            if LINES {
                let number = V::splat(*scalar);
                for (t, row) in sums.iter_mut().enumerate() {
                    for (n, sum) in row.iter_mut().enumerate() {
                        *sum = sum.add_product(V::load(vector.add(t * raw.line + n * V::LANES)), number);
                    }
                }
                continue;
            }
            let mut lanes = [V::splat(0.0); N];
            for (n, lane) in lanes.iter_mut().enumerate() {
                *lane = V::load(vector.add(n * V::LANES));
            }
            for (t, row) in sums.iter_mut().enumerate() {
                let number = V::splat(*scalar.add(t));
                for (sum, lane) in row.iter_mut().zip(lanes) {
                    *sum = sum.add_product(lane, number);
                }
            }
        }
        for (t, row) in sums.iter().enumerate() {
            for (n, sum) in row.iter().enumerate() {
                sum.clamp(raw.clamp).store(raw.out.0.add(t * raw.out.1 + n * V::LANES));
            }
        }
    }
}

/// [`tile`] of the size that `raw` says; a monomorph each, up to `MOST` rows.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(crate) unsafe fn any<V: Lanes, const LINES: bool, const MOST: usize>(raw: &Raw<'_>) {
    macro_rules! sizes {
        ($($t:literal)*) => {
            match raw.size {
                // SAFETY: by the caller's promise, for this size.
                $( ($t, 1) if $t <= MOST => unsafe { tile::<V, LINES, 1, $t>(raw) }, )*
                // SAFETY: as above.
                $( ($t, VECTORS) if $t <= MOST => unsafe { tile::<V, LINES, VECTORS, $t>(raw) }, )*
                (rows, vectors) => debug_assert!(false, "a tile of {rows} rows and {vectors} vectors"),
            }
        };
    }
    sizes!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}
