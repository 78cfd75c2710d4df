//! One round: shares in, answer out. Runs on a compute thread; calls in idle ones for large layers.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use twinmask_gemm::{Geometry, Input, Linear, item, split};
use twinmask_ring::prf::Key;
use twinmask_wire::message::{Prf, Secret};
use twinmask_wire::payload::{self, Encoder};
use twinmask_wire::{Codec, WireError};

use crate::models::Model;
use crate::pool::{Worker, message};

/// Multiply-accumulates from which on a layer is worth dividing: below, calling in a thread takes longer.
const WORTH_DIVIDING: u64 = 1 << 21;

/// What a round is computed on (PROTOCOL.md, "One inference, mode `split`").
pub(crate) enum Shares {
    /// At edge A: the masks `R`, expanded from the session's seed.
    Masks { seed: Arc<Secret>, prf: Prf, counter: u64 },
    /// At edge B: `v = x + S_in - R`, as uploaded.
    Uploaded { codec: Codec, payload: Vec<u8> },
}

impl Shares {
    /// The share of each group of round `r`, in the plan's order.
    fn expand(self, model: &Model, r: usize) -> Result<Vec<Vec<u32>>, WireError> {
        let parts = model.plan.upload_parts(r);
        match self {
            Shares::Uploaded { codec, payload } => payload::decode(&payload, codec, &parts),
            Shares::Masks { seed, prf, counter } => {
                let key = Key::for_masks(prf.algorithm(), &seed.0, counter);
                let groups = model.plan.rounds[r].iter().zip(parts);
                Ok(groups
                    .map(|(&g, (len, k))| {
                        let mut mask = vec![0; len];
                        key.fill(g.into(), k, &mut mask);
                        mask
                    })
                    .collect())
            }
        }
    }
}

/// The payload of `ANSWER{r}`. What the codec settles on is kept in `encoder` for the session's next answers.
///
/// # Errors
/// An uploaded payload that does not hold the round's shares.
pub(crate) fn round(
    model: &Model,
    r: usize,
    shares: Shares,
    encoder: &Mutex<Encoder>,
    worker: &mut Worker,
) -> Result<(Codec, Vec<u8>), WireError> {
    let shares = shares.expand(model, r)?;
    let mut answers = Vec::new();
    for (&g, share) in model.plan.rounds[r].iter().zip(&shares) {
        let group = &model.plan.groups[g as usize];
        for &l in &group.layers {
            answers.push((apply(&model.layers[l as usize], share, worker), u32::from(group.k)));
        }
    }
    let parts: Vec<(&[u32], u32)> = answers.iter().map(|(y, k)| (y.as_slice(), *k)).collect();
    // Encoded outside the lock: other inferences of the session need not wait for this one.
    let mut settling = locked(encoder).clone();
    let encoded = settling.encode(&parts);
    *locked(encoder) = settling;
    Ok(encoded)
}

/// `y = W·x`, on this thread and those that are idle.
fn apply(linear: &Arc<dyn Linear>, x: &[u32], worker: &mut Worker) -> Vec<u32> {
    let idle = worker.idle();
    let ranges = if linear.geometry().macs() < WORTH_DIVIDING { Vec::new() } else { split(&**linear, 1 + idle) };
    let mut y = vec![0; linear.geometry().out_len()];
    if ranges.len() < 2 {
        linear.apply(x, &mut y, &mut worker.scratch);
        return y;
    }
    let mut input = std::mem::take(&mut worker.input);
    linear.load(&[x], &mut input);
    let helpers = ranges.len() - 1;
    let crew = Arc::new(Crew::new(Arc::clone(linear), input, ranges));
    let called = Arc::clone(&crew);
    worker.call_in(helpers, move |other| called.work(other));
    crew.work(worker);
    crew.collect(&mut y);
    if let Some(crew) = Arc::into_inner(crew) {
        worker.input = crew.input; // all helpers are gone: the buffer is ours again
    }
    y
}

/// The output of a range of channels, or the text of the panic in its computation.
type Part = Result<Vec<u32>, String>;

