//! Mode `relay` over real processes: what comes out is what `--local` gives, whatever becomes of edge A's corrections.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use twinmask_codec::packed_parts_len;
use twinmask_edge::{Config, Daemon, Role};
use twinmask_tests::{Deployment, Edge, Inferred, Pair, until};

const RELAY: [&str; 2] = ["--mode", "relay"];
/// Rounds of a siblings' network, many enough to be in the middle of them for a while.
const MANY: &str = "facenet-irv1";

fn zoo(names: &[&str]) -> Deployment {
    let deployment = Deployment::new();
    for name in names {
        deployment.add(name, &["--zoo", name]);
    }
    deployment
}

/// `n` seeded inputs of `model`.
fn inputs(deployment: &Deployment, model: &str, n: usize) -> Vec<PathBuf> {
    let shape = &deployment.bundle(model).model.graph;
    let shape = shape.picture_shape().to_vec();
    (0..n).map(|i| deployment.tensor(&format!("{model}-{i}"), &shape)).collect()
}

/// Checks that all inferences ran in `mode`; gives their fallbacks.
#[track_caller]
fn fallbacks(inferred: &Inferred, mode: &str) -> u64 {
    let one = |report: &serde_json::Value| {
        assert_eq!(report["mode"], mode);
        report["fallbacks"].as_u64().expect("a number")
    };
    inferred.reports.iter().map(one).sum()
}

/// The share of the device's traffic with edge A in the median inference: the first ones of a session also carry QUIC's
/// search for the largest packet.
fn share_of_edge_a(inferred: &Inferred) -> f64 {
    let share = |report: &serde_json::Value| {
        let of = |edge: &str| {
            let bytes = |way: &str| report["bytes"][edge][way].as_f64().expect("bytes");
            bytes("up") + bytes("down")
        };
        of("edge_a") / (of("edge_a") + of("edge_b"))
    };
    let mut shares: Vec<f64> = inferred.reports.iter().map(share).collect();
    shares.sort_by(f64::total_cmp);
    shares[shares.len() / 2]
}

/// If this fails, edge B's sums are wrong in some kernel, a round falls back without need, or the device's traffic is
/// not that of one edge.
#[test]
fn relay_is_local_and_edge_a_hears_next_to_nothing() {
    let deployment = zoo(&["lenet", MANY]);
    for (model, n) in [("lenet", 9), (MANY, 3)] {
        let inputs = inputs(&deployment, model, n);
        let local = deployment.output(None, model, &inputs);
        for kernel in ["auto", "portable"] {
            let pair = deployment.relay_edges(kernel);
            let relayed = deployment.infer(Some(&pair), model, &inputs, &RELAY);
            assert!(relayed.saved == local, "{model}, kernel {kernel}: relay and local results differ");
            assert_eq!(fallbacks(&relayed, "relay"), 0, "{model}, kernel {kernel}");
            let at_a = share_of_edge_a(&relayed);
            assert!(at_a < 0.01, "{model}, kernel {kernel}: {at_a} of the bytes are edge A's");
        }
    }
}

/// If this fails, a device is told `relay` where nothing was relayed, or one that asks for it gets no results.
#[test]
fn without_the_link_between_the_edges_the_result_says_split() {
    let deployment = zoo(&["lenet"]);
    let inputs = inputs(&deployment, "lenet", 2);
    let local = deployment.output(None, "lenet", &inputs);
    let check = |pair: &Pair, mode: &str| {
        let inferred = deployment.infer(Some(pair), "lenet", &inputs, &RELAY);
        assert!(inferred.saved == local, "wrong results");
        assert_eq!(fallbacks(&inferred, mode), 0);
    };
    check(&deployment.edges("auto"), "split");

    let mut pair = deployment.relay_edges("auto");
    check(&pair, "relay");
    // Edge B comes back elsewhere: edge A still dials the address of its own configuration.
    let address = pair.b.address.clone();
    pair.b.stop().expect_ok();
    pair.b = deployment.edge("edge-b", &[]);
    until("the end of the link", || pair.a.metric("twinmask_peer_connected") == 0.0);
    check(&pair, "split");
    // And there again.
    pair.b.stop().expect_ok();
    let mut command = twinmask_tests::command(twinmask_tests::binaries::path("edge-b"));
    command.arg("--dir").arg(deployment.path("edge-b")).args(["--listen", &address, "--admin", "127.0.0.1:0"]);
    pair.b = Edge::start(&mut command);
    until("the link anew", || pair.a.metric("twinmask_peer_connected") == 1.0);
    check(&pair, "relay");
}

