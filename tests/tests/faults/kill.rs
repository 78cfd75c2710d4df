//! kill -9 of an edge in the middle of an inference.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Runtime;
use twinmask_device::Mode;
use twinmask_device::engine::Session;

use crate::{AGAIN, NOTICED, Scene, again, input, named, report};

/// Points of an inference, by what its device has sent to edge B.
const POINTS: usize = 20;
/// Scenes at a time: most of the time all of them wait.
const LANES: usize = 5;

/// How a device took it.
struct Taken {
    noticed: Duration,
    again: Duration,
    round: Option<usize>,
}

/// Bytes that the device has sent to edge B in this session.
fn sent(session: &Session) -> u64 {
    session.usage().b.up
}

/// Kills `victim` when the device has sent `part` of the bytes of an inference.
fn killed_at(scene: &Scene, victim: &str, mode: Mode, part: f64) -> Taken {
    let runtime = Runtime::new().expect("a runtime");
    let mut edges = scene.edges(mode);
    let device = scene.device(&edges, mode);
    let infer = || runtime.block_on(device.run(input()));
    scene.check(&infer().expect("an inference"));
    let session = runtime.block_on(device.session()).expect("a session").expect("edges");
    let before = sent(&session);
    scene.check(&infer().expect("an inference"));
    let due = sent(&session) + (part * (sent(&session) - before) as f64) as u64;
    let killed = Mutex::new(None);
    let (error, at) = std::thread::scope(|threads| {
        threads.spawn(|| {
            while sent(&session) < due {
                std::thread::yield_now();
            }
            edges.get(victim).signal(Signal::KILL);
            *killed.lock().expect("no panic") = Some(Instant::now());
        });
        loop {
            match infer() {
                Ok(done) => scene.check(&done),
                Err(e) => break (e, Instant::now()),
            }
        }
    });
    let killed = killed.into_inner().expect("no panic").expect("fails because it was killed");
    let (edge, round) = named(&error);
    assert_eq!(edge.to_string(), victim, "{error}");
    assert!(error.to_string().contains(victim) && error.exit_code() == 4, "{error}");
    edges.get_mut(victim).kill();
    scene.restart(&mut edges, victim);
    Taken { noticed: at - killed, again: runtime.block_on(again(scene, &device)), round }
}

/// If this fails, a device hangs or blames the wrong host when an edge dies, or does not go on when it is back.
#[test]
fn an_edge_killed_at_twenty_points_of_an_inference() {
    let scene = Scene::new();
    let (cases, next) = (["edge-a", "edge-b"].map(|victim| (0..POINTS).map(move |i| (victim, i))), AtomicUsize::new(0));
    let cases: Vec<(&str, usize)> = cases.into_iter().flatten().collect();
    let taken = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..LANES {
            threads.spawn(|| {
                while let Some(&(victim, i)) = cases.get(next.fetch_add(1, Relaxed)) {
                    let mode = if i % 2 == 0 { Mode::Split } else { Mode::Relay };
                    let done = killed_at(&scene, victim, mode, (i as f64 + 0.5) / POINTS as f64);
                    taken.lock().expect("no panic").push((victim, done));
                }
            });
        }
    });
    let taken = taken.into_inner().expect("no panic");
    for victim in ["edge-a", "edge-b"] {
        let of: Vec<&Taken> = taken.iter().filter(|(v, _)| *v == victim).map(|(_, taken)| taken).collect();
        let [noticed, again] =
            [|t: &Taken| t.noticed, |t: &Taken| t.again].map(|f| of.iter().map(|t| f(t)).collect::<Vec<_>>());
        let rounds: std::collections::BTreeSet<usize> = of.iter().filter_map(|t| t.round).collect();
        report(
            &format!("kill -9 of {victim}, {POINTS} points"),
            &[("error", &noticed), ("works after its restart", &again)],
        );
        println!("  in rounds {rounds:?}, {} outside of any", of.iter().filter(|t| t.round.is_none()).count());
        assert!(noticed.iter().all(|t| *t < NOTICED) && again.iter().all(|t| *t < AGAIN), "{noticed:?}, {again:?}");
        // What edge A answers is there before it is needed: without it, an inference may come to its end.
        assert!(victim == "edge-a" || rounds.len() >= 6, "the points are all alike: {rounds:?}");
    }
}
