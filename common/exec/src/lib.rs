//! Executor of the operators that stay with whoever holds the data, on f32 tensors.
//!
//! [`Program`] sorts a graph's nodes into the rounds of PROTOCOL.md, [`Values`] holds the tensors of one inference,
//! and [`apply`] computes one operator. Every operator adds in an order fixed by its shapes, so that the same input
//! gives the same bits.

mod apply;
mod conv;
mod elementwise;
mod error;
mod index;
mod layout;
mod normal;
mod pool;
mod program;
mod reduce;
mod resize;
mod strided;
mod values;
mod view;
mod weighted;

pub use apply::apply;
pub use error::ExecError;
pub use program::{Program, Segment};
pub use values::{Values, exact};
pub use view::View;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_program;