/// If this fails, a round whose correction does not come in time is lost, wrong or not told of.
#[test]
fn corrections_that_come_late_are_done_without() {
    let deployment = zoo(&[MANY]);
    let inputs = inputs(&deployment, MANY, 4);
    let local = deployment.output(None, MANY, &inputs);
    let pair = deployment.relay_edges("auto");
    let over = AtomicBool::new(false);
    let late = std::thread::scope(|scope| {
        // Edge A stands still for longer than edge B's grace, again and again.
        scope.spawn(|| {
            until("rounds", || pair.b.metric("twinmask_rounds_total") > 0.0);
            while !over.load(Relaxed) {
                pair.a.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(600));
                pair.a.signal(Signal::CONT);
                std::thread::sleep(Duration::from_millis(150));
            }
        });
        let late = deployment.infer(Some(&pair), MANY, &inputs, &RELAY);
        over.store(true, Relaxed);
        late
    });
    assert!(late.saved == local, "relay with late corrections and local results differ");
    let fallbacks = fallbacks(&late, "relay") as f64;
    assert!(fallbacks > 0.0, "edge A was never late: this proves nothing");
    for edge in [&pair.a, &pair.b] {
        assert_eq!(edge.metric("twinmask_relay_misses_total"), fallbacks);
    }
    // Nothing of that stays.
    let again = deployment.infer(Some(&pair), MANY, &inputs[..1], &RELAY);
    assert_eq!(self::fallbacks(&again, "relay"), 0);
}

/// If this fails, what edge B holds for others is not bounded, or rounds beyond the bound are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_beyond_the_credit_are_answered_by_both() {
    let deployment = zoo(&["lenet"]);
    let inputs = inputs(&deployment, "lenet", 3);
    let plan = deployment.bundle("lenet").model.plan;
    let lengths: Vec<usize> = plan.round_ids().map(|r| packed_parts_len(&plan.answer_parts(r))).collect();
    let credit = lengths.iter().max().expect("rounds") - 1;
    let beyond = lengths.iter().filter(|len| **len > credit).count();
    assert!(beyond > 0 && beyond < lengths.len());

    let mut config = Config::new(deployment.path("edge-b"), Role::B).on_loopback();
    config.limits.relay_session = credit;
    let b = Daemon::start(config, Role::B, twinmask_kernels::default_kernel()).await.expect("edge B starts");
    let address = b.addr().to_string();
    let a = deployment.edge("edge-a", &["--peer", &address]);
    until("the edges connected", || a.metric("twinmask_peer_connected") == 1.0);
    let file = deployment.scratch("beyond.npy");
    let mut command = deployment.device_command(&a.address, &address);
    command.args(RELAY).args(["infer", "--json", "--save-output"]).arg(&file).args(&inputs);
    let out = twinmask_tests::run(&mut command, Duration::from_secs(60)).expect_ok();
    for report in out.json() {
        assert_eq!((&report["mode"], &report["fallbacks"]), (&"relay".into(), &beyond.into()));
    }
    assert!(std::fs::read(&file).expect("written") == deployment.output(None, "lenet", &inputs));
    assert_eq!(a.metric("twinmask_relay_misses_total"), (beyond * inputs.len()) as f64);
    b.shutdown().await;
}

/// If this fails, inferences in flight get each other's corrections. (The default check finds any wrong element.)
#[test]
fn several_inferences_in_flight() {
    let deployment = zoo(&["lenet"]);
    deployment.issue("door", "lenet", &[]);
    let pair = deployment.relay_edges("auto");
    let bench = ["--mode", "relay", "bench", "--runs", "60", "--concurrency", "3", "--json"];
    let first = deployment.start_device(&pair, &bench);
    let mut door = twinmask_tests::command(twinmask_tests::binaries::path("device"));
    door.arg("--dir").arg(deployment.path("devices/door")).args(["--edge-a", &pair.a.address]);
    let second = twinmask_tests::Running::start(door.args(["--edge-b", &pair.b.address]).args(bench));
    for device in [first, second] {
        let report = device.wait(Duration::from_secs(60)).expect_ok().json().remove(0);
        assert_eq!(
            (&report["mode"], &report["runs"], &report["concurrency"], &report["integrity"]),
            (&"relay".into(), &60.into(), &3.into(), &"sample:16+freivalds".into())
        );
        assert_eq!(report["fallbacks"], 0);
    }
    for edge in [&pair.a, &pair.b] {
        until("all sessions closed", || edge.metric("twinmask_sessions") == 0.0);
        until("nothing held", || edge.metric("twinmask_relay_bytes") + edge.metric("twinmask_ahead_bytes") == 0.0);
    }
}

/// If this fails, people plan their links with numbers that `inspect` made up.
#[test]
fn the_predicted_traffic_is_what_a_relay_counts() {
    let deployment = zoo(&[MANY]);
    let inspected = deployment.keygen("inspect", &["--json"]).expect_ok().json().remove(0);
    let schemes = inspected["analysis"]["schemes"].as_array().expect("schemes").clone();
    let relay = schemes.iter().find(|s| s["name"] == "relay").expect("a column for relay");
    let pair = deployment.relay_edges("auto");
    let bench = ["--mode", "relay", "bench", "--runs", "3", "--warmup", "1", "--json"];
    let report = deployment.device(&pair, &bench).expect_ok().json().remove(0);
    assert_eq!((&report["mode"], &report["fallbacks"]), (&"relay".into(), &0.into()));
    for way in ["up", "down"] {
        let predicted = relay["bytes"][way].as_f64().expect("bytes");
        let counted = report["bytes"]["edge_b"][way].as_f64().expect("bytes");
        // Payload against all UDP payload: headers, encryption and acknowledgements of the other direction come on top.
        let ratio = counted / predicted;
        println!("{way}: {predicted} bytes predicted, {counted} counted");
        assert!((1.0..1.04).contains(&ratio), "{way}: {predicted} bytes predicted, {counted} counted");
    }
}
