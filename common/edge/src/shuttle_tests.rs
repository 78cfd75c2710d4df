//! Where threads meet, in some thousand orders each: shuttle runs them one after the other and changes over at every
//! lock. `cargo test -p twinmask-edge --features shuttle --lib shuttle_tests`.
//!
//! A wakeup that is lost shows as a deadlock, what two threads leave in disorder as a sum that is not right.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use metrics::Gauge;
use shuttle::future::{block_on, spawn};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::mpsc::channel;
use shuttle::thread;
use shuttle::{Config, Runner};
use twinmask_codec::{Counter, RoundId};
use twinmask_wire::message::{RelayOpen, Secret};

use crate::budget::{Budget, Device};
use crate::compute::pool::{Pool, Priority};
use crate::relay::inbox::{Inboxes, OpenInbox};
use crate::relay::outbox::{Outbox, Outgoing};

const ORDERS: usize = 2_000;
const SEED: u64 = 0x7477_696e;

/// Runs `test` in random orders, and in some with few changes, which random ones seldom are.
fn orders(test: fn()) {
    Runner::new(RandomScheduler::new_from_seed(SEED, ORDERS), Config::default()).run(test);
    Runner::new(PctScheduler::new_from_seed(SEED, 3, ORDERS), Config::default()).run(test);
}

fn device(name: &str) -> Device {
    name.into()
}

/// If this fails, a job waits though a thread is idle: the thread went to sleep just when the job came.
#[test]
fn every_job_finds_a_thread() {
    orders(|| {
        let one = NonZeroUsize::MIN;
        let pool = Arc::new(Pool::new(one, one));
        let (done, jobs) = channel();
        let mut producers = Vec::new();
        for name in ["a", "b"] {
            let (pool, done) = (Arc::clone(&pool), done.clone());
            producers.push(thread::spawn(move || {
                for _ in 0..2 {
                    let done = done.clone();
                    let place = block_on(pool.place(Priority::Normal));
                    place.enqueue(device(name), move |_| done.send(()).expect("somebody counts"));
                }
            }));
        }
        for _ in 0..4 {
            jobs.recv().expect("all jobs are done");
        }
        producers.into_iter().for_each(|p| p.join().expect("no panic"));
        // And the threads end, idle or not.
    });
}

/// If this fails, a job that calls others in leaves one of them asleep or wakes one for a job that is gone.
#[test]
fn threads_that_are_called_in_come_or_find_other_work() {
    orders(|| {
        let two = NonZeroUsize::MIN.saturating_add(1);
        let pool = Pool::new(two, two);
        let (done, jobs) = channel();
        let helped = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let (done, helped) = (done.clone(), Arc::clone(&helped));
            block_on(pool.place(Priority::Normal)).enqueue(device("a"), move |worker| {
                worker.call_in(worker.idle(), move |_| {
                    helped.fetch_add(1, Relaxed);
                });
                done.send(()).expect("somebody counts");
            });
        }
        for _ in 0..2 {
            jobs.recv().expect("all jobs are done");
        }
        drop(pool);
        assert!(helped.load(Relaxed) <= 2);
    });
}

/// If this fails, somebody waits for room that has come back, or two have it at once.
#[test]
fn room_that_comes_back_is_found() {
    orders(|| {
        let budget = Budget::new(10, 10, Gauge::noop());
        let held = budget.reserve(&device("a"), 8).expect("it is empty");
        let inside = Arc::new(AtomicUsize::new(0));
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let (budget, inside) = (Arc::clone(&budget), Arc::clone(&inside));
            waiting.push(spawn(async move {
                let room = budget.room(&device("a"), 6).await;
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "12 of 10");
                thread::yield_now();
                inside.fetch_sub(1, Relaxed);
                drop(room);
            }));
        }
        thread::spawn(move || drop(held));
        for task in waiting {
            block_on(task).expect("no panic");
        }
        assert_eq!(budget.granted(), 0);
    });
}

const LEN: usize = 3;
/// Bytes of as many inferences as edge A works ahead.
const WHOLE: usize = 8 * LEN;
const FIRST: (Counter, RoundId) = (Counter::new(0), RoundId::new(0));

