//! Buffers that are wiped.

use bytemuck::Pod;
use zeroize::Zeroize;

/// Secret elements, wiped when dropped: all that the buffer may ever have held, eight bytes at a time. (`Zeroizing` of
/// a vector would wipe it element by element, and then once more byte by byte.)
#[derive(Default)]
pub(crate) struct Wiped<T: Pod>(pub(crate) Vec<T>);

impl<T: Pod> Wiped<T> {
    /// `n` elements of any value, in a spare buffer if one is large enough: growing it would leave its content behind.
    pub(crate) fn of(spare: &mut Vec<Self>, n: usize) -> Self {
        let fits = spare.iter().position(|e| e.0.capacity() >= n);
        let mut elements = fits.map_or_else(|| Self(Vec::with_capacity(n)), |i| spare.swap_remove(i));
        elements.0.resize(n, T::zeroed());
        elements
    }

    /// Wipes all that the buffer may ever have held, also what it was cut by when it was used again.
    pub(crate) fn wipe(&mut self) {
        self.0.resize(self.0.capacity(), T::zeroed());
        let (head, middle, tail) = bytemuck::pod_align_to_mut::<T, u64>(&mut self.0);
        bytemuck::cast_slice_mut::<T, u8>(head).zeroize();
        middle.zeroize();
        bytemuck::cast_slice_mut::<T, u8>(tail).zeroize();
    }
}

impl<T: Pod> std::fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wiped(..)")
    }
}

impl<T: Pod> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buffers of masks that are used again for fewer elements, and for more.
    #[test]
    fn spare_buffers_are_neither_grown_nor_forgotten() {
        let mut spare = vec![Wiped(vec![7u32; 100])];
        let mut less = Wiped::of(&mut spare, 10);
        assert!(spare.is_empty() && less.0.capacity() >= 100);
        less.wipe();
        assert!(less.0.len() == less.0.capacity() && less.0.iter().all(|&e| e == 0));
        spare.push(less);
        let more = Wiped::of(&mut spare, 1000);
        assert!(spare.len() == 1 && more.0.len() == 1000);
    }

    #[test]
    fn odd_lengths_are_wiped_whole() {
        for n in 0..40 {
            let mut x = Wiped(vec![-1i16; n]);
            x.0.truncate(n / 2);
            x.wipe();
            assert!(x.0.len() >= n && x.0.iter().all(|&e| e == 0), "{n}");
        }
    }
}
