//! Locks that a panic elsewhere does not spoil, and what threads meet by. With the feature `shuttle` all of it is
//! shuttle's, whose tests (`shuttle_tests`) run threads in one order after the other.

use std::sync::PoisonError;

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard},
    thread,
};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard},
    thread,
};

/// What the locks of this crate guard is replaced as a whole, so a panic elsewhere leaves nothing half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
