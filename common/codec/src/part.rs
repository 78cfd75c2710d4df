//! Parts of a payload: elements of `Z_2^k`, bit-packed one part after the other (PROTOCOL.md, "Wire").

use twinmask_ring::pack::packed_len;

/// Most bytes of any frame's payload.
pub const MAX_PAYLOAD: usize = 1 << 30;
/// Most bytes that the elements of one frame may take as u32, the widest of their forms. Less than [`MAX_PAYLOAD`], as
/// zstd makes random bytes longer by 1/256.
pub const MAX_ROUND: usize = MAX_PAYLOAD - (1 << 23);

/// One part of a payload: elements of one width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Elements.
    pub len: usize,
    /// Width of each, in bits.
    pub bits: u32,
}

impl Part {
    /// Its bytes in `packed` form.
    #[must_use]
    pub const fn packed_len(self) -> usize {
        packed_len(self.len, self.bits)
    }
}

/// Bytes of a payload that holds these parts in `packed` form.
#[must_use]
pub fn packed_parts_len(parts: &[Part]) -> usize {
    parts.iter().map(|p| p.packed_len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_begins_at_a_byte() {
        let parts = [Part { len: 3, bits: 5 }, Part { len: 1, bits: 24 }];
        assert_eq!(parts.map(Part::packed_len), [2, 3]);
        assert_eq!(packed_parts_len(&parts), 5);
    }
}
