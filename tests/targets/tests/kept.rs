//! What fuzzing begins with, and what once broke something, as ordinary tests.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use twinmask_targets::{TARGETS, fuzz_dir, wait_longer};

/// Counts panics of any task or thread from now on: a runtime keeps those of its tasks to itself.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, SeqCst);
        before(info);
    }));
    &PANICS
}

/// The files that were kept for a target, with their names.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(folder) = std::fs::read_dir(fuzz_dir().join("regressions").join(target)) else { return Vec::new() };
    let file = |entry: std::fs::DirEntry| {
        let bytes = std::fs::read(entry.path()).expect("a file");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    folder.flatten().map(file).collect()
}

/// If this fails, something that comes from outside breaks what it should not, again; or a target no longer reaches
/// what it is for.
#[test]
fn seeds_and_what_once_broke_something() {
    let panics = count_panics();
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(seeds.iter().any(|s| s.taken) && seeds.iter().any(|s| !s.taken), "{}: seeds of one kind", target.name);
        for seed in seeds {
            assert!(seed.bytes.len() <= target.longest, "{}: {} is too long", target.name, seed.name);
            let as_it_must = [1, 10, 100, 1000].into_iter().any(|factor| {
                wait_longer(factor);
                (target.run)(&seed.bytes) == seed.taken
            });
            wait_longer(1);
            let must = if seed.taken { "must be taken" } else { "must be refused" };
            assert!(as_it_must, "{}: {} {must}", target.name, seed.name);
        }
        for (name, bytes) in kept(target.name) {
            (target.run)(&bytes);
            assert_eq!(panics.load(SeqCst), 0, "{}: {name} panics", target.name);
        }
        assert_eq!(panics.load(SeqCst), 0, "{}: a seed panics", target.name);
    }
}
