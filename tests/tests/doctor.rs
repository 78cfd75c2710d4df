//! `device doctor` finds what is wrong, and nothing where nothing is.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use twinmask_tests::{DEVICE, Deployment, Output, Pair, run};

/// The checks with this status.
fn checks<'a>(report: &'a Value, status: &str) -> Vec<&'a str> {
    let all = report["checks"].as_array().expect("checks");
    all.iter().filter(|c| c["status"] == status).map(|c| c["check"].as_str().expect("a name")).collect()
}

fn doctor(deployment: &Deployment, a: &str, b: &str, more: &[&str]) -> Output {
    let mut command = deployment.device_command(a, b);
    run(command.args(["--timeout-s", "3", "doctor"]).args(more), std::time::Duration::from_secs(60))
}

/// If this fails, people are sent after faults that are none.
#[test]
fn a_healthy_device() {
    let deployment = Deployment::lenet();
    let pair = deployment.edges("portable");
    let out = doctor(&deployment, &pair.a.address, &pair.b.address, &["--json", "--infer"]).expect_ok();
    let report = &out.json()[0];
    assert_eq!(
        (report["ok"].as_bool(), checks(report, "fail"), checks(report, "warning")),
        (Some(true), vec![], vec![])
    );
    let expected = [
        "folder",
        "owner key",
        "identity",
        "revocations",
        "clock",
        "model lenet",
        "edge-a",
        "edge-a network",
        "edge-b",
        "edge-b network",
        "two hosts",
        "session lenet",
        "inference lenet",
    ];
    assert_eq!(checks(report, "ok"), expected);
    let text = doctor(&deployment, &pair.a.address, &pair.b.address, &[]).expect_ok().stdout;
    assert!(text.lines().all(|line| line.starts_with("ok ")) && text.contains("round trip"), "{text}");
    assert!(!text.contains("inference lenet"), "nobody asked for one");
}

/// If this fails, the doctor overlooks what stops a device, or gives the wrong exit code.
#[test]
fn what_is_wrong_is_found() {
    let deployment = Deployment::lenet();
    let pair = deployment.edges("portable");
    let Pair { a, b } = &pair;
    let failing = |a: &str, b: &str, code: i32, words: &[&str]| {
        let report = doctor(&deployment, a, b, &["--json"]).expect_error(code, words).json().remove(0);
        assert_eq!(report["ok"].as_bool(), Some(false));
        report
    };
    // Nobody there: the other edge is still looked at.
    let report = failing(&a.address, "127.0.0.1:9", 4, &["edge-b", "127.0.0.1:9", "running"]);
    assert_eq!(checks(&report, "fail"), ["edge-b"]);
    assert!(checks(&report, "ok").contains(&"edge-a"));
    let report = failing(&b.address, &a.address, 5, &["swapped"]);
    assert_eq!(checks(&report, "fail"), ["edge-a", "edge-b"]);

    // A model that the edges do not hold yet.
    deployment.add("second", &["--zoo", "lenet", "--seed", "9"]);
    let report = failing(&a.address, &b.address, 5, &["does not hold model", "add-device"]);
    assert_eq!(checks(&report, "fail"), ["session second"]);
    assert!(checks(&report, "ok").contains(&"session lenet"));

    // Files: the network is looked at all the same, and a worse finding would win.
    let bundle = deployment.path("devices").join(DEVICE).join("models/second.twm");
    let good = std::fs::read(&bundle).expect("there");
    std::fs::write(&bundle, &good[..good.len() / 2]).expect("own file");
    let report = failing(&a.address, &b.address, 3, &["second.twm", "damaged"]);
    assert_eq!(checks(&report, "fail"), ["model second"]);
    assert!(checks(&report, "ok").contains(&"session lenet"));
    failing(&a.address, "127.0.0.1:9", 4, &["edge-b"]);
    std::fs::remove_file(&bundle).expect("own file");

    let dir = deployment.path("devices").join(DEVICE);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("own folder");
    let report = failing(&a.address, &b.address, 3, &["chmod 700"]);
    assert_eq!(checks(&report, "fail"), ["folder"]);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).expect("own folder");
    std::fs::remove_file(dir.join("identity/key.pem")).expect("own file");
    assert_eq!(checks(&failing(&a.address, &b.address, 3, &["key.pem"]), "fail"), ["identity"]);
}
