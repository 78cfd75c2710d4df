//! Even the most talkative logs keep the secrets; so do files, and wires on which they have no business.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use twinmask_tests::data::parse_npy;
use twinmask_tests::secrets::Secrets;
use twinmask_tests::tap::Tap;
use twinmask_tests::{Deployment, Edge, Output, kernels, run, until};
use twinmask_wire::FrameType;
use twinmask_wire::message::{Open, Opened, Secret};

/// Both edges and the wires to and between them, all of which are listened to.
struct Scene {
    a: Edge,
    b: Edge,
    to_a: Tap,
    to_b: Tap,
    between: Tap,
}

impl Scene {
    fn new(runtime: &tokio::runtime::Runtime, deployment: &Deployment, kernel: &str, temporary: &Path) -> Scene {
        let identity = |of: &str| deployment.path(of).join("identity");
        let start = |name: &str, more: &[&str]| {
            let mut command = Edge::command(name, &deployment.path(name));
            command.args(["--kernel", kernel, "--log", "trace"]).args(more).env("TMPDIR", temporary);
            Edge::start(&mut command)
        };
        let tap = |server, client, edge: &Edge| Tap::new(runtime, &identity(server), &identity(client), &edge.address);
        let b = start("edge-b", &[]);
        let between = tap("edge-b", "edge-a", &b);
        let a = start("edge-a", &["--peer", &between.address]);
        until("the edges connected", || a.metric("twinmask_peer_connected") == 1.0);
        let (to_a, to_b) = (tap("edge-a", "devices/cam", &a), tap("edge-b", "devices/cam", &b));
        Scene { a, b, to_a, to_b, between }
    }

    /// Adds what the sessions so far were opened with, and all keys that come of it with the device's mask key; gives
    /// how many sessions there were.
    fn learn(&self, secrets: &mut Secrets, mask_key: &[u8]) -> usize {
        let opens: Vec<Open> = self.to_a.bodies(FrameType::Open);
        let opened: Vec<Opened> = self.to_a.bodies(FrameType::Opened);
        assert_eq!(opens.len(), opened.len(), "one device after the other");
        for (open, opened) in opens.iter().zip(opened) {
            let Secret(seed) = open.seed.as_ref().expect("edge A gets one");
            secrets.add("a session's seed", seed);
            if let Some(Secret(ticket)) = &open.ticket {
                secrets.add("a session's ticket", ticket);
            }
            let session = [mask_key, seed, &opened.part.expect("edge A has one").nonce].concat();
            for (label, c) in ["R chacha20", "R aes128", "T chacha20", "T aes128"]
                .into_iter()
                .flat_map(|l| (0..COUNTERS).map(move |c| (l, c)))
            {
                let key =
                    blake3::derive_key(&format!("twinmask/2 {label}"), &[&session[..], &c.to_le_bytes()].concat());
                secrets.add(&format!("the key of {label} of inference {c}"), &key);
            }
        }
        opens.len()
    }
}

/// Inferences of a session whose keys are looked for.
const COUNTERS: u64 = 4;

/// The key in a file of 64 hexadecimal digits.
fn hex_key(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).expect("a key's file");
    let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hexadecimal digits");
    (0..32).map(byte).collect()
}

