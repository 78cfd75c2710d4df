//! Numbers of the protocol that must not be mistaken for each other. Each is encoded as the plain integer that it
//! holds.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u32);

        impl $name {
            /// The id that is written as `number`.
            #[must_use]
            pub const fn new(number: u32) -> Self {
                Self(number)
            }

            /// The id of what stands at `index` of the plan's list.
            ///
            /// # Panics
            /// Above 2^32 - 1; no plan is that long.
            #[must_use]
            pub const fn at(index: usize) -> Self {
                assert!(index <= u32::MAX as usize, "plans are shorter than 2^32");
                Self(index as u32)
            }

            /// The ids of the first `count` of the plan's list.
            ///
            /// # Panics
            /// As [`at`](Self::at).
            pub fn first(count: usize) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
                (0..count).map(Self::at)
            }

            /// The number as it is written.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }

            /// Where it stands in the plan's list.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for u64 {
            /// The id as the number of a PRF stream (PROTOCOL.md, "Keys").
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }
    };
}

id! {
    /// Which layer of a plan.
    LayerId
}
id! {
    /// Which group of a plan.
    GroupId
}
id! {
    /// Which round of a plan.
    RoundId
}

impl RoundId {
    /// The round behind it; there need not be one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// `c`: which inference of a session (PROTOCOL.md, "Sessions and counters"). A peer may send any value: all arithmetic
/// on it saturates or is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counter(u64);

impl Counter {
    /// The counter of this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The counter one above, or the highest again.
    #[must_use]
    pub const fn next(self) -> Self {
        self.saturating_add(1)
    }

    /// The counter one above, if there is one.
    #[must_use]
    pub const fn checked_next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The counter `n` above, or the highest.
    #[must_use]
    pub const fn saturating_add(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// The counter `n` below, or 0.
    #[must_use]
    pub const fn saturating_sub(self, n: u64) -> Self {
        Self(self.0.saturating_sub(n))
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{decode, encode};

    #[test]
    fn ids_are_encoded_as_their_numbers() {
        let ids = (LayerId::new(7), vec![GroupId::at(1), GroupId::at(2)], RoundId::at(3), Counter::new(1 << 40));
        let bytes = encode(&ids);
        assert_eq!(bytes, encode(&(7u32, vec![1u32, 2], 3u32, 1u64 << 40)));
        assert_eq!(decode::<(LayerId, Vec<GroupId>, RoundId, Counter), 1024>(&bytes).expect("own encoding"), ids);
        assert_eq!((ids.0.to_string(), ids.0.index(), u64::from(ids.2)), ("7".into(), 7, 3));
    }

    #[test]
    fn nothing_overflows() {
        let (zero, one, top) = (Counter::default(), Counter::new(1), Counter::new(u64::MAX));
        assert_eq!((zero.next(), top.next()), (one, top));
        assert_eq!((zero.checked_next(), top.checked_next()), (Some(one), None));
        assert_eq!((top.saturating_add(2), one.saturating_sub(2)), (top, zero));
        assert_eq!((RoundId::new(4).next(), RoundId::new(u32::MAX).next()), (RoundId::new(5), RoundId::new(u32::MAX)));
    }

    #[test]
    fn the_first_ids_are_those_of_a_list() {
        assert_eq!(LayerId::first(3).map(LayerId::get).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((RoundId::first(0).len(), RoundId::first(2).next_back()), (0, Some(RoundId::new(1))));
    }
}