/// One layer that several threads compute: each takes the next range of output channels until none is left.
struct Crew {
    linear: Arc<dyn Linear>,
    input: Input,
    ranges: Vec<Range<usize>>,
    next: AtomicUsize,
    /// By range; `None` until it is computed.
    parts: Mutex<Vec<Option<Part>>>,
    finished: Condvar,
}

impl Crew {
    fn new(linear: Arc<dyn Linear>, input: Input, ranges: Vec<Range<usize>>) -> Crew {
        let parts = Mutex::new(ranges.iter().map(|_| None).collect());
        Crew { linear, input, ranges, next: AtomicUsize::new(0), parts, finished: Condvar::new() }
    }

    /// Elements of the output per channel.
    fn per_channel(&self) -> usize {
        let geometry = self.linear.geometry();
        geometry.out_len() / geometry.out_channels()
    }

    /// Every range that was taken gets a result, even if its computation panics: nobody waits in vain.
    fn work(&self, worker: &mut Worker) {
        loop {
            let index = self.next.fetch_add(1, Relaxed);
            let Some(range) = self.ranges.get(index) else { return };
            let part = catch_unwind(AssertUnwindSafe(|| {
                let mut y = vec![0; range.len() * self.per_channel()];
                self.linear.part(&self.input, range.clone(), &mut y, &mut worker.scratch);
                y
            }));
            locked(&self.parts)[index] = Some(part.map_err(|panic| message(&*panic)));
            self.finished.notify_all();
        }
    }

    /// Waits for ranges that others have taken, and puts all together.
    ///
    /// # Panics
    /// If the computation of a range has.
    fn collect(&self, y: &mut [u32]) {
        let waiting = |parts: &mut Vec<Option<_>>| parts.iter().any(Option::is_none);
        let mut parts = self.finished.wait_while(locked(&self.parts), waiting).unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<Vec<u32>> = parts
            .drain(..)
            .map(|part| match part {
                Some(Ok(part)) => part,
                Some(Err(text)) => panic!("{text}"),
                None => unreachable!("waited until every range had its result"),
            })
            .collect();
        let by_channel = parts.concat();
        let items = self.input.items();
        match self.linear.geometry() {
            Geometry::Fc(_) if items > 1 => {
                for (row, out) in y.chunks_exact_mut(self.linear.geometry().out_channels()).enumerate() {
                    item(&by_channel, items, row, out);
                }
            }
            _ => y.copy_from_slice(&by_channel),
        }
    }
}

/// What the locks of this crate guard is replaced as a whole, so a panic elsewhere leaves nothing half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use std::num::NonZeroUsize;
    use twinmask_gemm::{Conv, Fc, default_kernel, naive};

    fn uniform(label: &str, n: usize) -> Vec<u32> {
        let mut out = vec![0; n];
        Key::derive("test", &[label.as_bytes()]).fill(0, 32, &mut out);
        out
    }

    /// Layers above the threshold, so that with idle threads they are divided.
    #[tokio::test]
    async fn divided_layers_are_those_of_the_oracle() {
        let conv = Conv {
            c_in: 16,
            h: 20,
            w: 20,
            c_out: 40,
            kh: 3,
            kw: 3,
            stride: [1, 1],
            pad: [1; 4],
            dilation: [1, 1],
            groups: 1,
        };
        let fcs = [1, 5].map(|rows| Geometry::Fc(Fc { rows, inputs: 3000, outputs: 1001 }));
        let four = NonZeroUsize::new(4).expect("positive");
        let pool = Pool::new(four, four);
        for geometry in [Geometry::Conv(conv), fcs[0], fcs[1]] {
            assert!(geometry.macs() >= WORTH_DIVIDING);
            let weights: Vec<i16> = uniform("w", geometry.weight_len()).iter().map(|w| (*w as i8).into()).collect();
            let x = uniform("x", geometry.in_len());
            let mut expected = vec![0; geometry.out_len()];
            naive::apply(&geometry, &weights, &x, &mut expected);
            let linear = default_kernel().prepare(&geometry, &weights, 32);
            for _ in 0..20 {
                let (linear, x) = (Arc::clone(&linear), x.clone());
                let done = pool.submit(move |worker| apply(&linear, &x, worker)).await.done().await;
                assert!(done.expect("no panic").value == expected, "{geometry:?}");
            }
        }
    }
}
