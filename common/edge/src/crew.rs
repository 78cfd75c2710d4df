//! One layer on several threads: each takes the next range of output channels until none is left. Whoever leads does not wait
//! for a thread that the system has interrupted: it computes anew what that one has begun.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use twinmask_kernels::{Input, Linear, item, split};
use twinmask_layer::Geometry;

use crate::compute::locked;
use crate::pool::Worker;

/// Multiply-accumulates from which on a layer is worth dividing: below, calling in a thread takes longer.
const WORTH_DIVIDING: u64 = 1 << 23;
/// Fewest multiply-accumulates of a piece: some 10 microseconds.
const PIECE: u64 = 1 << 20;
/// Most pieces per thread: further ones would only read the input once more.
const MOST_EACH: usize = 4;

/// `y = W·x` for each of `xs`, on this thread and those that are idle. Several are computed at once, so that the weights are
/// read once; a convolution takes one.
pub(crate) fn apply(linear: &Arc<dyn Linear>, xs: &[&[u32]], worker: &mut Worker) -> Vec<Vec<u32>> {
    let geometry = linear.geometry();
    let mut ys: Vec<Vec<u32>> = xs.iter().map(|_| worker.buffer(geometry.out_len())).collect();
    let macs = geometry.macs() * xs.len() as u64;
    let threads = if macs < WORTH_DIVIDING { 1 } else { 1 + worker.idle() };
    if let ([x], [y], 1) = (xs, &mut ys[..], threads) {
        linear.apply(x, y, &mut worker.scratch);
        return ys;
    }
    let pieces = if threads == 1 { 1 } else { usize::try_from(macs / PIECE).unwrap_or(usize::MAX) };
    let mut input = std::mem::take(&mut worker.input);
    linear.load(xs, &mut input);
    let crew = Arc::new(Crew::new(Arc::clone(linear), input, split(&**linear, pieces.min(MOST_EACH * threads))));
    let called = Arc::clone(&crew);
    worker.call_in((threads - 1).min(crew.ranges.len() - 1), move |other| called.help(other));
    if let (Geometry::Fc(_), items @ 2..) = (geometry, crew.input.items()) {
        let mut by_channel = worker.buffer(ys.iter().map(Vec::len).sum());
        crew.lead(&mut by_channel, worker);
        let rows = ys.iter_mut().flat_map(|y| y.chunks_exact_mut(geometry.out_channels()));
        rows.enumerate().for_each(|(row, out)| item(&by_channel, items, row, out));
        worker.recycle(by_channel);
    } else {
        crew.lead(&mut ys[0], worker);
    }
    if let Some(crew) = Arc::into_inner(crew) {
        worker.input = crew.input; // all helpers are gone: the buffer is ours again
    }
    ys
}

/// A range by its index, and its output.
type Part = (usize, Vec<u32>);

/// One layer that several threads compute: each takes the next range of output channels until none is left.
struct Crew {
    linear: Arc<dyn Linear>,
    input: Input,
    ranges: Vec<Range<usize>>,
    next: AtomicUsize,
    /// What helpers have computed.
    parts: Mutex<Vec<Part>>,
    finished: Condvar,
}

impl Crew {
    fn new(linear: Arc<dyn Linear>, input: Input, ranges: Vec<Range<usize>>) -> Crew {
        Crew { linear, input, ranges, next: AtomicUsize::new(0), parts: Mutex::default(), finished: Condvar::new() }
    }

    /// Elements of all outputs per channel.
    fn per_channel(&self) -> usize {
        match self.linear.geometry() {
            Geometry::Conv(conv) => Geometry::Conv(*conv).out_len() / conv.c_out as usize,
            Geometry::Fc(_) => self.input.items(),
        }
    }

    /// The next range, which nobody else gets.
    fn take(&self) -> Option<(usize, Range<usize>)> {
        let index = self.next.fetch_add(1, Relaxed);
        self.ranges.get(index).map(|range| (index, range.clone()))
    }

    fn help(&self, worker: &mut Worker) {
        while let Some((index, range)) = self.take() {
            let mut y = worker.buffer(range.len() * self.per_channel());
            self.linear.part(&self.input, range, &mut y, &mut worker.scratch);
            locked(&self.parts).push((index, y));
            self.finished.notify_one();
        }
    }

