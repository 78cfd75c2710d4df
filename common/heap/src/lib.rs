//! Memory that was freed, given back to the system.
//!
//! glibc's allocator keeps what a program has freed in the middle of a heap: a large buffer for good, if anything small
//! was allocated above it meanwhile. An edge that has held corrections for many sessions at once would stay as large as
//! it was then.

/// Gives pages that nothing lies in back to the system; whether there were any. Nothing, and `false`, without glibc.
///
/// Holds each of the allocator's arenas for as long as it looks through it, some milliseconds for a large one: for
/// times at which nobody waits.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() -> bool {
    unsafe extern "C" {
        /// malloc_trim(3).
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0) != 0
}

/// As where there is glibc: nothing.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() -> bool {
    false
}

/// Lets all threads allocate from two arenas, where glibc makes eight for each processor: every one of them keeps what
/// was free in its middle when it was last used. Whether it took; for the start of a program, before other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn few_arenas() -> bool {
    /// `M_ARENA_MAX` of malloc.h.
    const ARENA_MAX: std::ffi::c_int = -8;
    unsafe extern "C" {
        /// mallopt(3).
        safe fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
    }
    mallopt(ARENA_MAX, 2) != 0
}

/// As where there is glibc: nothing.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn few_arenas() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::{few_arenas, give_back};

    /// Resident memory of this process, in bytes.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
        let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        4096 * pages
    }

    /// If this fails, an edge stays as large as it ever was.
    #[test]
    fn what_lies_between_small_things_goes_back() {
        const MANY: usize = 2000;
        const LARGE: usize = 50_000; // below what the allocator asks the system for piece by piece
        let (mut large, mut small) = (Vec::new(), Vec::new());
        for i in 0..MANY {
            large.push(vec![1u8; LARGE]);
            small.push(Box::new(i));
        }
        let full = resident();
        drop(large);
        give_back();
        let back = full.saturating_sub(resident());
        assert!(back > MANY * LARGE * 8 / 10, "{back} bytes of {} came back", MANY * LARGE);
        assert!(small.iter().enumerate().all(|(i, s)| **s == i));
    }

    #[test]
    fn the_allocator_takes_the_setting() {
        assert!(few_arenas());
    }
}
