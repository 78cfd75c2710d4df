//! What can be wrong with a plan.

use twinmask_codec::{GroupId, RoundId};
use twinmask_layer::GeometryError;

/// A plan that contradicts itself or exceeds a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No layer, or too many of them.
    #[error("inconsistent plan: {count} layers; {most} are possible")]
    Layers {
        /// How many there are.
        count: usize,
        /// How many are possible.
        most: usize,
    },
    /// A layer's shape is none that kernels take.
    #[error("inconsistent plan: layer {layer}: {source}")]
    Geometry {
        /// Layer name.
        layer: String,
        /// What is wrong.
        source: GeometryError,
    },
    /// A layer says that it is of a group that does not list it.
    #[error("inconsistent plan: layer {layer} is not listed by its group {group}")]
    Unlisted {
        /// Layer name.
        layer: String,
        /// Its group.
        group: GroupId,
    },
    /// A group that the protocol cannot carry.
    #[error("inconsistent plan: group {group}: {fault}")]
    Group {
        /// Which.
        group: GroupId,
        /// What is wrong with it.
        fault: GroupFault,
    },
    /// A group in no round or in several, or an empty round.
    #[error("inconsistent plan: the rounds do not hold every group exactly once")]
    Rounds,
    /// A round whose elements do not fit in a frame.
    #[error(
        "round {round} moves {bytes} bytes in one frame, of which {most} are possible, most of them for layer {layer}: \
         keep that layer on the device (--offload)"
    )]
    TooLarge {
        /// Which.
        round: RoundId,
        /// Its largest layer.
        layer: String,
        /// Bytes of its elements as u32.
        bytes: usize,
        /// How many bytes are possible.
        most: usize,
    },
}

/// What can be wrong with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupFault {
    /// A ring or activations of an impossible width.
    #[error("ring width or activation bits out of range")]
    Bits,
    /// No layers, or not in their order.
    #[error("its layers are not ascending")]
    Order,
    /// A layer of another group, of another length, or that there is not.
    #[error("a layer does not belong to it")]
    Stranger,
    /// An output could exceed the ring.
    #[error("its ring is too narrow for a layer's bound")]
    Narrow,
    /// Weights of an impossible width.
    #[error("weight bits out of range")]
    WeightBits,
}
