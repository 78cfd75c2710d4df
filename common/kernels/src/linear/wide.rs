//! Sixteen elements mod 2^32 at a time: what transforms are written in, once for all instruction sets. The compiler
//! makes vectors of plain loops only when it feels like it.

use crate::linear::planes::{Digits, SignedBytes};

/// Elements of a [`Wide`].
pub(crate) const WIDE: usize = 16;

/// Elements of a [`Short`].
pub(crate) const SHORT: usize = 2 * WIDE;

/// [`SHORT`] weights, mod 2^16.
pub(crate) trait Short: Copy {
    /// What proves that the CPU has the instructions: no value is made without.
    type Isa: Copy;

    /// These weights.
    fn of(isa: Self::Isa, from: &[i16; SHORT]) -> Self;

    /// Writes the weights.
    fn put(self, to: &mut [i16; SHORT]);

    /// The sums.
    fn add(self, other: Self) -> Self;

    /// Times `factor`.
    fn mul(self, factor: i16) -> Self;
}

/// [`WIDE`] elements, mod 2^32.
pub(crate) trait Wide: Copy {
    /// What proves that the CPU has the instructions: no value is made without.
    type Isa: Copy;

    /// Weights in the same registers.
    type Short: Short<Isa = Self::Isa>;

    /// Elements that lie side by side as bytes.
    fn read(isa: Self::Isa, from: &[u8; 4 * WIDE]) -> Self;

    /// These elements.
    fn of(isa: Self::Isa, from: &[u32; WIDE]) -> Self;

    /// Writes the elements side by side as bytes.
    fn write(self, to: &mut [u8; 4 * WIDE]);

    /// Writes the elements.
    fn put(self, to: &mut [u32; WIDE]);

    /// The sums.
    fn add(self, other: Self) -> Self;

    /// The differences.
    fn sub(self, other: Self) -> Self;

    /// Times 2^`bits`.
    fn shl(self, bits: u32) -> Self;

    /// Divided by 2^`bits`, down.
    fn shr(self, bits: u32) -> Self;

    /// Times `factor`.
    fn mul(self, factor: u32) -> Self;

    /// The low and the high digits of both, as [`Words`](crate::linear::planes::Words): each lane holds that of `self`
    /// and, above, that of `other`.
    fn digits(self, other: Self) -> [Self; 2];

    /// The signed bytes of four, by planes: four bytes are one element of each.
    #[inline(always)]
    fn bytes(of: [Self; 4]) -> [[u8; 4 * WIDE]; 4] {
        let (mut x, mut planes) = ([[0; WIDE]; 4], [[0; 4 * WIDE]; 4]);
        for (x, of) in x.iter_mut().zip(of) {
            of.put(x);
        }
        for (p, plane) in planes.iter_mut().enumerate() {
            for (i, byte) in plane.iter_mut().enumerate() {
                *byte = SignedBytes::digit(x[i % 4][i / 4], p) as u8;
            }
        }
        planes
    }
}

/// Plain loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct Plain([u32; WIDE]);

impl Plain {
    #[inline(always)]
    fn with(mut self, other: Plain, of: impl Fn(u32, u32) -> u32) -> Self {
        for i in 0..WIDE {
            self.0[i] = of(self.0[i], other.0[i]);
        }
        self
    }
}

/// Plain loops.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct PlainShort([i16; SHORT]);

impl Short for PlainShort {
    type Isa = ();

    #[inline(always)]
    fn of((): (), from: &[i16; SHORT]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn put(self, to: &mut [i16; SHORT]) {
        *to = self.0;
    }

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for i in 0..SHORT {
            self.0[i] = self.0[i].wrapping_add(other.0[i]);
        }
        self
    }

    #[inline(always)]
    fn mul(mut self, factor: i16) -> Self {
        for i in 0..SHORT {
            self.0[i] = self.0[i].wrapping_mul(factor);
        }
        self
    }
}

impl Wide for Plain {
    type Isa = ();
    type Short = PlainShort;

