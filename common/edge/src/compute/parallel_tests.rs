//! Divided layers against the oracle.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;

use tokio::sync::oneshot;
use twinmask_kernels::{Input, Linear, Scratch, default_kernel, naive};
use twinmask_layer::{Conv, Fc, Geometry};
use twinmask_ring::prf::Key;

use super::parallel::{WORTH_DIVIDING, apply};
use super::pool::{Pool, Priority, Worker};
use crate::lock::locked;

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
