//! Sessions without I/O (PROTOCOL.md, "Sessions and counters"): which counters may be claimed and used, in which
//! order the frames of an inference come, when a session is over. Time comes in as durations since the session began.

use std::collections::BTreeSet;
use std::time::Duration;

use twinmask_codec::{Counter, RoundId};

use crate::error::WireError;

/// Sessions end after this time.
pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Edges accept an unseen counter within this distance of the highest.
pub const WINDOW: u64 = 64;

/// Counters that were seen in a session: each is accepted once, within [`WINDOW`] of the highest.
#[derive(Debug, Default)]
pub struct CounterWindow {
    /// One above the highest counter seen.
    next: Counter,
    /// Counters seen within the window.
    seen: BTreeSet<Counter>,
}

impl CounterWindow {
    /// Accepts `c` once.
    ///
    /// # Errors
    /// [`WireError::Counter`] when `c` was accepted before or is out of the window.
    pub fn accept(&mut self, c: Counter) -> Result<(), WireError> {
        let too_new = c >= self.next.saturating_add(WINDOW);
        let too_old = c.saturating_add(WINDOW) < self.next;
        let next = c.checked_next().ok_or(WireError::Counter(c))?;
        if too_new || too_old || !self.seen.insert(c) {
            return Err(WireError::Counter(c));
        }
        self.next = self.next.max(next);
        let oldest = self.next.saturating_sub(WINDOW);
        self.seen = self.seen.split_off(&oldest);
        Ok(())
    }
}

/// An edge's view of one session.
#[derive(Debug, Default)]
pub struct EdgeSession {
    /// What edge A referees; `None` at edge B, which grants nothing.
    referee: Option<Referee>,
    begun: CounterWindow,
}

/// Edge A's part in a session.
#[derive(Debug, Default)]
struct Referee {
    claims: CounterWindow,
    prefetches: CounterWindow,
    /// Claimed or prefetched, and not begun.
    allowed: BTreeSet<Counter>,
}

impl Referee {
    fn allow(&mut self, c: Counter) {
        self.allowed.insert(c);
        // What was never used leaves with the window.
        self.allowed = self.allowed.split_off(&c.saturating_sub(2 * WINDOW));
    }
}

impl EdgeSession {
    /// A session at edge A, the referee of counters.
    #[must_use]
    pub fn at_a() -> Self {
        Self { referee: Some(Referee::default()), begun: CounterWindow::default() }
    }

    /// A session at edge B.
    #[must_use]
    pub fn at_b() -> Self {
        Self::default()
    }

    /// `CLAIM{c}` at edge A: grants each counter once.
    ///
    /// # Errors
    /// When `c` was granted before or is out of the window, the session is over, or this is edge B.
    pub fn claim(&mut self, c: Counter, age: Duration) -> Result<(), WireError> {
        check_age(age)?;
        let referee = self.referee.as_mut().ok_or(WireError::Counter(c))?;
        referee.claims.accept(c)?;
        referee.allow(c);
        Ok(())
    }

    /// `PREFETCH{c}` at edge A: `c` may be begun before it is claimed. Grants nothing: the claim still does, once.
    ///
    /// # Errors
    /// When `c` was prefetched before or is out of the window, the session is over, or this is edge B.
    pub fn prefetch(&mut self, c: Counter, age: Duration) -> Result<(), WireError> {
        check_age(age)?;
        let referee = self.referee.as_mut().ok_or(WireError::Counter(c))?;
        referee.prefetches.accept(c)?;
        referee.allow(c);
        Ok(())
    }

    /// Whether an inference that was granted, or prefetched, has not begun; never at edge B.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.referee.as_ref().is_some_and(|referee| !referee.allowed.is_empty())
    }

    /// `INFER{c}`: begins each counter once; at edge A only one that was claimed or prefetched.
    ///
    /// # Errors
    /// When `c` was begun before, neither claimed nor prefetched (edge A) or is out of the window, or the session is
    /// over.
    pub fn begin(&mut self, c: Counter, age: Duration) -> Result<(), WireError> {
        check_age(age)?;
        if self.referee.as_ref().is_some_and(|r| !r.allowed.contains(&c)) {
            return Err(WireError::Counter(c));
        }
        self.begun.accept(c)?;
        if let Some(referee) = &mut self.referee {
            referee.allowed.remove(&c);
        }
        Ok(())
    }
}

fn check_age(age: Duration) -> Result<(), WireError> {
    if age < LIFETIME { Ok(()) } else { Err(WireError::Expired) }
}

/// Hands out each round of an inference once, in order.
#[derive(Debug)]
pub struct RoundCursor {
    next: RoundId,
    rounds: usize,
}

impl RoundCursor {
    /// For an inference of `rounds` rounds.
    #[must_use]
    pub const fn new(rounds: usize) -> Self {
        Self { next: RoundId::new(0), rounds }
    }

    /// The round that is due, `None` when all are done.
    #[must_use]
    pub fn due(&self) -> Option<RoundId> {
        (self.next.index() < self.rounds).then_some(self.next)
    }

    /// Accepts round `r` if it is due.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when another round is due.
    pub fn accept(&mut self, r: RoundId) -> Result<(), WireError> {
        if self.due() != Some(r) {
            let due = self.due().map_or_else(|| "none".to_owned(), |due| due.to_string());
            return Err(WireError::Malformed(format!("round {r} where {due} is due")));
        }
        self.next = self.next.next();
        Ok(())
    }
}

/// The device's view of one session: hands out counters, each once, in the process that opened it.
#[derive(Debug)]
pub struct DeviceSession {
    process: u32,
    next: Counter,
}

