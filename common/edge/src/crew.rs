//! One layer on several threads: each takes the next range of output channels until none is left.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use twinmask_gemm::{Geometry, Input, Linear, item, split};

use crate::compute::locked;
use crate::pool::{Worker, message};

/// Multiply-accumulates from which on a layer is worth dividing: below, calling in a thread takes longer.
const WORTH_DIVIDING: u64 = 1 << 21;

/// `y = W·x` for each of `xs`, on this thread and those that are idle. Several are computed at once, so that the weights are
/// read once; a convolution takes one.
pub(crate) fn apply(linear: &Arc<dyn Linear>, xs: &[&[u32]], worker: &mut Worker) -> Vec<Vec<u32>> {
    let geometry = linear.geometry();
    let mut ys: Vec<Vec<u32>> = xs.iter().map(|_| worker.buffer(geometry.out_len())).collect();
    let macs = geometry.macs() * xs.len() as u64;
    let ranges = split(&**linear, if macs < WORTH_DIVIDING { 1 } else { 1 + worker.idle() });
    if let ([x], [y], 1) = (xs, &mut ys[..], ranges.len()) {
        linear.apply(x, y, &mut worker.scratch);
        return ys;
    }
    let mut input = std::mem::take(&mut worker.input);
    linear.load(xs, &mut input);
    let helpers = ranges.len() - 1;
    let crew = Arc::new(Crew::new(Arc::clone(linear), input, ranges));
    let called = Arc::clone(&crew);
    worker.call_in(helpers, move |other| called.work(other));
    crew.work(worker);
    crew.collect(&mut ys);
    if let Some(crew) = Arc::into_inner(crew) {
        worker.input = crew.input; // all helpers are gone: the buffer is ours again
    }
    ys
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

    /// Elements of all outputs per channel.
    fn per_channel(&self) -> usize {
        match self.linear.geometry() {
            Geometry::Conv(conv) => Geometry::Conv(*conv).out_len() / conv.c_out as usize,
            Geometry::Fc(_) => self.input.items(),
        }
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
    fn collect(&self, ys: &mut [Vec<u32>]) {
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
        let geometry = self.linear.geometry();
        match geometry {
            Geometry::Fc(_) if self.input.items() > 1 => {
                let rows = ys.iter_mut().flat_map(|y| y.chunks_exact_mut(geometry.out_channels()));
                for (row, out) in rows.enumerate() {
                    item(&by_channel, self.input.items(), row, out);
                }
            }
            _ => ys[0].copy_from_slice(&by_channel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Pool, Priority};
    use std::num::NonZeroUsize;
    use tokio::sync::oneshot;
    use twinmask_gemm::{Conv, Fc, default_kernel, naive};
    use twinmask_ring::prf::Key;

    fn uniform(label: &str, n: usize) -> Vec<u32> {
        let mut out = vec![0; n];
        Key::derive("test", &[label.as_bytes()]).fill(0, 32, &mut out);
        out
    }

    /// Layers above and below the threshold, for one and for several, with one thread and with four.
    #[tokio::test]
    async fn layers_are_those_of_the_oracle() {
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
        let fc = |rows, outputs| Geometry::Fc(Fc { rows, inputs: 3000, outputs });
        let cases = [(Geometry::Conv(conv), 1), (fc(1, 1001), 1), (fc(1, 1001), 3), (fc(5, 1001), 4), (fc(2, 7), 3)];
        let four = NonZeroUsize::new(4).expect("positive");
        for threads in [NonZeroUsize::MIN, four] {
            let pool = Pool::new(threads, four);
            for (geometry, inputs) in cases {
                let weights: Vec<i16> = uniform("w", geometry.weight_len()).iter().map(|w| (*w as i8).into()).collect();
                let xs: Vec<_> = (0..inputs).map(|i| uniform(&format!("x{i}"), geometry.in_len())).collect();
                let oracle = |x: &Vec<u32>| {
                    let mut y = vec![0; geometry.out_len()];
                    naive::apply(&geometry, &weights, x, &mut y);
                    y
                };
                let expected: Vec<_> = xs.iter().map(oracle).collect();
                let linear = default_kernel().prepare(&geometry, &weights, 32);
                for _ in 0..10 {
                    let (linear, xs) = (Arc::clone(&linear), xs.clone());
                    let (sender, receiver) = oneshot::channel();
                    let job = move |worker: &mut Worker| {
                        let xs: Vec<&[u32]> = xs.iter().map(Vec::as_slice).collect();
                        let _ = sender.send(apply(&linear, &xs, worker));
                    };
                    pool.place(Priority::Normal).await.enqueue(1, job);
                    assert!(receiver.await.expect("no panic") == expected, "{geometry:?}");
                }
            }
        }
    }
}
