//! Training within a budget: checkpoints after each epoch, jobs as processes of one thread each, results when done.

mod checkpoint;
mod learner;
mod run;
mod schedule;

pub use checkpoint::{Epoch, Metrics, Plan, column, last, train};
pub use learner::{Learner, Saved, load, save};
pub use run::{Run, cpu_seconds, seeded};
pub use schedule::{Job, Study, run_all, run_job};

#[cfg(test)]
mod tests;
