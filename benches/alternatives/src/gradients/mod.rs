//! Experiment 4, selective gradient sharing (Bu, after Shokri and Shmatikov 2015): participants keep their images,
//! train at home, and upload a part of what they learned.

mod accountant;
mod inversion;
mod model;
mod report;
mod rounds;
mod setup;
mod share;
pub mod study;
mod task;
#[cfg(test)]
mod tests;

pub use accountant::epsilon;
pub use model::{Base, Model, NAME};
pub use rounds::{Day, Way};
pub use setup::Initial;
pub(crate) use setup::{BATCH, OPTIMIZERS, epochs, initial, started};
pub use share::{clipped, largest};
pub use task::Task;
