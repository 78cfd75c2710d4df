//! One layer on several threads: each takes the next range of output channels until none is left. Whoever leads does
//! not wait for a thread that the system has interrupted: it computes anew what that one has begun.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use twinmask_kernels::{Input, Linear, item, split};
use twinmask_layer::Geometry;

use crate::compute::pool::Worker;

/// Multiply-accumulates from which on a layer is worth dividing: below, calling in a thread takes longer.
pub(super) const WORTH_DIVIDING: u64 = 1 << 23;
/// Fewest multiply-accumulates of a piece: some 10 microseconds.
const PIECE: u64 = 1 << 20;
/// Most pieces per thread: further ones would only read the input once more.
const MOST_EACH: usize = 4;

/// `y = W·x` for each of `xs`, on this thread and those that are idle. Several are computed at once, so that the
/// weights are read once; a convolution takes one.
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
    let division =
        Arc::new(Division::new(Arc::clone(linear), input, split(&**linear, pieces.min(MOST_EACH * threads))));
    let called = Arc::clone(&division);
    worker.call_in((threads - 1).min(division.ranges.len() - 1), move |other| called.help(other));
    if let (Geometry::Fc(_), items @ 2..) = (geometry, division.input.items()) {
        let mut by_channel = worker.buffer(ys.iter().map(Vec::len).sum());
        division.lead(&mut by_channel, worker);
        let rows = ys.iter_mut().flat_map(|y| y.chunks_exact_mut(geometry.out_channels()));
        rows.enumerate().for_each(|(row, out)| item(&by_channel, items, row, out));
        worker.recycle(by_channel);
    } else {
        division.lead(&mut ys[0], worker);
    }
    if let Some(division) = Arc::into_inner(division) {
        worker.input = division.input; // all helpers are gone: the buffer is ours again
    }
    ys
}

/// A range by its index, and its output.
type Part = (usize, Vec<u32>);

/// One layer that several threads compute: each takes the next range of output channels until none is left.
struct Division {
    linear: Arc<dyn Linear>,
    input: Input,
    ranges: Vec<Range<usize>>,
    next: AtomicUsize,
    /// What helpers have computed.
    parts: Mutex<Vec<Part>>,
    finished: Condvar,
}

impl Division {
    fn new(linear: Arc<dyn Linear>, input: Input, ranges: Vec<Range<usize>>) -> Division {
        Division { linear, input, ranges, next: AtomicUsize::new(0), parts: Mutex::default(), finished: Condvar::new() }
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.parts().push((index, y));
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
        let waited = self.finished.wait_timeout_while(self.parts(), patience, waiting);
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
