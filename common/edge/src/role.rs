//! The two edges.

use std::fmt;

/// Which of the two edges (PROTOCOL.md, "Parties").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The mask edge: knows mask seeds, sees no share.
    A,
    /// The data edge: sees one uniformly random share per group, knows no seed.
    B,
}

impl Role {
    /// Name of the program: `edge-a` or `edge-b`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::A => "edge-a",
            Role::B => "edge-b",
        }
    }

    /// The role that this edge's certificate must carry.
    pub(crate) fn certified(self) -> twinmask_transport::Role {
        match self {
            Role::A => twinmask_transport::Role::EdgeA,
            Role::B => twinmask_transport::Role::EdgeB,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
