//! What tests, doctests and examples of several crates share. Everything here panics with a reason instead of returning
//! errors: its only callers are tests.
//!
//! Unit tests of a crate that this one is built on may use it too, but get a second instance of their own crate's types
//! from it.

mod gate;
#[cfg(feature = "in-memory")]
mod in_memory;
mod mounted;
#[cfg(feature = "in-memory")]
mod rubbish;
#[cfg(feature = "secrecy")]
pub mod secrecy;
mod seeded;
#[cfg(feature = "in-memory")]
pub mod wire;
mod wrapped;

pub use gate::Gate;
#[cfg(feature = "in-memory")]
pub use in_memory::InMemory;
pub use mounted::{read_only, small_disk};
#[cfg(feature = "in-memory")]
pub use rubbish::pester;
pub use seeded::{numbers, uniform, weights};
pub use wrapped::{Hook, Layer, wrapped};
