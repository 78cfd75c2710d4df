//! Compute threads and their queues.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
use tokio::sync::oneshot;

use super::pool::{MOST_PASSED, Pool, Priority, Worker};
use crate::budget::Device;

fn device(number: u64) -> Device {
    number.to_string().into()
}

fn pool(threads: usize, queue: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).expect("positive"), NonZeroUsize::new(queue).expect("positive"))
}

async fn run<T: Send + 'static>(pool: &Pool, job: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    pool.place(Priority::Normal).await.enqueue(device(0), move |_| drop(sender.send(job())));
    receiver.await.expect("runs")
}

/// Occupies the one thread of `pool` for jobs of this priority until the sender is used.
async fn occupy(pool: &Pool, priority: Priority) -> std::sync::mpsc::Sender<()> {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let job = move |_: &mut Worker| {
        let _ = started.send(());
        let _ = wait.recv();
    };
    pool.place(priority).await.enqueue(device(0), job);
    has_started.await.expect("starts");
    go
}

#[tokio::test]
async fn a_panic_ends_its_job_only() {
    let pool = pool(1, 4);
    pool.place(Priority::Normal).await.enqueue(device(0), |_| panic!("job {}", 7));
    assert_eq!(run(&pool, || 8).await, 8);
}

/// 30 jobs of one device come first, but 3 of another do not wait for them.
#[tokio::test]
async fn devices_take_turns() {
    for priority in [Priority::Normal, Priority::Low] {
        let pool = pool(1, 64);
        let go = occupy(&pool, priority).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        for (number, count) in [(1, 30), (2, 3)] {
            for i in 0..count {
                let order = Arc::clone(&order);
                let job = move |_: &mut Worker| order.lock().expect("no panic").push((number, i));
                pool.place(priority).await.enqueue(device(number), job);
            }
        }
        go.send(()).expect("the first job waits");
        while order.lock().expect("no panic").len() < 33 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let order = order.lock().expect("no panic").clone();
        assert_eq!(order[..7], [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2), (1, 3)]);
    }
}

/// Devices 1 to 3 have jobs that gather, device 4 others.
#[tokio::test]
async fn jobs_that_gather_let_some_others_pass() {
    let pool = pool(1, 64);
    let go = occupy(&pool, Priority::Normal).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for (number, count) in [(1, 1), (2, 1), (3, 1), (4, 2 * MOST_PASSED)] {
        for _ in 0..count {
            let order = Arc::clone(&order);
            let place = pool.place(Priority::Normal).await;
            let place = if number < 4 { place.gathers() } else { place };
            place.enqueue(device(number), move |_| order.lock().expect("no panic").push(number));
        }
    }
    go.send(()).expect("the first job waits");
    let all = 3 + 2 * MOST_PASSED;
    while order.lock().expect("no panic").len() < all {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let order = order.lock().expect("no panic").clone();
    let wanted = [vec![4; MOST_PASSED], vec![1], vec![4; MOST_PASSED], vec![2, 3]].concat();
    assert_eq!(order, wanted);
}

#[tokio::test]
async fn work_ahead_of_time_neither_waits_for_urgent_work_nor_holds_it_up() {
    let pool = pool(1, 4);
    for (busy, other, thread) in
        [(Priority::Normal, Priority::Low, "ahead-0"), (Priority::Low, Priority::Normal, "compute-0")]
    {
        let go = occupy(&pool, busy).await;
        let (sender, name) = oneshot::channel();
        let job = move |worker: &mut Worker| {
            let name = std::thread::current().name().map(str::to_owned);
            drop(sender.send((name, worker.idle(), thread_schedule_policy())));
        };
        pool.place(other).await.enqueue(device(1), job);
        let (name, idle, policy) = name.await.expect("runs");
        assert_eq!((name.as_deref(), idle), (Some(thread), 0));
        let lowest = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(policy.expect("known") == lowest, other == Priority::Low);
        go.send(()).expect("the job waits");
    }
}

#[tokio::test]
async fn queues_are_bounded_each_for_itself() {
    let pool = pool(1, 2);
    let go = occupy(&pool, Priority::Normal).await;
    let _go_low = occupy(&pool, Priority::Low).await;
    for _ in 0..2 {
        assert!(!pool.is_full());
        pool.place(Priority::Normal).await.enqueue(device(1), |_| {});
        pool.place(Priority::Low).await.enqueue(device(1), |_| {});
    }
    assert!(pool.is_full());
    let third = pool.place(Priority::Low);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), third).await.is_err(), "no place");
    go.send(()).expect("the first job waits");
    assert_eq!(run(&pool, || 9).await, 9);
}
