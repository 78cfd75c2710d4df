//! The edges as daemons: several clients, signals, sudden death, administration, configuration.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use twinmask_tests::networks::{mixed, save};
use twinmask_tests::{DEVICE, Deployment, Edge, Pair, kernels, run, until};

const SOON: Duration = Duration::from_secs(60);
/// A bench that outlasts every test.
const ENDLESS: [&str; 5] = ["bench", "--runs", "1000000", "--warmup", "0"];

/// If this fails, devices or models get into each other's way.
#[test]
fn two_devices_and_two_models_at_once() {
    let deployment = Deployment::lenet();
    let file = save(&mixed(), &deployment.scratch("mixed.onnx"));
    deployment.add("mixed", &["--onnx", &file]);
    deployment.issue("door", "lenet", &["--weights"]);
    deployment.issue("door", "mixed", &["--weights"]);
    for kernel in kernels() {
        let pair = deployment.edges(kernel);
        let door = deployment.path("devices/door");
        let door = door.to_str().expect("UTF-8");
        let bench = ["bench", "--runs", "40", "--concurrency", "3", "--json", "--model"];
        let start = |dir: Option<&str>, model: &str| {
            // The folder given last wins.
            let mut command = deployment.device_command(&pair.a.address, &pair.b.address);
            if let Some(dir) = dir {
                command = twinmask_tests::command(twinmask_tests::binaries::path("device"));
                command.args(["--dir", dir, "--edge-a", &pair.a.address, "--edge-b", &pair.b.address]);
            }
            twinmask_tests::Running::start(command.args(bench).arg(model))
        };
        let running =
            [start(None, "lenet"), start(None, "mixed"), start(Some(door), "lenet"), start(Some(door), "mixed")];
        for device in running {
            let report = device.wait(SOON).expect_ok().json().remove(0);
            assert_eq!(report["runs"], 40);
        }
        for edge in [&pair.a, &pair.b] {
            assert!(edge.metric("twinmask_inferences_total") >= 160.0, "{}", edge.get("/metrics").1);
            until("all sessions closed", || edge.metric("twinmask_sessions") == 0.0);
        }
    }
    // At the same time as another device's, results are still the plain ones.
    let pair = deployment.edges("portable");
    let _background = deployment.start_device(&pair, &[&["--model", "mixed"], &ENDLESS[..]].concat());
    until("a busy edge", || pair.b.metric("twinmask_rounds_total") > 0.0);
    let input = [deployment.tensor("input", &[1, 1, 28, 28])];
    assert!(deployment.output(Some(&pair), "lenet", &input) == deployment.output(None, "lenet", &input));
}

/// If this fails, a device hangs or blames the wrong host when an edge dies, or the other edge suffers.
#[test]
fn an_edge_killed_in_the_middle() {
    let deployment = Deployment::lenet();
    for (name, kernel) in [("edge-a", "portable"), ("edge-b", "openblas")] {
        let mut pair = deployment.edges(kernel);
        let device = deployment.start_device(&pair, &ENDLESS);
        until("an inference", || pair.b.metric("twinmask_inferences_total") > 0.0);
        let killed = Instant::now();
        let victim = if name == "edge-a" { &pair.a } else { &pair.b };
        victim.signal(Signal::KILL);
        device.wait(SOON).expect_error(4, &[name]);
        assert!(killed.elapsed() < Duration::from_secs(15), "the device noticed only after {:?}", killed.elapsed());
        until("the other edge free of the session", || {
            let other = if name == "edge-a" { &pair.b } else { &pair.a };
            other.metric("twinmask_sessions") == 0.0
        });
        let again = deployment.edge(name, &["--kernel", kernel]);
        if name == "edge-a" {
            pair.a = again
        } else {
            pair.b = again
        }
        deployment.device(&pair, &["bench", "--runs", "2"]).expect_ok();
    }
}

/// If this fails, an upgrade of an edge takes long, loses inferences or looks like a crash.
#[test]
fn an_edge_told_to_end_while_an_inference_runs() {
    let deployment = Deployment::lenet();
    for kernel in kernels() {
        let mut pair = deployment.edges(kernel);
        let device = deployment.start_device(&pair, &ENDLESS);
        until("an inference", || pair.b.metric("twinmask_inferences_total") > 0.0);
        pair.b.stop().expect_ok();
        device.wait(SOON).expect_error(4, &["edge-b", "going down"]);
        pair.b = deployment.edge("edge-b", &["--kernel", kernel]);
        deployment.device(&pair, &["bench", "--runs", "2"]).expect_ok();
        pair.a.signal(Signal::INT);
        until("the end after SIGINT", || !pair.a.is_alive());
    }
}

/// If this fails, a new model needs a restart, which cuts everybody off.
#[test]
fn a_new_model_after_a_hang_up() {
    let deployment = Deployment::lenet();
    let pair = deployment.edges("portable");
    let old = deployment.start_device(&pair, &["--model", "lenet", "bench", "--runs", "3000", "--warmup", "0"]);
    let file = save(&mixed(), &deployment.scratch("mixed.onnx"));
    deployment.add("mixed", &["--onnx", &file]);
    deployment
        .device(&pair, &["--model", "mixed", "bench", "--runs", "2"])
        .expect_error(5, &["edge-", "does not hold model", "add-device"]);
    for edge in [&pair.a, &pair.b] {
        edge.signal(Signal::HUP);
        edge.await_log("models loaded anew");
        assert_eq!(edge.metric("twinmask_models"), 2.0);
    }
    deployment.device(&pair, &["--model", "mixed", "bench", "--runs", "2"]).expect_ok();
    old.wait(SOON).expect_ok();
}

