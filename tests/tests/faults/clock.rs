//! Clocks that jump: those of both edges, by a library that stands before the system's (`LD_PRELOAD`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tokio::runtime::Runtime;
use twinmask_device::Mode;
use twinmask_tests::{Edge, until};

use crate::{Edges, NOTICED, Scene, input};

/// Adds the seconds that the file `TWINMASK_CLOCK` holds to the time of day, and to nothing else.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, id, t);
    FILE *f = failed || id != CLOCK_REALTIME ? 0 : fopen(getenv("TWINMASK_CLOCK"), "r");
    long s = 0;
    if (f) { if (fscanf(f, "%ld", &s) == 1) t->tv_sec += s; fclose(f); }
    return failed;
}
"#;

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// Two edges whose clocks a test sets.
struct Clocks {
    edges: Edges,
    file: PathBuf,
}

impl Clocks {
    fn new(scene: &Scene, library: &PathBuf) -> Clocks {
        let file = scene.deployment.scratch("clock");
        let start = |name: &str| {
            let mut command = Edge::command(name, &scene.deployment.path(name));
            Edge::start(command.env("LD_PRELOAD", library).env("TWINMASK_CLOCK", &file))
        };
        Clocks { edges: Edges { a: start("edge-a"), b: start("edge-b"), relay: false }, file: file.clone() }
    }

    fn jump(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string()).and_then(|()| fs::rename(new, &self.file)).expect("writes");
    }
}

/// The library, compiled; `None` without a compiler for it.
fn library(scene: &Scene) -> Option<PathBuf> {
    let (source, library) = (scene.deployment.scratch("clock.c"), scene.deployment.scratch("clock.so"));
    fs::write(&source, SHIM).expect("writes");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    built.is_ok_and(|out| out.status.success()).then_some(library)
}

/// If this fails, a clock that was set wrong for a while takes an edge down for good, lets in what is not valid, or
/// says something else than that.
#[test]
fn clocks_that_jump_say_so_and_do_no_lasting_harm() {
    let scene = Scene::new();
    let Some(library) = library(&scene) else { return eprintln!("skipped: clocks that jump: no C compiler") };
    let clocks = Clocks::new(&scene, &library);
    let (device, runtime) = (scene.device(&clocks.edges, Mode::Split), Runtime::new().expect("a runtime"));
    let infer = || runtime.block_on(device.run(input()));
    scene.check(&infer().expect("an inference"));
    // By hours, as when daylight saving is mistaken: sessions do not live by the time of day.
    for hours in [1, 2, 23] {
        clocks.jump(hours * HOUR);
        scene.check(&infer().expect("an inference by an hour that is wrong"));
    }
    // Beyond the certificates: a device that is new is refused, and both sides say why.
    for (seconds, words) in [(30 * YEAR, "expired"), (-20 * YEAR, "valid from")] {
        clocks.jump(seconds);
        let stranger = scene.device(&clocks.edges, Mode::Split);
        let error = runtime.block_on(stranger.run(input())).expect_err("an edge whose clock is years off");
        let log = || clocks.edges.a.log() + &clocks.edges.b.log();
        until("an edge said why", || log().contains(words) && log().contains("clock"));
        assert!(error.to_string().contains("edge-") && error.to_string().contains("certificate"), "{error}");
        clocks.jump(0);
        let begun = std::time::Instant::now();
        while let Err(error) = runtime.block_on(stranger.run(input())) {
            assert!(begun.elapsed() < NOTICED, "still: {error}");
        }
    }
    scene.check(&infer().expect("the device that was there before"));
}
