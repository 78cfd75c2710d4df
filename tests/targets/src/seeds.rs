//! Where fuzzing begins.

/// An input that a target's own code has made.
pub struct Seed {
    /// What it is, as a file name.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
    /// Whether the target must take it: a target that takes nothing any more tests nothing.
    pub taken: bool,
}

/// A seed that must be taken.
pub(crate) fn good(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { name: name.into(), bytes: bytes.into(), taken: true }
}

/// A seed that must be refused.
pub(crate) fn bad(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { name: name.into(), bytes: bytes.into(), taken: false }
}