impl DeviceSession {
    /// A session opened by process `process`.
    #[must_use]
    pub const fn new(process: u32) -> Self {
        Self { process, next: Counter::new(0) }
    }

    /// Whether counters that were handed out may still be used, by `process` at session age `age`.
    ///
    /// # Errors
    /// [`WireError::Forked`] in another process, [`WireError::Expired`] after 24 h.
    pub fn check(&self, process: u32, age: Duration) -> Result<(), WireError> {
        if process != self.process {
            return Err(WireError::Forked { opened: self.process, now: process });
        }
        check_age(age)
    }

    /// The next counter, for an inference begun by `process` at session age `age`.
    ///
    /// # Errors
    /// [`WireError::Forked`] in another process, [`WireError::Expired`] after 24 h, [`WireError::Counter`] when there
    /// is none left.
    pub fn next_counter(&mut self, process: u32, age: Duration) -> Result<Counter, WireError> {
        self.check(process, age)?;
        let counter = self.next;
        self.next = counter.checked_next().ok_or(WireError::Counter(counter))?;
        Ok(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const ZERO: Counter = Counter::new(0);
    const ONE: Counter = Counter::new(1);

    #[test]
    fn a_counter_is_accepted_once_within_the_window() {
        let mut w = CounterWindow::default();
        for c in [0, 3, 1, 63, 2, 127].map(Counter::new) {
            w.accept(c).expect("unseen, in the window");
            assert_eq!(w.accept(c), Err(WireError::Counter(c)));
        }
        for c in [63, 0, 3, 62, 192, 1 << 40, u64::MAX].map(Counter::new) {
            assert!(w.accept(c).is_err(), "{c}");
        }
        w.accept(Counter::new(64)).expect("within 64 of the highest");
        w.accept(Counter::new(191)).expect("within 64 of the highest");
        assert!(w.accept(Counter::new(64)).is_err());
        assert!(w.seen.len() <= WINDOW as usize + 1);
    }

    #[test]
    fn random_orders_never_accept_twice() {
        let mut w = CounterWindow::default();
        let mut accepted = BTreeSet::new();
        let mut state = 7u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let c = w.next.saturating_sub(80).saturating_add((state >> 33) % 170);
            if w.accept(c).is_ok() {
                assert!(accepted.insert(c), "{c} twice");
            }
        }
        assert!(accepted.len() > 1000);
    }

    #[test]
    fn edge_a_referees() {
        let mut a = EdgeSession::at_a();
        assert!(a.begin(ZERO, NOW).is_err(), "not claimed");
        a.claim(ZERO, NOW).expect("first claim");
        assert!(a.claim(ZERO, NOW).is_err(), "claimed twice");
        a.begin(ZERO, NOW).expect("claimed");
        assert!(a.begin(ZERO, NOW).is_err(), "begun twice");
        assert!(a.claim(ONE, LIFETIME).is_err(), "after 24 h");
        let mut b = EdgeSession::at_b();
        b.begin(ZERO, NOW).expect("unseen");
        assert!(b.begin(ZERO, NOW).is_err(), "begun twice");
        assert!(b.claim(ONE, NOW).is_err(), "B grants nothing");
        assert_eq!(b.begin(ONE, LIFETIME), Err(WireError::Expired));
    }

    #[test]
    fn a_prefetched_counter_is_begun_and_claimed_once_each() {
        for claim_first in [false, true] {
            let mut a = EdgeSession::at_a();
            a.prefetch(ZERO, NOW).expect("unseen");
            assert!(a.prefetch(ZERO, NOW).is_err(), "prefetched twice");
            if claim_first {
                a.claim(ZERO, NOW).expect("a prefetch is no claim");
            }
            a.begin(ZERO, NOW).expect("prefetched");
            assert!(a.begin(ZERO, NOW).is_err(), "begun twice");
            assert_eq!(a.claim(ZERO, NOW).is_ok(), !claim_first, "claimed once");
            assert!(a.begin(ZERO, NOW).is_err(), "a late claim does not begin it again");
            assert!(
                a.prefetch(Counter::new(64), NOW).is_ok() && a.prefetch(Counter::new(200), NOW).is_err(),
                "within the window"
            );
            assert_eq!(a.prefetch(ONE, LIFETIME), Err(WireError::Expired));
        }
        assert!(EdgeSession::at_b().prefetch(ZERO, NOW).is_err(), "B sends nothing ahead");
    }

    #[test]
    fn rounds_come_in_order() {
        let mut cursor = RoundCursor::new(2);
        let words = |r, text: &str| Err(WireError::Malformed(format!("round {r} where {text} is due")));
        assert_eq!(cursor.accept(RoundId::new(1)), words(1, "0"));
        cursor.accept(RoundId::new(0)).expect("due");
        assert!(cursor.accept(RoundId::new(0)).is_err());
        cursor.accept(RoundId::new(1)).expect("due");
        assert_eq!(cursor.due(), None);
        assert_eq!(cursor.accept(RoundId::new(2)), words(2, "none"));
    }

    #[test]
    fn a_forked_or_old_session_hands_out_nothing() {
        let mut s = DeviceSession::new(10);
        assert_eq!(s.next_counter(10, NOW), Ok(ZERO));
        assert_eq!(s.next_counter(10, NOW), Ok(ONE));
        assert_eq!(s.next_counter(11, NOW), Err(WireError::Forked { opened: 10, now: 11 }));
        assert_eq!(s.next_counter(10, LIFETIME), Err(WireError::Expired));
        let mut last = DeviceSession { process: 10, next: Counter::new(u64::MAX) };
        assert_eq!(last.next_counter(10, NOW), Err(WireError::Counter(Counter::new(u64::MAX))));
    }
}
