//! Graph IR, layer plan and signed bundles.

pub mod analysis;
pub mod bundle;
pub mod container;
pub mod cost;
pub mod dims;
pub mod graph;
pub mod ops;
pub mod plan;
pub mod preprocess;
pub mod range;
pub mod ring_plan;
pub mod rounds;
pub mod seen;
pub mod shapes;
mod tagged;
