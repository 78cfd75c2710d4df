//! Divided layers against the oracle.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::ThreadId;

use tokio::sync::oneshot;
use twinmask_kernels::{default_kernel, naive};
use twinmask_layer::{Conv, Fc, Geometry};
use twinmask_testkit::{Gate, Hook, Layer, uniform, weights, wrapped};

use super::parallel::{WORTH_DIVIDING, apply};
use super::pool::{Pool, Priority, Worker};
use crate::lock::{Mutex, locked};

/// Layers above and below the threshold, for one and for several, with one thread and with four.
#[tokio::test]
async fn layers_are_those_of_the_oracle() {
    let conv = Conv::square([48, 40], 20, 5, 1, 2);
    let fc = |rows, outputs| Geometry::Fc(Fc { rows, inputs: 3000, outputs });
    let cases = [(Geometry::Conv(conv), 1), (fc(1, 6001), 1), (fc(1, 6001), 3), (fc(2, 3001), 4), (fc(2, 7), 3)];
    let four = NonZeroUsize::new(4).expect("positive");
    for threads in [NonZeroUsize::MIN, four] {
        let pool = Pool::new(threads, four);
        for (geometry, inputs) in cases {
            let weights = weights("w", geometry.weight_len());
            let xs: Vec<_> = (0..inputs).map(|i| uniform(&format!("x{i}"), geometry.in_len(), 32)).collect();
            let expected: Vec<_> = xs.iter().map(|x| naive::apply(&geometry, &weights, x)).collect();
            let linear = default_kernel().prepare(&geometry, &weights, 32);
            for _ in 0..10 {
                let (linear, xs) = (Arc::clone(&linear), xs.clone());
                let (sender, receiver) = oneshot::channel();
                let job = move |worker: &mut Worker| {
                    let xs: Vec<&[u32]> = xs.iter().map(Vec::as_slice).collect();
                    let _ = sender.send(apply(&linear, &xs, worker));
                };
                pool.place(Priority::Normal).await.enqueue("1".into(), job);
                assert!(receiver.await.expect("no panic") == expected, "{geometry:?}");
            }
        }
    }
}

/// Only the thread that loads a layer ever gets done with it, until the others are let go.
#[derive(Default)]
struct Stuck {
    leader: Mutex<Option<ThreadId>>,
    gate: Gate,
}

impl Hook for Stuck {
    fn load(&self, _: &Layer, _: &[&[u32]]) {
        *locked(&self.leader) = Some(std::thread::current().id());
    }

    fn before(&self, _: &Layer) {
        let leads = *locked(&self.leader) == Some(std::thread::current().id());
        if leads {
            // Begins when a helper has: else there may be nothing left for it.
            self.gate.await_waiting();
        } else {
            self.gate.pass();
        }
    }
}

#[tokio::test]
async fn a_helper_that_is_interrupted_holds_nobody_up() {
    let geometry = Geometry::Fc(Fc { rows: 1, inputs: 5000, outputs: 4000 });
    assert!(geometry.macs() >= WORTH_DIVIDING);
    let weights = weights("w", geometry.weight_len());
    let x = uniform("x", geometry.in_len(), 32);
    let expected = naive::apply(&geometry, &weights, &x);
    let stuck = Arc::new(Stuck::default());
    let linear = wrapped(default_kernel(), Arc::clone(&stuck)).prepare(&geometry, &weights, 32);
    let pool = Pool::new(NonZeroUsize::new(2).expect("positive"), NonZeroUsize::MIN);
    while pool.idle() < 2 {
        tokio::task::yield_now().await;
    }
    let (sender, receiver) = oneshot::channel();
    let job = move |worker: &mut Worker| drop(sender.send(apply(&linear, &[&x], worker)));
    pool.place(Priority::Normal).await.enqueue("1".into(), job);
    let answers = tokio::time::timeout(std::time::Duration::from_secs(20), receiver).await;
    stuck.gate.open();
    assert!(answers.expect("does not wait").expect("no panic") == [expected]);
}
