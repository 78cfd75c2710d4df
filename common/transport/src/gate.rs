//! Who may begin a handshake: what keeps one address from taking all places of those that are not yet authenticated.
//!
//! - Clients whose address is not proven share a few places and a budget of failures. While either is used up they are
//!   asked to prove their address (QUIC Retry), which costs the server nothing and them a round trip. Nothing is noted
//!   of them: whoever writes a foreign address on his packets charges nobody.
//! - Clients with a proven address are held to a number of handshakes at a time and a budget of failures per block of
//!   addresses. A handshake that succeeds gives its token back, so honest devices behind one address share nothing.
//! - The blocks that are known are bounded. One that has all its tokens and runs nothing can be forgotten without loss;
//!   where no such one is left, new blocks share one account.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::handshakes::HandshakeLimits;

/// Blocks of addresses that have accounts of their own, at most: some 100 bytes each.
const MOST_BLOCKS: usize = 4096;
/// Shortest pause between two searches for blocks to forget.
const SWEEP: Duration = Duration::from_secs(1);

/// Addresses that count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    first: IpAddr,
    bits: u8,
}

impl Block {
    fn of(address: IpAddr, limits: &HandshakeLimits) -> Block {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = limits.ipv4_prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Block { first: IpAddr::V4((v4.to_bits() & mask).into()), bits }
            }
            IpAddr::V6(v6) => {
                let bits = limits.ipv6_prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Block { first: IpAddr::V6((v6.to_bits() & mask).into()), bits }
            }
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// What becomes of a client that begins.
pub(crate) enum Verdict {
    /// Its handshake begins, and holds this place.
    Begin(Place),
    /// It has to prove its address first.
    Prove,
    /// It gets no answer, and will ask again by itself; its block has too many handshakes, or the server has.
    Ignore(Block),
}

/// Handshakes that run, and failures that are left.
#[derive(Debug, Clone, Copy)]
struct Account {
    running: usize,
    tokens: f64,
    at: Instant,
}

impl Account {
    fn new(limits: &HandshakeLimits, now: Instant) -> Account {
        Account { running: 0, tokens: f64::from(limits.failures_burst), at: now }
    }

    fn refill(&mut self, limits: &HandshakeLimits, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        let most = f64::from(limits.failures_burst);
        self.tokens = (self.tokens + elapsed * f64::from(limits.failures_per_s)).min(most);
        self.at = now;
    }

    /// Takes a token and a place, of which there are `places`.
    fn take(&mut self, limits: &HandshakeLimits, places: usize, now: Instant) -> bool {
        self.refill(limits, now);
        let free = self.running < places && self.tokens >= 1.0;
        if free {
            self.running += 1;
            self.tokens -= 1.0;
        }
        free
    }

    fn is_blank(&self, limits: &HandshakeLimits) -> bool {
        self.running == 0 && self.tokens >= f64::from(limits.failures_burst)
    }
}

/// Whose account a place is on.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Unproven,
    Block(Block),
    Rest,
}

struct State {
    limits: HandshakeLimits,
    running: usize,
    unproven: Account,
    blocks: HashMap<Block, Account>,
    /// Of all blocks that found no room among `blocks`.
    rest: Account,
    swept: Option<Instant>,
}

impl State {
    fn account(&mut self, owner: Owner) -> Option<&mut Account> {
        match owner {
            Owner::Unproven => Some(&mut self.unproven),
            Owner::Block(block) => self.blocks.get_mut(&block),
            Owner::Rest => Some(&mut self.rest),
        }
    }

    /// The account of `block`, made if there is room.
    fn owner(&mut self, block: Block, now: Instant) -> Owner {
        if self.blocks.contains_key(&block) {
            return Owner::Block(block);
        }
        let due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if self.blocks.len() >= MOST_BLOCKS && due {
            self.swept = Some(now);
            let limits = self.limits;
            self.blocks.retain(|_, account| {
                account.refill(&limits, now);
                !account.is_blank(&limits)
            });
        }
        if self.blocks.len() >= MOST_BLOCKS {
            return Owner::Rest;
        }
        self.blocks.insert(block, Account::new(&self.limits, now));
        Owner::Block(block)
    }
}

/// The places of a server's handshakes.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