    #[inline(always)]
    fn read((): (), from: &[u8; 4 * WIDE]) -> Self {
        let mut wide = Self([0; WIDE]);
        for (x, bytes) in wide.0.iter_mut().zip(from.as_chunks().0) {
            *x = u32::from_le_bytes(*bytes);
        }
        wide
    }

    #[inline(always)]
    fn of((): (), from: &[u32; WIDE]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn write(self, to: &mut [u8; 4 * WIDE]) {
        to.as_chunks_mut().0.iter_mut().zip(self.0).for_each(|(to, x)| *to = x.to_le_bytes());
    }

    #[inline(always)]
    fn put(self, to: &mut [u32; WIDE]) {
        *to = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, u32::wrapping_add)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, u32::wrapping_sub)
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        self.with(self, |x, _| x << bits)
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        self.with(self, |x, _| x >> bits)
    }

    #[inline(always)]
    fn mul(self, factor: u32) -> Self {
        self.with(self, |x, _| x.wrapping_mul(factor))
    }

    #[inline(always)]
    fn digits(self, other: Self) -> [Self; 2] {
        let rounded = |x: u32| x.wrapping_add(0x8000);
        let low = self.with(other, |x, y| x & 0xffff | y << 16);
        let high = self.with(other, |x, y| rounded(x) >> 16 | rounded(y) & 0xffff_0000);
        [low, high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::direct::Baseline;
    #[cfg(target_arch = "x86_64")]
    use crate::linear::{transpose::Avx512, transpose256::Avx2, wide256::*, wide512::*};

    /// All that there is to do, of numbers around every carry.
    fn done<W: Wide>(isa: W::Isa) -> Vec<[u32; WIDE]> {
        let ends = [0, 1, 0x7fff, 0x8000, 0xffff, 0x7fff_8000, 0x8000_0000, u32::MAX];
        let x: [u32; WIDE] = std::array::from_fn(|i| ends[i % 8].wrapping_add(i as u32 / 8));
        let y: [u32; WIDE] = std::array::from_fn(|i| ends[(3 * i + 1) % 8].wrapping_mul(i as u32));
        let mut bytes = [0; 4 * WIDE];
        W::of(isa, &x).write(&mut bytes);
        let (x, y) = (W::read(isa, &bytes), W::of(isa, &y));
        let [low, high] = x.digits(y);
        let mut all = [x, x.add(y), x.sub(y), y.shl(3), y.shr(2), x.mul(0xdead_beef), low, high]
            .map(|w| {
                let mut out = [0; WIDE];
                w.put(&mut out);
                out
            })
            .to_vec();
        let bytes = W::bytes([x, y, x.sub(y), y.mul(0x0102_0305)]);
        all.extend(bytes.map(|plane| std::array::from_fn(|i| u32::from_le_bytes(plane.as_chunks().0[i]))));
        all
    }

    fn done_short<S: Short>(isa: S::Isa) -> Vec<[i16; SHORT]> {
        let ends = [0, 1, -1, i16::MAX, i16::MIN, 0x55, -0x100, 0x4001];
        let x = S::of(isa, &std::array::from_fn(|i| ends[i % 8]));
        let y = S::of(isa, &std::array::from_fn(|i| ends[(5 * i + i / 8) % 8]));
        [x, x.add(y), x.mul(-16), y.mul(64)]
            .map(|w| {
                let mut out = [0; SHORT];
                w.put(&mut out);
                out
            })
            .to_vec()
    }

    #[test]
    fn instruction_sets_agree() {
        let (plain, short) = (done::<Plain>(()), done_short::<PlainShort>(()));
        assert_eq!(done::<Baseline>(()), plain);
        assert_eq!(done_short::<<Baseline as Wide>::Short>(()), short);
        #[cfg(target_arch = "x86_64")]
        {
            assert!(Avx2::new().is_none_or(|isa| done::<Wide256>(isa) == plain));
            assert!(Avx512::new().is_none_or(|isa| done::<Wide512>(isa) == plain));
            assert!(Avx2::new().is_none_or(|isa| done_short::<Short256>(isa) == short));
            assert!(Avx512::new().is_none_or(|isa| done_short::<Short512>(isa) == short));
        }
    }
}
