//! What keeps keys in this process's memory from other eyes: its own core dumps, other processes, swap.

use std::io;

/// How far the memory of this process is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whether none of it goes to swap.
    pub locked: bool,
}

/// Keeps the memory of this process to itself, from now on; for the first line of a program.
///
/// - No core dumps (`RLIMIT_CORE` 0).
/// - Linux: no other process of the same user reads it or attaches to it (`PR_SET_DUMPABLE` 0); root still does.
/// - Linux, where `RLIMIT_MEMLOCK` is unlimited: all of it is locked as it is touched, so that nothing goes to swap. To
///   lock seeds alone would miss what is worth as much: the keys inside the TLS library, the vectors S_in.
///
/// # Errors
/// What the system did not grant of it.
pub fn keep_memory() -> io::Result<Kept> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{MlockAllFlags, mlockall};
        use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        if getrlimit(Resource::Memlock).current.is_none() {
            mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
            return Ok(Kept { locked: true });
        }
    }
    Ok(Kept { locked: false })
}

/// Descriptors that a runtime takes, and a few for who wants to say what is missing.
const DESCRIPTORS: usize = 8;

/// Builds a runtime with all that connections need.
///
/// # Errors
/// What the system does not give. tokio itself panics where it finds no descriptor for signals.
pub fn runtime(builder: &mut tokio::runtime::Builder) -> io::Result<tokio::runtime::Runtime> {
    let spare: io::Result<Vec<_>> = (0..DESCRIPTORS).map(|_| std::net::UdpSocket::bind("127.0.0.1:0")).collect();
    drop(spare?);
    builder.enable_all().build()
}
