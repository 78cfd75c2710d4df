//! Signals while a device has several inferences in flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Runtime;
use twinmask_device::{Device, DeviceError, Mode};
use twinmask_tests::until;

use crate::{AGAIN, Scene, again, input, named, report};

/// Time for an edge to go down.
const DOWN: Duration = Duration::from_secs(10);

/// Three inferences at a time, again and again.
#[derive(Default)]
pub(crate) struct Load {
    /// Inferences that came out right so far.
    pub(crate) done: AtomicUsize,
    enough: AtomicBool,
}

impl Load {
    /// Runs until [`enough`](Self::stop), and each lane until an inference fails; those errors.
    pub(crate) async fn run(&self, scene: &Scene, device: &Device) -> Vec<DeviceError> {
        let lane = async || {
            while !self.enough.load(SeqCst) {
                match device.run(input()).await {
                    Ok(done) => scene.check(&done),
                    Err(e) => return Some(e),
                }
                self.done.fetch_add(1, SeqCst);
            }
            None
        };
        let (a, b, c) = tokio::join!(lane(), lane(), lane());
        [a, b, c].into_iter().flatten().collect()
    }

    pub(crate) fn stop(&self) {
        self.enough.store(true, SeqCst);
    }

    /// Waits until so many more have come out right.
    #[track_caller]
    pub(crate) fn await_more(&self, n: usize) {
        let before = self.done.load(SeqCst);
        until(&format!("{n} inferences more"), || self.done.load(SeqCst) >= before + n);
    }
}

/// If this fails, an upgrade of an edge takes long, or loses inferences that it has begun.
#[test]
fn an_edge_told_to_end_under_load_finishes_what_it_has_begun() {
    let scene = Scene::new();
    for victim in ["edge-a", "edge-b"] {
        let (mut down, mut refused, mut all) = (Vec::new(), 0, 0);
        for mode in [Mode::Split, Mode::Relay].into_iter().cycle().take(6) {
            let runtime = Runtime::new().expect("a runtime");
            let mut edges = scene.edges(mode);
            let (device, load) = (scene.device(&edges, mode), Load::default());
            let errors = std::thread::scope(|threads| {
                let loading = threads.spawn(|| runtime.block_on(load.run(&scene, &device)));
                load.await_more(10);
                let told = Instant::now();
                edges.get_mut(victim).stop().expect_ok();
                down.push(told.elapsed());
                loading.join().expect("no panic")
            });
            // What an edge has not begun any more may be refused, by that edge and in its words. The inference had no
            // answer from both edges then.
            for error in &errors {
                let (edge, round) = named(error);
                let said = edge.to_string() == victim && error.to_string().contains("going down");
                // A later begin finds nobody there.
                let gone = round.is_none() && edge.to_string() == victim;
                assert!(said && round.unwrap_or(0) == 0 || gone, "{mode}: lost: {error}; all: {errors:#?}");
            }
            refused += errors.len();
            all += load.done.load(SeqCst);
            scene.restart(&mut edges, victim);
            assert!(runtime.block_on(again(&scene, &device)) < AGAIN, "{mode}");
        }
        report(&format!("SIGTERM of {victim} under load, 6 times"), &[("down after", &down)]);
        println!("  {all} inferences right, 0 lost, {refused} refused before they began");
        assert!(down.iter().all(|t| *t < DOWN), "{down:?}");
    }
}

/// If this fails, a new model or a revocation costs inferences.
#[test]
fn an_edge_told_to_load_anew_under_load_loses_nothing() {
    let scene = Scene::new();
    for mode in [Mode::Split, Mode::Relay] {
        let runtime = Runtime::new().expect("a runtime");
        let edges = scene.edges(mode);
        let (device, load) = (scene.device(&edges, mode), Load::default());
        let errors = std::thread::scope(|threads| {
            let loading = threads.spawn(|| runtime.block_on(load.run(&scene, &device)));
            for i in 1..=10 {
                for edge in [&edges.a, &edges.b] {
                    edge.signal(Signal::HUP);
                    until("loaded anew", || edge.log().matches("loaded anew").count() >= i);
                }
                load.await_more(3);
            }
            load.stop();
            loading.join().expect("no panic")
        });
        assert!(errors.is_empty(), "{mode}: {errors:?}");
        println!(
            "fault: SIGHUP of both edges under load, 10 times, {mode}: {} inferences right, 0 lost",
            load.done.load(SeqCst)
        );
        assert_eq!(edges.a.log().matches("session opened").count(), 1, "{mode}: the session was opened anew");
    }
}
