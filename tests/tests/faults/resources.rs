//! Machines that have run out of something: room on the disk, and descriptors.

use std::fs;
use std::time::Duration;

use twinmask_testkit::small_disk;
use twinmask_tests::{DEVICE, Deployment, binaries, command, run};

const DEADLINE: Duration = Duration::from_secs(60);

/// If this fails, an owner whose disk is full loses devices that were there, or gets one that cannot be revoked.
#[test]
fn a_full_disk_loses_nothing_of_the_owners() {
    const NAME: &str = "resources::a_full_disk_loses_nothing_of_the_owners";
    let kept = std::cell::OnceCell::new();
    let made = || kept.get_or_init(Deployment::lenet).path("");
    let Some(folder) = small_disk(NAME, 24, made) else { return };
    let keygen = |verb: &str, args: &[&str]| {
        let mut command = command(binaries::path("owner-keygen"));
        run(command.arg(verb).arg(&folder).args(args), DEADLINE)
    };
    let devices = || keygen("list", &[]).expect_ok().stdout;
    let before = devices();
    assert!(before.contains(DEVICE), "{before}");
    let filler = folder.join("filler");
    let mut failures = 0;
    // As full as can be, then with a little room: it ends at another point each time.
    for free_kb in [0, 4, 8, 16, 32, 64, 128] {
        let full = fs::write(&filler, vec![1; 256 << 20]);
        assert!(full.is_err(), "the disk is not full");
        let len = fs::metadata(&filler).expect("it is there").len();
        fs::File::options()
            .write(true)
            .open(&filler)
            .and_then(|f| f.set_len(len.saturating_sub(free_kb << 10)))
            .expect("cut");
        let out = keygen("add-device", &["--name", "late", "--model", "lenet"]);
        if out.code != Some(0) {
            failures += 1;
            assert!(!out.stderr.contains("panicked") && out.stderr.contains("No space left"), "{out:?}");
        }
        fs::remove_file(&filler).expect("removed");
        let now = devices();
        assert!(now.contains(DEVICE), "{now}");
        // Whatever there is of it can be revoked, and issued once more.
        if now.contains("late") {
            keygen("revoke", &["--device", "late"]).expect_ok();
        }
    }
    assert!(failures >= 3, "{failures}");
    keygen("add-device", &["--name", "late", "--model", "lenet"]).expect_ok();
    assert!(devices().contains("late"), "there is room again");
}

/// If this fails, a process that is out of descriptors panics, or does not say what it is out of.
#[test]
fn few_descriptors_end_in_words() {
    let deployment = Deployment::lenet();
    let pair = deployment.edges("auto");
    let input = deployment.tensor("input", &[1, 1, 28, 28]);
    let mut ends = [0, 0];
    for limit in 3..32 {
        let with = |program: &str| {
            let mut command = command("sh");
            command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]).arg(binaries::path(program));
            command
        };
        let mut device = with("device");
        device.arg("--dir").arg(deployment.path("devices").join(DEVICE));
        device.args(["--edge-a", &pair.a.address, "--edge-b", &pair.b.address, "infer"]).arg(&input);
        let out = run(&mut device, DEADLINE);
        assert!(!out.stderr.contains("panicked"), "{limit}: {out:?}");
        // The loader of programs needs some itself, and says so.
        assert!(out.code == Some(0) || !out.stderr.is_empty(), "{limit}: {out:?}");
        ends[usize::from(out.code == Some(0))] += 1;
    }
    assert!(ends[0] > 0 && ends[1] > 0, "{ends:?}");
}
