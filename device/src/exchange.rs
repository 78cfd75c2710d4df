//! Where the linear layers of a round are computed: two edges, or this very device.

use twinmask_codec::{GroupId, RoundId};
use twinmask_ring::fixed::Scale;

use crate::error::DeviceError;
use crate::model::Model;

/// A group's tensor.
pub struct GroupInput<'a> {
    /// Whose tensor it is.
    pub group: GroupId,
    /// Elements.
    pub tensor: &'a [f32],
    /// How they become integers.
    pub scale: Scale,
}

/// Computes the linear layers of an inference.
pub trait Exchange {
    /// Computes round `r`: for each group of `inputs`, for each of its layers, the activations of the exact integers
    /// `W·x` into the next of `outputs`.
    #[expect(async_fn_in_trait, reason = "its futures are Send where both implementations' are, which tests hold")]
    async fn round(
        &mut self,
        model: &Model,
        r: RoundId,
        inputs: &[GroupInput<'_>],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), DeviceError>;
}
