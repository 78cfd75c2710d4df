//! What the shipped programs are made of: the list of `docs/dependencies.md`, and a bill of materials for each.

mod bill;
mod list;
mod packages;

pub use bill::{Bill, bill};
pub use list::fresh;
pub use packages::{PROGRAMS, Package, Supply};