/// The inbox of a session of one round, with edge A there and inference 0 running.
fn inbox() -> Arc<OpenInbox> {
    let facts = RelayOpen { session: [1; 16], device: "a".into(), digest: [2; 32], ticket: Secret([3; 32]) };
    let budget = Budget::new(100, 100, Gauge::noop());
    let inbox = Arc::<Inboxes>::default().open(facts.clone(), vec![LEN], &budget, 100).expect("the first");
    inbox.introduce(&facts).expect("they are its own");
    inbox.begin(FIRST.0, true);
    Arc::new(inbox)
}

/// If this fails, a round waits for a correction that is there, or the room of one that came too late is lost.
#[test]
fn a_correction_comes_in_time_or_its_room_comes_back() {
    orders(|| {
        let inbox = inbox();
        let from_a = Arc::clone(&inbox);
        let sending = thread::spawn(move || from_a.put(FIRST.0, FIRST.1, vec![7; LEN]).expect("it is due"));
        let impatient = Arc::clone(&inbox);
        let early = thread::spawn(move || impatient.take(FIRST.0, FIRST.1).is_some());
        let waiting = Arc::clone(&inbox);
        let late = spawn(async move {
            waiting.come(FIRST.0, FIRST.1).await;
            waiting.take_or_miss(FIRST.0, FIRST.1).is_some()
        });
        let late = block_on(late).expect("no panic");
        sending.join().expect("no panic");
        assert!(early.join().expect("no panic") ^ late, "it is used once");
        inbox.discard(FIRST.0);
        let ([granted, listed], _) = inbox.kept();
        assert_eq!(granted, listed);
    });
}

/// The same when nobody waits for it.
#[test]
fn a_correction_that_is_not_waited_for_is_accounted_for() {
    orders(|| {
        let inbox = inbox();
        let from_a = Arc::clone(&inbox);
        let sending = thread::spawn(move || from_a.put(FIRST.0, FIRST.1, vec![7; LEN]).expect("it is due"));
        let missing = Arc::clone(&inbox);
        let missing = thread::spawn(move || drop(missing.take_or_miss(FIRST.0, FIRST.1)));
        let ending = Arc::clone(&inbox);
        let ending = thread::spawn(move || ending.discard(FIRST.0));
        for thread in [sending, missing, ending] {
            thread.join().expect("no panic");
        }
        let ([granted, listed], _) = inbox.kept();
        assert_eq!(granted, listed, "room is lost or given twice");
    });
}

/// If this fails, edge A is not told of credit that it has, of which it waits for more.
#[test]
fn all_credit_is_told() {
    orders(|| {
        let inbox = inbox();
        let owing = Arc::clone(&inbox);
        let told = spawn(async move {
            let (mut voids, mut told) = (0, 0);
            while voids < 2 || told < WHOLE {
                match owing.owed().await.expect("the session is open") {
                    0 => (voids, told) = (voids + 1, 0),
                    bytes => told += bytes,
                }
            }
            told
        });
        let resting = Arc::clone(&inbox);
        let resting = thread::spawn(move || resting.rest());
        inbox.rest();
        resting.join().expect("no panic");
        assert_eq!(block_on(told).expect("no panic"), WHOLE, "an inference runs, so all is granted anew");
    });
}

/// If this fails, a correction is left in the outbox though there is credit for it, or the sender is not told of the
/// end.
#[test]
fn all_that_there_is_credit_for_is_sent() {
    orders(|| {
        let outbox = Arc::new(Outbox::new(LEN));
        let sending = Arc::clone(&outbox);
        let sent = spawn(async move {
            let mut sent = Vec::new();
            while let Some(next) = sending.next().await {
                if let Outgoing::Correction { counter, .. } = next {
                    sent.push(counter.get());
                    if sent.len() == 2 {
                        sending.down();
                    }
                }
            }
            sent
        });
        let budget = Budget::new(100, 100, Gauge::noop());
        let pushing = Arc::clone(&outbox);
        let pushing = thread::spawn(move || {
            for c in 0..2 {
                let room = budget.reserve(&device("a"), LEN).expect("there is room");
                pushing.push(Counter::new(c), FIRST.1, vec![7; LEN], room);
            }
            pushing.withdraw(Counter::new(9));
        });
        outbox.credit(LEN as u32);
        assert_eq!(block_on(sent).expect("no panic"), [0, 1]);
        pushing.join().expect("no panic");
        block_on(outbox.ended());
    });
}
