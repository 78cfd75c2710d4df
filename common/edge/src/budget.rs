//! How far ahead edges work, and the bytes that sessions may set aside, bounded for each device and in total.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::Gauge;
use tokio::sync::Notify;

use crate::lock::{Mutex, locked};

/// Counters above the highest one whose inference is over that edge A works ahead, and that edge B has room for: while
/// one runs nothing is added, so that it has the machine.
pub(crate) const COUNTERS_AHEAD: u64 = 8;

/// Whose bytes, turns and places those are: the name in a device's certificate.
pub(crate) type Device = Arc<str>;

/// A bound on bytes, and who has how many of them.
pub(crate) struct Budget {
    total: usize,
    each: usize,
    granted: Mutex<Granted>,
    freed: Notify,
    gauge: Gauge,
}

#[derive(Default)]
struct Granted {
    all: usize,
    by_device: HashMap<Device, usize>,
}

impl Budget {
    /// Of `total` bytes, of which each device gets at most `each`; `gauge` tells what is granted.
    pub(crate) fn new(total: usize, each: usize, gauge: Gauge) -> Arc<Budget> {
        Arc::new(Budget { total, each, granted: Mutex::default(), freed: Notify::new(), gauge })
    }

    /// Up to `most` bytes: what is left.
    pub(crate) fn grant(self: &Arc<Self>, device: &Device, most: usize) -> Grant {
        self.take(device, |left, _| most.min(left))
    }

    /// All of `bytes`, or nothing.
    pub(crate) fn reserve(self: &Arc<Self>, device: &Device, bytes: usize) -> Option<Grant> {
        // Nothing is taken for a moment only: giving it back would wake whoever waits for room, the caller included.
        Some(self.take(device, |left, _| if bytes <= left { bytes } else { 0 })).filter(|grant| grant.bytes == bytes)
    }

    /// As [`reserve`](Self::reserve), but a device that holds nothing gets what it needs once, however much that is.
    pub(crate) fn admit(self: &Arc<Self>, device: &Device, bytes: usize) -> Option<Grant> {
        let choose = |left, first: bool| if bytes <= left || first { bytes } else { 0 };
        Some(self.take(device, choose)).filter(|grant| grant.bytes == bytes)
    }

    /// Waits for room for `bytes`, as [`admit`](Self::admit) gives it. Cancel safe.
    pub(crate) async fn room(self: &Arc<Self>, device: &Device, bytes: usize) -> Grant {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable(); // from here on nothing is missed
            if let Some(grant) = self.admit(device, bytes) {
                return grant;
            }
            freed.await;
        }
    }

    /// As many bytes as `choose` makes of what is left, and of whether the device has none yet while some are left for
    /// all.
    fn take(self: &Arc<Self>, device: &Device, choose: impl FnOnce(usize, bool) -> usize) -> Grant {
        let mut granted = locked(&self.granted);
        let Granted { all, by_device } = &mut *granted;
        let own = by_device.entry(Arc::clone(device)).or_default();
        // A device's first may have gone beyond either bound.
        let (of_all, of_own) = (self.total.saturating_sub(*all), self.each.saturating_sub(*own));
        let bytes = choose(of_all.min(of_own), *own == 0 && of_all > 0);
        *all += bytes;
        *own += bytes;
        drop(granted);
        self.gauge.increment(bytes as f64);
        Grant { budget: Arc::clone(self), device: Arc::clone(device), bytes }
    }

    /// Bytes that are granted now.
    #[cfg(test)]
    pub(crate) fn granted(&self) -> usize {
        locked(&self.granted).all
    }

    /// Told when bytes come back.
    pub(crate) fn freed(&self) -> &Notify {
        &self.freed
    }

    fn give_back(&self, device: &Device, bytes: usize) {
        let mut granted = locked(&self.granted);
        granted.all -= bytes;
        if let Some(own) = granted.by_device.get_mut(device) {
            *own -= bytes;
            if *own == 0 {
                granted.by_device.remove(device);
            }
        }
        drop(granted);
        if bytes > 0 {
            self.gauge.decrement(bytes as f64);
            self.freed.notify_waiters();
        }
    }
}

/// Bytes of a budget; given back when dropped.
pub(crate) struct Grant {
    budget: Arc<Budget>,
    device: Device,
    bytes: usize,
}

impl Grant {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is above `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.budget.give_back(&self.device, spare);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.give_back(&self.device, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> [Device; 4] {
        ["a", "b", "c", "d"].map(Device::from)
    }

    #[test]
    fn nobody_gets_more_than_there_is() {
        let (budget, [a, b, c, d]) = (Budget::new(100, 60, Gauge::noop()), devices());
        let first = budget.grant(&a, 80);
        let second = budget.grant(&b, 80);
        assert_eq!((first.bytes(), second.bytes()), (60, 40));
        assert!(budget.reserve(&b, 1).is_none() && budget.grant(&c, 5).bytes() == 0);
        assert!(budget.admit(&c, 1).is_none(), "nothing is left for anybody");
        drop(first);
        let mut third = budget.reserve(&c, 60).expect("came back");
        third.shrink(10);
        assert_eq!(budget.grant(&d, 100).bytes(), 50);
        drop((second, third));
        let granted = locked(&budget.granted);
        assert!(granted.all == 0 && granted.by_device.is_empty());
    }

    #[tokio::test]
    async fn what_is_larger_than_the_bound_is_admitted_alone() {
        let (budget, [a, b, ..]) = (Budget::new(100, 10, Gauge::noop()), devices());
        let large = budget.admit(&a, 30).expect("the first of its device");
        assert!(budget.admit(&a, 1).is_none() && budget.reserve(&b, 11).is_none());
        let huge = budget.admit(&b, 1000).expect("the first of its device");
        let waiting = budget.room(&a, 30);
        tokio::pin!(waiting);
        assert!(futures_ready(waiting.as_mut()).is_none(), "nothing is left");
        drop(large);
        assert!(futures_ready(waiting.as_mut()).is_none(), "the other device has it all");
        drop(huge);
        assert_eq!(waiting.await.bytes(), 30);
    }

    /// What a future gives without waiting.
    fn futures_ready<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