/// If this fails, whoever runs an edge cannot see how it is.
#[test]
fn administration() {
    let deployment = Deployment::new();
    let empty = deployment.edge("edge-a", &[]);
    assert_eq!(empty.get("/livez").0, 200);
    let (status, reason) = empty.get("/readyz");
    assert!(status == 503 && reason.contains("no models"), "{status} {reason}");
    drop(empty);

    deployment.add("lenet", &["--zoo", "lenet"]);
    let pair = deployment.edges("portable");
    deployment.device(&pair, &["bench", "--runs", "5", "--warmup", "0"]).expect_ok();
    for (edge, name) in [(&pair.a, "edge-a"), (&pair.b, "edge-b")] {
        assert_eq!((edge.get("/livez").0, edge.get("/readyz").0, edge.get("/nothing").0), (200, 200, 404));
        let metrics = edge.get("/metrics").1;
        assert!(metrics.contains(&format!("role=\"{name}\"")), "{metrics}");
        until("all inferences counted", || edge.metric("twinmask_inferences_total") >= 5.0);
        assert_eq!(edge.metric("twinmask_inferences_total"), 5.0);
        assert_eq!(edge.metric("twinmask_rounds_total"), 5.0 * edge_rounds(&deployment));
        until("bytes of the session that has ended", || edge.metric("twinmask_bytes_total") > 0.0);
    }
}

fn edge_rounds(deployment: &Deployment) -> f64 {
    deployment.bundle("lenet").model.plan.rounds().len() as f64
}

/// If this fails, an edge runs with settings other than those that were written down.
#[test]
fn settings_of_an_edge() {
    let deployment = Deployment::lenet();
    let dir = deployment.path("edge-a");
    let file = deployment.scratch("edge.toml");
    let text = format!(
        "dir = {dir:?}\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nkernel = \"portable\"\nthreads = 3\nlog = \"info\"\n"
    );
    std::fs::write(&file, &text).expect("writes");
    let program = twinmask_tests::binaries::path("edge-a");
    let with = |env: &[(&str, &str)], args: &[&str]| {
        let mut command = twinmask_tests::command(&program);
        command.arg("--config").arg(&file).args(args).envs(env.iter().copied());
        Edge::try_start(&mut command)
    };
    let found = |edge: Result<Edge, _>| {
        let edge: Edge = edge.unwrap_or_else(|out: twinmask_tests::Output| panic!("{out:?}"));
        (edge.ready_field("kernel"), edge.ready_field("threads"))
    };
    let expected = |kernel: &str, threads: &str| (kernel.to_owned(), threads.to_owned());
    assert_eq!(found(with(&[], &[])), expected("portable", "3"));
    let env = [("TWINMASK_KERNEL", "openblas"), ("TWINMASK_THREADS", "2")];
    assert_eq!(found(with(&env, &[])), expected("openblas", "2"));
    assert_eq!(found(with(&env, &["--threads", "1"])), expected("openblas", "1"));
    let refused = |result: Result<Edge, twinmask_tests::Output>| result.err().expect("must not start");
    refused(with(&[], &["--kernel", "abacus"])).expect_error(3, &["abacus", "portable"]);
    std::fs::write(&file, text + "colour = \"red\"\n").expect("writes");
    refused(with(&[], &[])).expect_error(3, &["edge.toml", "colour"]);
    std::fs::remove_file(&file).expect("there");
    refused(with(&[], &[])).expect_error(3, &["edge.toml"]);
}

/// If this fails, a device runs with settings other than those that were written down.
#[test]
fn settings_of_a_device() {
    let deployment = Deployment::lenet();
    let pair = deployment.edges("portable");
    let Pair { a, b } = &pair;
    let dir = deployment.path("devices").join(DEVICE);
    let file = deployment.scratch("device.toml");
    let text = format!("dir = {dir:?}\nedge_a = {:?}\nedge_b = {:?}\nintegrity = \"sample:5\"\n", a.address, b.address);
    std::fs::write(&file, &text).expect("writes");
    let bench = |env: &[(&str, &str)], args: &[&str]| {
        let mut command = twinmask_tests::command(twinmask_tests::binaries::path("device"));
        command.arg("--config").arg(&file).args(args).envs(env.iter().copied());
        run(command.args(["bench", "--runs", "1", "--json"]), SOON)
    };
    let check = |out: twinmask_tests::Output| out.expect_ok().json()[0]["integrity"].clone();
    assert_eq!(check(bench(&[], &[])), "sample:5");
    assert_eq!(check(bench(&[("TWINMASK_INTEGRITY", "sample:6")], &[])), "sample:6");
    assert_eq!(check(bench(&[("TWINMASK_INTEGRITY", "sample:6")], &["--integrity", "sample:7"])), "sample:7");
    bench(&[("TWINMASK_EDGE_A", "nowhere.invalid:1")], &[]).expect_error(4, &["nowhere.invalid"]);
    assert_eq!(check(bench(&[("TWINMASK_EDGE_A", "nowhere.invalid:1")], &["--edge-a", &a.address])), "sample:5");
    std::fs::write(&file, text + "colour = \"red\"\n").expect("writes");
    bench(&[], &[]).expect_error(3, &["device.toml", "colour"]);
}

/// If this fails, what a person sees first does not work.
#[test]
fn the_demo() {
    let mut command = twinmask_tests::command(twinmask_tests::binaries::path("device"));
    let out = run(command.args(["--model", "lenet", "demo", "--json"]), SOON).expect_ok();
    let report = &out.json()[0];
    assert_eq!((&report["equal_to_local"], &report["mode"]), (&true.into(), &"split".into()));
    let exchanges = report["exchanges"].as_array().expect("a list");
    assert_eq!(report["rounds"].as_u64(), Some(exchanges.len() as u64));
}