/// If this fails, somebody who reads logs, reports, files or what an edge was sent can unmask what the device sent, or
/// pose as the device.
#[test]
fn no_secret_is_logged_or_reported() {
    let deployment = Deployment::lenet();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let key = std::fs::read_to_string(deployment.path("devices/cam/identity/key.pem")).expect("the device's key");
    let (input, output) = (deployment.tensor("input", &[1, 1, 28, 28]), deployment.scratch("output.npy"));
    let (input, output) = (input.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    let temporary = deployment.scratch("temporary");
    std::fs::create_dir(&temporary).expect("a new folder");
    let bundle = deployment.bundle("lenet");
    let [mask_key, master] =
        ["devices/cam", "edge-a"].map(|of| hex_key(&deployment.path(of).join("identity/mask.key")));
    let of_device = || {
        let mut secrets = Secrets::of(&bundle, &key);
        secrets.add("the device's mask key", &mask_key);
        secrets
    };
    let mut of_edge_a = Secrets::default();
    of_edge_a.add("the master of all mask keys", &master);
    for kernel in kernels() {
        let mut scene = Scene::new(&runtime, &deployment, kernel, &temporary);
        let command = |arguments: &[&str]| {
            let mut command = deployment.device_command(&scene.to_a.address, &scene.to_b.address);
            command.env("TWINMASK_LOG", "trace").env("TMPDIR", &temporary).args(arguments);
            command
        };
        let runs: [(&[&str], i32); 6] = [
            (&["infer", input, "--json", "--save-output", output], 0),
            (&["infer", input, "--top", "10"], 0),
            (&["--mode", "relay", "infer", input, "--json"], 0),
            (&["--prefetch", "2", "bench", "--runs", "3"], 0),
            (&["--mode", "relay", "bench", "--runs", "3"], 0),
            (&["--model", "none", "infer", input], 3),
        ];
        let outputs: Vec<Output> = runs.iter().map(|(arguments, code)| device(command(arguments), *code)).collect();
        let mut secrets = of_device();
        secrets.add("the master of all mask keys", &master);
        let sessions = scene.learn(&mut secrets, &mask_key);
        assert_eq!(sessions, runs.len() - 1, "every run but the last opens a session");
        for out in &outputs {
            secrets.check("the device's log", &out.stderr);
            secrets.check("the device's report", &out.stdout);
        }
        assert_eq!(parse_npy(&std::fs::read(output).expect("saved")).1.len(), 10);
        check_wires(&scene, &of_device(), &of_edge_a);
        for edge in [&mut scene.a, &mut scene.b] {
            let metrics = edge.get("/metrics").1;
            let out = edge.stop().expect_ok();
            assert!(out.stderr.contains("TRACE"), "the edge's log is not at its most talkative");
            for text in [&out.stderr, &out.stdout, &metrics] {
                secrets.check("an edge", text);
            }
        }
        let mut of_sessions = Secrets::default();
        scene.learn(&mut of_sessions, &mask_key);
        check_files(&deployment, &temporary, &of_sessions, &of_device(), &of_edge_a);
    }
}

fn device(mut command: Command, code: i32) -> Output {
    let out = run(&mut command, Duration::from_secs(60)).expect_code(code);
    assert!(code != 0 || out.stderr.contains("TRACE"), "not at its most talkative: {}", out.stderr);
    out
}

/// The seed goes to edge A and nowhere else, tickets to both edges, and keys to nobody.
fn check_wires(scene: &Scene, of_device: &Secrets, of_edge_a: &Secrets) {
    let mut seeds = Secrets::default();
    for open in scene.to_a.bodies::<Open>(FrameType::Open) {
        seeds.add("a session's seed", &open.seed.expect("edge A gets one").0);
    }
    let (to_a, to_b, between) = (scene.to_a.frames(), scene.to_b.frames(), scene.between.frames());
    assert!(to_b.len() > 50 && between.len() > 20, "{} and {} frames", to_b.len(), between.len());
    for frame in to_b.iter().chain(&between) {
        assert_eq!(seeds.held_by(frame), None, "edge B is sent it");
    }
    for frame in to_a.iter().chain(&to_b).chain(&between) {
        assert_eq!(of_device.held_by(frame).or_else(|| of_edge_a.held_by(frame)), None, "an edge is sent it");
    }
    let found = to_a.iter().any(|frame| seeds.held_by(frame).is_some());
    assert!(found, "edge A is sent the seed: what is looked for can be found");
}

/// No file holds what a session was opened with or its keys; what is the device's only its own folder, and the master
/// of mask keys only edge A's and the owner's.
fn check_files(
    deployment: &Deployment,
    temporary: &Path,
    of_sessions: &Secrets,
    of_device: &Secrets,
    of_edge_a: &Secrets,
) {
    let left = std::fs::read_dir(temporary).expect("a folder").count();
    assert_eq!(left, 0, "files are left in the folder of temporary ones");
    let mut found = [0, 0];
    for (path, content) in deployment.snapshot() {
        let name = path.strip_prefix(deployment.path("")).expect("below").to_owned();
        assert_eq!(of_sessions.held_by(&content), None, "{}", name.display());
        let homes: [(&Secrets, &[&str]); 2] =
            [(of_device, &["devices/cam"]), (of_edge_a, &["edge-a/identity", "owner"])];
        for ((secrets, homes), found) in homes.into_iter().zip(&mut found) {
            if let Some(secret) = secrets.held_by(&content) {
                assert!(homes.iter().any(|home| name.starts_with(home)), "{} holds {secret}", name.display());
                *found += 1;
            }
        }
    }
    assert!(found[0] >= 3 && found[1] == 2, "{found:?} files: what is looked for can be found");
}
