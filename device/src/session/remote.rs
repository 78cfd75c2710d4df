//! One inference over an open session (PROTOCOL.md, "One inference, mode `split`" and "mode `relay`").

use std::sync::Arc;

use twinmask_codec::RoundId;
use twinmask_masking::InferenceMasks;
use twinmask_wire::FrameType;
use twinmask_wire::message::End;

use crate::error::{CheckError, DeviceError, SessionError};
use crate::exchange::{Exchange, GroupInput};
use crate::model::Model;
use crate::session::answers::{Answers, Layer};
use crate::session::shared::Shared;
use crate::session::streams::Streams;
use crate::session::upload::{Glimpse, Upload};

/// An inference that edge A has granted a counter for.
pub struct RemoteInference {
    shared: Arc<Shared>,
    masks: InferenceMasks,
    a: Streams,
    b: Streams,
    fallbacks: u32,
    watch: Option<(usize, Vec<Glimpse>)>,
}

impl RemoteInference {
    pub(crate) fn new(shared: Arc<Shared>, masks: InferenceMasks, a: Streams, b: Streams) -> Self {
        Self { shared, masks, a, b, fallbacks: 0, watch: None }
    }

    /// Rounds that were answered by both edges although the session is in mode `relay`.
    #[must_use]
    pub const fn fallbacks(&self) -> u32 {
        self.fallbacks
    }

    /// Keeps the first `n` elements of each group and of its shares, on the device, for showing.
    pub fn watch(&mut self, n: usize) {
        self.watch = Some((n, Vec::new()));
    }

    /// What [`watch`](Self::watch) kept.
    #[must_use]
    pub fn glimpses(&self) -> &[Glimpse] {
        self.watch.as_ref().map_or(&[], |(_, kept)| kept)
    }

    /// Tells both edges that nothing more comes on this inference's streams.
    ///
    /// # Errors
    /// [`DeviceError`] when an edge has gone.
    pub async fn finish(mut self) -> Result<(), DeviceError> {
        for (link, streams) in [(&self.shared.a, &mut self.a), (&self.shared.b, &mut self.b)] {
            link.write(&mut streams.send, FrameType::End, &End {}).await?;
            streams.done();
        }
        Ok(())
    }
}

impl Exchange for RemoteInference {
    /// Uploads and answers flow at the same time: a stripe of answers comes as soon as edge B has what it is computed
    /// from. Nothing that was opened leaves before all of it is checked.
    async fn round(
        &mut self,
        model: &Model,
        r: RoundId,
        inputs: &[GroupInput<'_>],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), DeviceError> {
        let Self { shared, masks, a, b, fallbacks, watch } = self;
        let (shared, plan, checker) = (&**shared, model.plan(), &shared.model.checker);
        let (stripes, seen) = (plan.stripes(r), watch.as_ref().map_or(0, |(_, kept)| kept.len()));
        let begin = |input: &GroupInput<'_>| Ok(masks.mask(input.group, checker).map_err(SessionError::Mask)?);
        let maskings = inputs.iter().map(begin).collect::<Result<_, DeviceError>>()?;
        let deadline = shared.b.deadline();
        let mut upload = Upload { shared, plan, r, inputs, maskings, send: &mut b.send, watch, deadline };
        upload.stripe(0).await?;
        // Edge B has its share to read and to compute with; meanwhile the masks are expanded that are needed next.
        tokio::task::yield_now().await;
        let (mut layers, mut outputs) = (Vec::new(), outputs.iter_mut());
        for (input, GroupInput { group, scale, .. }) in inputs.iter().enumerate() {
            for (&l, output) in plan.group(*group).layers().iter().zip(&mut outputs) {
                let opening = masks.open(l, checker, shared.options.drop_bits);
                let (rescale, order) = (model.rescale(l, scale.step()), plan.output_order(l));
                layers.push(Layer { input, opening, rescale, order, output });
            }
        }
        // What still is to be uploaded may take its time before the last answer comes.
        let due = if stripes == 1 { shared.b.deadline() } else { deadline + shared.b.timeout };
        let (b, b_answered) = (&mut b.recv, &mut b.answered);
        let answers = Answers { shared, plan, r, layers, a, b, b_answered, fallbacks, due };
        let rest = async {
            for j in 1..stripes {
                upload.stripe(j).await?;
            }
            masks.expand_ahead(plan.rounds().get(r.next().index()).map_or(&[], Vec::as_slice));
            upload.finish()
        };
        let (pending, layers) = tokio::try_join!(rest, answers.open())?;
        if let Some((_, kept)) = watch {
            for (glimpse, pending) in kept[seen..].iter_mut().zip(&pending) {
                glimpse.share_a = masks.share_a(pending, glimpse.x.len()).to_vec();
            }
        }
        for Layer { input, opening, .. } in layers {
            opening.finish(masks, &pending[input]).map_err(CheckError::Answer)?;
        }
        pending.into_iter().for_each(|pending| masks.done(pending));
        Ok(())
    }
}
