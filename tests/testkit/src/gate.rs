//! Where threads wait until they are let go.

use std::sync::{Condvar, Mutex, MutexGuard};

/// A gate that is closed until it is opened.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// Waits until it is open.
    pub fn pass(&self) {
        let mut state = self.state();
        state.waiting += 1;
        self.changed.notify_all();
        self.changed.wait_while(state, |s| !s.open).expect("no panic").waiting -= 1;
    }

    /// Waits until a thread waits in [`pass`](Self::pass), or until it is open.
    pub fn await_waiting(&self) {
        drop(self.changed.wait_while(self.state(), |s| s.waiting == 0 && !s.open).expect("no panic"));
    }

    /// Threads that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().waiting
    }

    /// Lets all threads go, those that come later too.
    pub fn open(&self) {
        self.state().open = true;
        self.changed.notify_all();
    }

    /// Holds up who comes from now on.
    pub fn close(&self) {
        self.state().open = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}
