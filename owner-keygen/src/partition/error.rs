//! What can stand in the way of a partition.

use twinmask_model::graph::Disconnected;
use twinmask_model::plan::PlanError;
use twinmask_model::shapes::ShapeError;

/// Why a network cannot be divided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// No constant-weight layer to outsource.
    #[error("the network has no Conv, Gemm or MatMul with constant weights to outsource")]
    Nothing,
    /// A name given by --offload is no offloadable layer.
    #[error("--offload names '{name}', which is no layer with constant weights; there are: {known}")]
    UnknownLayer {
        /// Name given.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// Not even the narrowest integers fit the ring.
    #[error("layer '{layer}' does not fit a ring of {width} bits even with 2-bit weights: choose a wider --ring")]
    Ring {
        /// Layer name.
        layer: String,
        /// Width asked for.
        width: u32,
    },
    /// A layer's shape is beyond what kernels take.
    #[error("layer '{layer}': {source}")]
    Geometry {
        /// Layer name.
        layer: String,
        /// What is wrong.
        source: twinmask_layer::GeometryError,
    },
    /// More weights than edges are to hold.
    #[error(
        "layer '{layer}': with it the layers hold more than {most} weights: keep some on the device with --offload"
    )]
    Weights {
        /// The first layer beyond.
        layer: String,
        /// How many weights there may be.
        most: usize,
    },
    /// The divided graph does not check out.
    #[error("the divided network does not check out: {0}")]
    Graph(#[from] ShapeError),
    /// The divided graph has no path from its input to an output.
    #[error("the divided network does not check out: {0}")]
    Disconnected(#[from] Disconnected),
    /// The plan does not check out.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
