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

        impl From<usize> for $name {
            /// As [`at`](Self::at).
            fn from(index: usize) -> Self {
                Self::at(index)
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

/// `c`: which inference of a session (PROTOCOL.md, "Sessions and counters").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Counter {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{decode, encode};

    #[test]
    fn ids_are_encoded_as_their_numbers() {
        let ids = (LayerId::new(7), vec![GroupId::at(1), GroupId::at(2)], RoundId::from(3), Counter::new(1 << 40));
        let bytes = encode(&ids);
        assert_eq!(bytes, encode(&(7u32, vec![1u32, 2], 3u32, 1u64 << 40)));
        assert_eq!(decode::<(LayerId, Vec<GroupId>, RoundId, Counter), 1024>(&bytes).expect("own encoding"), ids);
        assert_eq!((ids.0.to_string(), ids.0.index(), u64::from(ids.2)), ("7".into(), 7, 3));
    }
}