impl Gate {
    pub(crate) fn new(limits: HandshakeLimits, now: Instant) -> Gate {
        let blank = Account::new(&limits, now);
        let state = State { limits, running: 0, unproven: blank, blocks: HashMap::new(), rest: blank, swept: None };
        Gate(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of a client at `address` that begins; `proven` if it has shown that it is there.
    pub(crate) fn ask(&self, address: IpAddr, proven: bool, now: Instant) -> Verdict {
        let mut state = self.state();
        let limits = state.limits;
        let block = Block::of(address, &limits);
        let full = state.running >= limits.at_a_time;
        if !proven {
            // A quarter of the places at most: the others are for those who can be told apart.
            let places = limits.at_a_time.div_ceil(4);
            if full || !state.unproven.take(&limits, places, now) {
                return Verdict::Prove;
            }
            return Verdict::Begin(self.place(&mut state, Owner::Unproven));
        }
        if full {
            return Verdict::Ignore(block);
        }
        let owner = state.owner(block, now);
        let taken = state.account(owner).is_some_and(|account| account.take(&limits, limits.per_block, now));
        if taken { Verdict::Begin(self.place(&mut state, owner)) } else { Verdict::Ignore(block) }
    }

    fn place(&self, state: &mut State, owner: Owner) -> Place {
        state.running += 1;
        Place { gate: self.clone(), owner }
    }
}

/// The place of a handshake, until it is over.
pub(crate) struct Place {
    gate: Gate,
    owner: Owner,
}

impl Place {
    /// The client is who it may be: its token goes back.
    pub(crate) fn succeeded(self) {
        if let Some(account) = self.gate.state().account(self.owner) {
            account.tokens += 1.0;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.running -= 1;
        if let Some(account) = state.account(self.owner) {
            account.running -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LIMITS: HandshakeLimits = HandshakeLimits {
        at_a_time: 32,
        per_block: 8,
        failures_per_s: 4,
        failures_burst: 16,
        ..HandshakeLimits::DEFAULT
    };

    fn v4(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    fn begun(verdict: Verdict) -> Option<Place> {
        if let Verdict::Begin(place) = verdict { Some(place) } else { None }
    }

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let now = Instant::now();
        let gate = Gate::new(LIMITS, now);
        let held: Vec<_> = (0..100).filter_map(|_| begun(gate.ask(v4(7), true, now))).collect();
        assert_eq!(held.len(), 8, "at a time");
        assert!(matches!(gate.ask(v4(7), true, now), Verdict::Ignore(block) if block.to_string() == "0.0.0.7/32"));
        assert!(begun(gate.ask(v4(8), true, now)).is_some(), "another address");
        drop(held);
        let failed = (0..100).filter_map(|_| begun(gate.ask(v4(7), true, now))).map(drop).count();
        assert_eq!(failed, 8, "the burst is 16, and 8 are spent");
        let later = now + Duration::from_millis(500);
        assert_eq!((0..100).filter_map(|_| begun(gate.ask(v4(7), true, later))).map(drop).count(), 2, "four a second");
    }

    #[test]
    fn who_succeeds_pays_nothing() {
        let now = Instant::now();
        let gate = Gate::new(LIMITS, now);
        for proven in [true, false] {
            for n in 0..1000 {
                begun(gate.ask(v4(7), proven, now)).unwrap_or_else(|| panic!("the {n}th")).succeeded();
            }
        }
    }

    #[test]
    fn the_unproven_share_a_few_places_and_leave_no_trace() {
        let now = Instant::now();
        let gate = Gate::new(LIMITS, now);
        let held: Vec<_> = (0..10_000).filter_map(|n| begun(gate.ask(v4(n), false, now))).collect();
        assert_eq!(held.len(), 8);
        assert!(matches!(gate.ask(v4(1), false, now), Verdict::Prove));
        assert!(gate.state().blocks.is_empty());
        assert!(begun(gate.ask(v4(1), true, now)).is_some(), "a forged address has charged its owner");
        drop(held);
        let failed = (0..100).filter_map(|n| begun(gate.ask(v4(n), false, now))).map(drop).count();
        assert_eq!(failed, 8, "failures are counted without an address, too");
    }

    #[test]
    fn all_places_are_bounded() {
        let now = Instant::now();
        let gate = Gate::new(LIMITS, now);
        let held: Vec<_> = (0..1000).filter_map(|n| begun(gate.ask(v4(n), true, now))).collect();
        assert_eq!(held.len(), 32);
        assert!(matches!(gate.ask(v4(2000), true, now), Verdict::Ignore(_)));
        assert!(matches!(gate.ask(v4(2000), false, now), Verdict::Prove));
        drop(held);
        assert_eq!(gate.state().running, 0);
        assert!(begun(gate.ask(v4(2000), true, now)).is_some());
    }

    #[test]
    fn known_blocks_are_bounded_and_those_that_owe_something_stay() {
        let now = Instant::now();
        let gate = Gate::new(LIMITS, now);
        let spend = |n: u32, at| (0..100).filter_map(|_| begun(gate.ask(v4(n), true, at))).map(drop).count();
        assert_eq!(spend(0, now), 16);
        (1..=2 * MOST_BLOCKS as u32).for_each(|n| drop(begun(gate.ask(v4(n), true, now))));
        assert_eq!(gate.state().blocks.len(), MOST_BLOCKS);
        assert_eq!(spend(0, now), 0, "the block that has spent all its tokens was forgotten");
        assert_eq!(spend(1_000_000, now), 0, "the rest have used up what they share");
        assert_eq!(spend(1, now), 15, "a known block has lost its tokens to the others");
        // The others have their tokens again, and make room.
        let later = now + Duration::from_secs(2);
        assert_eq!(spend(1_000_000, later), 16);
        assert!(gate.state().blocks.len() < 10, "{}", gate.state().blocks.len());
        assert_eq!(spend(0, later), 8);
    }

    #[test]
    fn blocks_are_prefixes_and_mapped_addresses_are_what_they_map() {
        let block = |address: &str, limits| Block::of(address.parse().expect("an address"), &limits).to_string();
        assert_eq!(block("2001:db8:1:2:3:4:5:6", LIMITS), "2001:db8:1:2::/64");
        assert_eq!(block("::ffff:10.1.2.3", LIMITS), "10.1.2.3/32");
        let wide = HandshakeLimits { ipv4_prefix: 24, ipv6_prefix: 0, ..LIMITS };
        assert_eq!((block("10.1.2.3", wide), block("2001:db8::1", wide)), ("10.1.2.0/24".into(), "::/0".into()));
        let whole = HandshakeLimits { ipv4_prefix: 0, ipv6_prefix: 128, ..LIMITS };
        assert_eq!(block("10.1.2.3", whole), "0.0.0.0/0");
        assert_eq!(block("::1", whole), format!("{}/128", Ipv6Addr::LOCALHOST));
    }
}
