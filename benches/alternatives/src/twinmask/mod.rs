//! twinmask's own rows, through the release programs and the device's library: modes `split` and `relay`, default
//! checks.

mod experiment;
mod private;
mod update;

pub use experiment::run;