    /// Computes `y`, `[channels, items, positions]`, with the helpers.
    fn lead(&self, y: &mut [u32], worker: &mut Worker) {
        let each = self.per_channel();
        let of = |range: &Range<usize>| range.start * each..range.end * each;
        let mut missing: BTreeSet<usize> = (0..self.ranges.len()).collect();
        let (begun, mut own) = (Instant::now(), 0);
        while let Some((index, range)) = self.take() {
            let out = &mut y[of(&range)];
            self.linear.part(&self.input, range, out, &mut worker.scratch);
            missing.remove(&index);
            own += 1;
        }
        // What a helper has begun takes as long as here, unless it was interrupted or has panicked.
        let patience = begun.elapsed() / own.max(1);
        let waiting = |parts: &mut Vec<_>| parts.len() < missing.len();
        let waited = self.finished.wait_timeout_while(locked(&self.parts), patience, waiting);
        let parts = std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0);
        for (index, part) in parts {
            y[of(&self.ranges[index])].copy_from_slice(&part);
            worker.recycle(part);
            missing.remove(&index);
        }
        for range in missing.into_iter().map(|index| self.ranges[index].clone()) {
            let out = &mut y[of(&range)];
            self.linear.part(&self.input, range, out, &mut worker.scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Pool, Priority};
    use std::num::NonZeroUsize;
    use std::thread::ThreadId;
    use tokio::sync::oneshot;
    use twinmask_kernels::{Scratch, default_kernel, naive};
    use twinmask_layer::{Conv, Fc};
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
            c_in: 48,
            h: 20,
            w: 20,
            c_out: 40,
            kh: 5,
            kw: 5,
            stride: [1, 1],
            pad: [2; 4],
            dilation: [1, 1],
            groups: 1,
        };
        let fc = |rows, outputs| Geometry::Fc(Fc { rows, inputs: 3000, outputs });
        let cases = [(Geometry::Conv(conv), 1), (fc(1, 6001), 1), (fc(1, 6001), 3), (fc(2, 3001), 4), (fc(2, 7), 3)];
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

    /// A layer that only the thread which loads it ever gets done with, until the others are let go.
    struct Stuck {
        inner: Arc<dyn Linear>,
        leader: Mutex<Option<ThreadId>>,
        /// How many threads are stuck, and whether they still are.
        gate: (Mutex<(usize, bool)>, Condvar),
    }

    impl Linear for Stuck {
        fn geometry(&self) -> &Geometry {
            self.inner.geometry()
        }
        fn picked(&self) -> &'static str {
            self.inner.picked()
        }
        fn channel_step(&self) -> usize {
            self.inner.channel_step()
        }
        fn load(&self, xs: &[&[u32]], input: &mut Input) {
            *locked(&self.leader) = Some(std::thread::current().id());
            self.inner.load(xs, input);
        }
        fn part(&self, input: &Input, channels: Range<usize>, y: &mut [u32], scratch: &mut Scratch) {
            let leads = *locked(&self.leader) == Some(std::thread::current().id());
            let mut stuck = locked(&self.gate.0);
            if leads {
                // Begins when a helper has: else there may be nothing left for it.
                drop(self.gate.1.wait_while(stuck, |stuck| stuck.0 == 0).expect("no panic"));
            } else {
                stuck.0 += 1;
                self.gate.1.notify_all();
                drop(self.gate.1.wait_while(stuck, |stuck| stuck.1).expect("no panic"));
            }
            self.inner.part(input, channels, y, scratch);
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_interrupted_holds_nobody_up() {
        let geometry = Geometry::Fc(Fc { rows: 1, inputs: 5000, outputs: 4000 });
        assert!(geometry.macs() >= WORTH_DIVIDING);
        let weights: Vec<i16> = uniform("w", geometry.weight_len()).iter().map(|w| (*w as i8).into()).collect();
        let x = uniform("x", geometry.in_len());
        let mut expected = vec![0; geometry.out_len()];
        naive::apply(&geometry, &weights, &x, &mut expected);
        let inner = default_kernel().prepare(&geometry, &weights, 32);
        let stuck = Arc::new(Stuck { inner, leader: Mutex::default(), gate: (Mutex::new((0, true)), Condvar::new()) });
        let pool = Pool::new(NonZeroUsize::new(2).expect("positive"), NonZeroUsize::MIN);
        while pool.idle() < 2 {
            tokio::task::yield_now().await;
        }
        let (sender, receiver) = oneshot::channel();
        let linear: Arc<dyn Linear> = Arc::clone(&stuck) as _;
        let job = move |worker: &mut Worker| drop(sender.send(apply(&linear, &[&x], worker)));
        pool.place(Priority::Normal).await.enqueue(1, job);
        let answers = tokio::time::timeout(std::time::Duration::from_secs(20), receiver).await;
        *locked(&stuck.gate.0) = (1, false);
        stuck.gate.1.notify_all();
        assert!(answers.expect("does not wait").expect("no panic") == [expected]);
    }
}
