//! Log lines that strangers can cause, as few as a person can read.

use std::time::{Duration, Instant};

use crate::lock::{Mutex, locked};

/// Lines at once.
const BURST: u32 = 10;
/// Pause after which one more may be written.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets a line pass now and then, and counts the others.
pub(crate) struct Throttle(Mutex<State>);

struct State {
    lines: u32,
    refilled: Instant,
    left_out: u64,
}

impl Throttle {
    pub(crate) fn new(now: Instant) -> Throttle {
        Throttle(Mutex::new(State { lines: BURST, refilled: now, left_out: 0 }))
    }

    /// Whether a line may be written now, and how many were left out before it.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = locked(&self.0);
        let earned = now.saturating_duration_since(state.refilled).as_secs() / PAUSE.as_secs();
        if earned > 0 {
            state.lines = state.lines.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
            state.refilled = now;
        }
        if state.lines == 0 {
            state.left_out += 1;
            return None;
        }
        state.lines -= 1;
        Some(std::mem::take(&mut state.left_out))
    }

    /// Lines that were left out and that nobody was told of.
    pub(crate) fn rest(&self) -> u64 {
        std::mem::take(&mut locked(&self.0).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_pass_and_the_others_are_counted() {
        let now = Instant::now();
        let throttle = Throttle::new(now);
        let passed: Vec<u64> = (0..1000).filter_map(|_| throttle.pass(now)).collect();
        assert_eq!(passed, [0; 10]);
        let later = |s| now + Duration::from_secs(s);
        assert_eq!((throttle.pass(later(1)), throttle.pass(later(1))), (Some(990), None));
        assert_eq!((throttle.rest(), throttle.rest()), (1, 0));
        assert_eq!(
            (0..1000).filter_map(|_| throttle.pass(later(1000))).count(),
            10,
            "no more than a burst is saved up"
        );
    }
}
