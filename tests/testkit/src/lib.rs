//! What tests, doctests and examples of several crates share. Everything here panics with a reason instead of returning
//! errors: its only callers are tests.

mod in_memory;

pub use in_memory::InMemory;
