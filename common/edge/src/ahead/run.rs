//! The work itself, beside the inferences of a session.

use std::sync::Arc;

use twinmask_wire::Codec;

use crate::ahead::store::{Ahead, Want};
use crate::compute::payloads;
use crate::compute::queue::Turn;
use crate::compute::shares::Shares;
use crate::rounds::Rounds;

/// Computes ahead of time for as long as it is polled; ends only in a session without masks.
pub(crate) async fn run(ahead: &Ahead, rounds: &Arc<Rounds>) {
    loop {
        let task = ahead.task().await;
        let (counter, r) = task.at;
        let Some(masks) = rounds.masks(counter) else { return };
        let turn = Turn { device: Arc::clone(&rounds.device), priority: task.priority, started: Arc::default() };
        ahead.computes(&task, Arc::clone(&turn.started));
        let then = {
            let (of, want, masks) = (Arc::clone(rounds), task.want, masks.clone());
            move |z: &mut [Vec<u32>], worker: &mut _| match want {
                Want::Relay => (Codec::Packed, payloads::correction(&of.model.plan, r, &masks, z, worker)),
                Want::Split { exact } => {
                    payloads::mask(&of.model.plan, r, &masks, z, worker);
                    of.encode(r, exact, z)
                }
            }
        };
        let computing =
            async { rounds.edge.queue.submit(turn, &rounds.model, r, Shares::Masks(masks), then).await.done().await };
        let done = tokio::select! {
            done = computing => Some(done),
            () = ahead.given_up(task.priority) => None,
        };
        ahead.computed(task, done);
    }
}
