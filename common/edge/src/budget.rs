//! How far ahead edges work, and the bytes that sessions may set aside for it, bounded for each key (a device or
//! session) and in total.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use metrics::Gauge;
use tokio::sync::Notify;

use crate::lock::locked;

/// Counters above the highest one whose inference is over that edge A works ahead, and that edge B has room for: while
/// one runs nothing is added, so that it has the machine.
pub(crate) const COUNTERS_AHEAD: u64 = 8;

/// A bound on bytes, and who has how many of them.
pub(crate) struct Budget<K: Eq + Hash + Clone> {
    total: usize,
    each: usize,
    granted: Mutex<(usize, HashMap<K, usize>)>,
    freed: Notify,
    gauge: Gauge,
}

impl<K: Eq + Hash + Clone> Budget<K> {
    pub(crate) fn new(total: usize, each: usize, gauge: Gauge) -> Arc<Budget<K>> {
        Arc::new(Budget { total, each, granted: Mutex::default(), freed: Notify::new(), gauge })
    }

    /// Up to `most` bytes: what is left.
    pub(crate) fn grant(self: &Arc<Self>, key: &K, most: usize) -> Grant<K> {
        self.take(key, |left| most.min(left))
    }

    /// All of `bytes`, or nothing.
    pub(crate) fn reserve(self: &Arc<Self>, key: &K, bytes: usize) -> Option<Grant<K>> {
        // Nothing is taken for a moment only: giving it back would wake whoever waits for room, the caller included.
        Some(self.take(key, |left| if bytes <= left { bytes } else { 0 })).filter(|grant| grant.bytes == bytes)
    }

    /// As many bytes as `choose` makes of what is left.
    fn take(self: &Arc<Self>, key: &K, choose: impl FnOnce(usize) -> usize) -> Grant<K> {
        let mut granted = locked(&self.granted);
        let (all, by_key) = &mut *granted;
        let own = by_key.entry(key.clone()).or_default();
        let bytes = choose((self.total - *all).min(self.each - *own));
        *all += bytes;
        *own += bytes;
        drop(granted);
        self.gauge.increment(bytes as f64);
        Grant { budget: Arc::clone(self), key: key.clone(), bytes }
    }

    /// Told when bytes come back.
    pub(crate) fn freed(&self) -> &Notify {
        &self.freed
    }

    fn give_back(&self, key: &K, bytes: usize) {
        let mut granted = locked(&self.granted);
        granted.0 -= bytes;
        if let Some(own) = granted.1.get_mut(key) {
            *own -= bytes;
            if *own == 0 {
                granted.1.remove(key);
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
pub(crate) struct Grant<K: Eq + Hash + Clone> {
    budget: Arc<Budget<K>>,
    key: K,
    bytes: usize,
}

impl<K: Eq + Hash + Clone> Grant<K> {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is above `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.budget.give_back(&self.key, spare);
    }
}

impl<K: Eq + Hash + Clone> Drop for Grant<K> {
    fn drop(&mut self) {
        self.budget.give_back(&self.key, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_there_is() {
        let budget = Budget::new(100, 60, Gauge::noop());
        let first = budget.grant(&"a", 80);
        let second = budget.grant(&"b", 80);
        assert_eq!((first.bytes(), second.bytes()), (60, 40));
        assert!(budget.reserve(&"b", 1).is_none() && budget.grant(&"c", 5).bytes() == 0);
        drop(first);
        let mut third = budget.reserve(&"c", 60).expect("came back");
        third.shrink(10);
        assert_eq!(budget.grant(&"d", 100).bytes(), 50);
        drop((second, third));
        let granted = locked(&budget.granted);
        assert!(granted.0 == 0 && granted.1.is_empty());
    }
}
