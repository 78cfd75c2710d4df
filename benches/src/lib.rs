//! What the benchmarks of twinmask share: results as JSON and Markdown, medians, the machine's description, processes
//! that run once per line, deployments, and networks of published systems.
//!
//! Every benchmark clears `OPENBLAS_CORETYPE` and `OPENBLAS_L2_SIZE`, warms up, interleaves what it compares, and gives
//! ratios of medians within one run. `make bench` runs all of them.

pub mod baseline;
pub mod deployment;
pub mod lines;
pub mod machine;
pub mod mnist;
pub mod net;
pub mod report;
pub mod stats;
