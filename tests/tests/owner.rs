//! The owner's tool through the life of a deployment: keys, certificates and versions that change, disks that are full.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use twinmask_model::bundle::short;
use twinmask_owner_keygen::pki::{Validity, now_s, write_identity};
use twinmask_owner_keygen::store::Store;
use twinmask_tests::networks::save;
use twinmask_tests::onnx::{Network, ints};
use twinmask_tests::{DEVICE, Deployment, Edge, Output, Pair, binaries, command, run};
use twinmask_transport::{Client, Identity, Role, Server, TransportLimits, utc};

const SOON: Duration = Duration::from_secs(60);
const DAY_S: i64 = 24 * 3600;

/// LeNet and a device, with both edges running.
struct Scene {
    deployment: Deployment,
    pair: Pair,
    input: String,
}

impl Scene {
    fn new() -> Scene {
        let deployment = Deployment::lenet();
        let pair = deployment.edges("portable");
        let input = deployment.tensor("digit", &[1, 1, 28, 28]).to_str().expect("UTF-8").to_owned();
        Scene { deployment, pair, input }
    }

    fn infer(&self) -> Output {
        self.infer_as(&self.deployment.path("devices").join(DEVICE))
    }

    fn infer_as(&self, dir: &Path) -> Output {
        let mut device = command(binaries::path("device"));
        device.arg("--dir").arg(dir).args(["--edge-a", &self.pair.a.address, "--edge-b", &self.pair.b.address]);
        run(device.args(["--model", "lenet", "infer", "--json", &self.input]), SOON)
    }

    /// A copy of the device's folder, as it is on the device's own disk.
    fn carried_away(&self, name: &str) -> PathBuf {
        let copy = self.deployment.scratch(name);
        let from = self.deployment.path("devices").join(DEVICE);
        run(command("cp").arg("-a").arg(from).arg(&copy), SOON).expect_ok();
        copy
    }

    fn reload(&self) {
        for edge in [&self.pair.a, &self.pair.b] {
            let before = edge.log().matches("models loaded anew").count();
            edge.signal(Signal::HUP);
            twinmask_tests::until("a reload", || edge.log().matches("models loaded anew").count() > before);
        }
    }
}

/// If this fails, a stolen device goes on, or its owner cannot tell why the new one does not.
#[test]
fn a_device_is_revoked_and_replaced() {
    let scene = Scene::new();
    let stolen = scene.carried_away("stolen");
    scene.infer_as(&stolen).expect_ok();
    scene.deployment.keygen("revoke", &["--device", DEVICE]).expect_ok();
    // Until the edges hear of it, nothing changes for who has the old folder.
    scene.infer_as(&stolen).expect_ok();
    scene.reload();
    scene.infer_as(&stolen).expect_error(5, &["edge-", "was revoked by the owner"]);
    scene.infer().expect_error(3, &["device/cam", "was revoked by the owner", "owner-keygen rotate DIR --identity"]);
    let add = ["--name", DEVICE, "--model", "lenet"];
    scene.deployment.keygen("add-device", &add).expect_error(3, &["cam", "was revoked", "rotate"]);

    scene.deployment.keygen("rotate", &["--identity", "device/cam"]).expect_ok();
    scene.infer().expect_ok();
    scene.infer_as(&stolen).expect_error(5, &["was revoked by the owner"]);
    scene.deployment.keygen("revoke", &["--device", "nobody"]).expect_error(3, &["device/nobody", "device/cam"]);
}

/// If this fails, an edge whose key was lost is believed by devices that know better.
#[test]
fn an_edge_is_replaced_and_the_old_one_not_believed() {
    let scene = Scene::new();
    let old = scene.deployment.scratch("old-edge-b");
    run(command("cp").arg("-a").arg(scene.deployment.path("edge-b")).arg(&old), SOON).expect_ok();
    scene.deployment.keygen("rotate", &["--identity", "edge-b", "--revoke-old"]).expect_ok();
    scene.reload();
    scene.infer().expect_ok();

    let impostor = Edge::start(&mut Edge::command("edge-b", &old));
    let pair = Pair { a: scene.deployment.edge("edge-a", &[]), b: impostor };
    let out = scene.deployment.device(&pair, &["infer", &scene.input]);
    out.expect_error(5, &["edge-b", "was revoked by the owner"]);
    let own = Edge::try_start(&mut {
        std::fs::copy(scene.deployment.path("edge-b/identity/crl.pem"), old.join("identity/crl.pem")).expect("copies");
        Edge::command("edge-b", &old)
    });
    own.err().expect("must not start").expect_error(3, &["edge-b", "was revoked by the owner"]);
}

/// If this fails, fresh keys do not fit the edges, or a device that was left behind gets no way out.
#[test]
fn versions_come_and_go() {
    let scene = Scene::new();
    let (keygen, old) = (|verb, args: &[&str]| scene.deployment.keygen(verb, args), scene.carried_away("old"));
    let digest = || short(&scene.deployment.bundle("lenet").model.digest);
    let first = digest();
    keygen("add-model", &["--name", "lenet", "--zoo", "lenet", "--seed", "2"]).expect_ok();
    scene.reload();
    scene.infer_as(&old).expect_ok(); // both versions are served
    keygen("rotate", &["--keys", DEVICE]).expect_ok();
    assert_ne!(digest(), first);
    scene.infer().expect_ok();

    keygen("revoke", &["--model", "lenet", "--version", "1"]).expect_ok();
    scene.reload();
    let update = "owner-keygen add-device DIR --name cam --model";
    scene.infer_as(&old).expect_error(5, &["edge-", &first, update, "folder"]);
    scene.infer().expect_ok();
    keygen("revoke", &["--model", "lenet", "--version", "7"]).expect_error(3, &["lenet version 7", "lenet version 2"]);
    keygen("revoke", &["--model", "lenet"]).expect_error(2, &["--version"]);

    let listing = keygen("list", &["--json"]).expect_ok().json().remove(0);
    let statuses: Vec<_> = listing["models"].as_array().expect("models").iter().map(|m| &m["status"]).collect();
    assert_eq!(statuses, ["withdrawn", "newest"]);
    assert_eq!(listing["devices"][0]["models"][0]["version"], 2);
    let roles: Vec<_> = listing["identities"].as_array().expect("identities").iter().map(|i| &i["role"]).collect();
    assert_eq!(roles, ["edge-a", "edge-b", "device/cam"]);
    assert!(keygen("list", &[]).expect_ok().stdout.contains("withdrawn"));
}

/// A certificate out of its time, written over the one in `dir`. Returns its times as a person reads them.
fn out_of_time(deployment: &Deployment, role: &Role, dir: &Path, days: (i64, i64)) -> [String; 2] {
    let ca = Store::open(&deployment.path("")).expect("the owner's folder").ca().expect("the owner's CA");
    let (from, to) = (now_s() + days.0 * DAY_S, now_s() + days.1 * DAY_S);
    write_identity(dir, &ca.issue(role, &[], Validity { not_before_s: from, not_after_s: to }).expect("issues"))
        .expect("writes");
    [utc(from), utc(to)]
}

/// The day of the machine's clock.
fn today() -> String {
    utc(now_s())[..10].to_owned()
}

/// If this fails, a certificate out of its time is used by its own host, or refused without saying which clock is
/// wrong.
#[test]
fn own_certificates_out_of_their_time() {
    let scene = Scene::new();
    for (days, words, shown) in [((-9, -2), "expired at", 1), ((2, 9), "is valid from", 0)] {
        let dir = scene.carried_away(&format!("late{shown}"));
        let device = Role::device(DEVICE).expect("a name");
        let times = out_of_time(&scene.deployment, &device, &dir.join("identity"), days);
        scene.infer_as(&dir).expect_error(3, &["device/cam", words, &times[shown], "clock says", &today()]);
        for (name, role) in [("edge-a", Role::EdgeA), ("edge-b", Role::EdgeB)] {
            let dir = scene.deployment.path(name);
            let times = out_of_time(&scene.deployment, &role, &dir.join("identity"), days);
            let edge = Edge::try_start(&mut Edge::command(name, &dir)).err().expect("must not start");
            edge.expect_error(3, &[name, words, &times[shown], "clock says", &today()]);
        }
    }
}

/// If this fails, a peer whose certificate is out of its time is talked to, or refused without both times.
#[test]
fn peers_with_certificates_out_of_their_time() {
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ca = std::fs::read(scene.deployment.path("edge-a/identity/ca.pem")).expect("the CA");
    let identity = |role: &Role, days| {
        let dir = scene.deployment.scratch(&format!("peer-{role}").replace('/', "-"));
        let times = out_of_time(&scene.deployment, role, &dir, days);
        let read = |name: &str| std::fs::read(dir.join(name)).expect("written above");
        // This way nobody looks at the own clock.
        (Identity::from_pem(&read("cert.pem"), &read("key.pem"), &ca).expect("an identity"), times)
    };
    for (days, words, shown) in [((-9, -2), "expired at", 1), ((2, 9), "is valid from", 0)] {
        for (role, place) in [(Role::EdgeA, 0), (Role::EdgeB, 1)] {
            let (edge, times) = identity(&role, days);
            let mut server =
                runtime.block_on(Server::bind("127.0.0.1:0", edge, TransportLimits::lan())).expect("a free port");
            let mut addresses = [scene.pair.a.address.clone(), scene.pair.b.address.clone()];
            addresses[place] = server.local_addr().expect("bound").to_string();
            let accepting = runtime.spawn(async move { while server.accept().await.is_some() {} });
            let mut device = scene.deployment.device_command(&addresses[0], &addresses[1]);
            let out = run(device.args(["infer", &scene.input]), SOON);
            accepting.abort();
            out.expect_error(5, &[&role.to_string(), &addresses[place], words, &times[shown], "clock says", &today()]);
        }
        let (device, times) = identity(&Role::device(DEVICE).expect("a name"), days);
        let (edge, limits) = (&scene.pair.b, TransportLimits::lan());
        let call = Client::connect(&edge.address, &Role::EdgeB, &device, &limits, SOON);
        let refused = runtime.block_on(call).expect_err("must be refused").to_string();
        assert!(refused.contains("expired or is not valid yet by the peer's clock"), "{refused}");
        edge.await_log(words);
        assert!(edge.log().contains(&times[shown]), "{}", edge.log());
    }
}

/// `command` in a shell that lets no file grow beyond `kib` KiB: writing then fails as on a full disk.
fn with_file_limit(kib: u32, inner: &Command) -> Command {
    let mut shell = command("bash");
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"")).arg("bash");
    shell.arg(inner.get_program()).args(inner.get_args());
    shell
}

fn keygen(dir: &Path, verb: &str, args: &[&str]) -> Command {
    let mut command = command(binaries::path("owner-keygen"));
    command.arg(verb).arg(dir).args(args);
    command
}

/// Everything that the owner's tool writes into a deployment that holds LeNet.
fn writes(onnx: &str) -> Vec<(&'static str, Vec<&str>)> {
    vec![
        ("add-model", vec!["--name", "lenet", "--onnx", onnx]),
        ("add-model", vec!["--name", "other", "--zoo", "lenet"]),
        ("add-device", vec!["--name", DEVICE, "--model", "lenet"]),
        ("add-device", vec!["--name", "new", "--model", "lenet"]),
        ("rotate", vec!["--keys", DEVICE]),
        ("rotate", vec!["--identity", "edge-a", "--revoke-old"]),
        ("rotate", vec!["--identity", "device/cam"]),
        ("revoke", vec!["--device", DEVICE]),
    ]
}

/// If this fails, a full disk costs the owner files, or leaves a registry that tells of what was never written.
#[test]
fn files_that_cannot_be_written_leave_all_as_it_was() {
    let deployment = Deployment::lenet();
    let onnx = deployment.scratch("net.onnx").to_str().expect("UTF-8").to_owned();
    run(command(binaries::path("owner-keygen")).args(["zoo", "lenet", "--out", &onnx]), SOON).expect_ok();
    // Enough entries that the registry alone is over the limit.
    ["second", "third", "fourth"].iter().for_each(|name| deployment.issue(name, "lenet", &[]));
    let before = deployment.snapshot();
    for (verb, args) in writes(&onnx) {
        let out = run(&mut with_file_limit(1, &keygen(&deployment.path(""), verb, &args)), SOON);
        out.expect_error(3, &["cannot", "too large"]);
        assert!(deployment.snapshot() == before, "{verb} {args:?} has changed files");
    }
    for left in ["owner/models/lenet-v2", "owner/models/other-v1", "devices/new"] {
        assert!(!deployment.path(left).exists(), "{left} was left behind");
    }
    // All of it works where there is room.
    for (verb, args) in writes(&onnx) {
        deployment.keygen(verb, &args).expect_ok();
    }
}

/// If this fails, a disk that is really full does what a limit on files does not.
#[test]
fn a_full_disk_leaves_all_as_it_was() {
    let private = "mount -t tmpfs -o size=1m none \"$0\"";
    let folder = tempfile::tempdir().expect("temporary folder");
    let probe = run(command("unshare").args(["-m", "bash", "-c", private]).arg(folder.path()), SOON);
    if probe.code != Some(0) {
        eprintln!("skipped: owner::a_full_disk_leaves_all_as_it_was: no right to mount a small disk");
        return;
    }
    let deployment = Deployment::lenet();
    let onnx = deployment.scratch("net.onnx").to_str().expect("UTF-8").to_owned();
    run(command(binaries::path("owner-keygen")).args(["zoo", "lenet", "--out", &onnx]), SOON).expect_ok();
    // The deployment on a disk of its own, filled to the last byte, compared with the original afterwards.
    let script = "set -e; disk=$1; from=$2; shift 2; mount -t tmpfs -o size=32m none \"$disk\"; cp -a \"$from/.\" \"$disk\"; \
        dd if=/dev/zero of=\"$disk/filler\" bs=4k status=none 2>/dev/null || true; \
        code=0; \"$@\" || code=$?; rm \"$disk/filler\"; diff -r \"$from\" \"$disk\" || true; exit $code";
    for (verb, args) in writes(&onnx) {
        let inner = keygen(folder.path(), verb, &args);
        let mut outer = command("unshare");
        outer.args(["-m", "bash", "-c", script, "bash"]).arg(folder.path()).arg(deployment.path(""));
        outer.arg(inner.get_program()).args(inner.get_args());
        let out = run(&mut outer, SOON).expect_error(3, &["cannot", "No space left"]);
        assert_eq!(out.stdout, "", "{verb} {args:?} has changed files");
    }
}

/// If this fails, a result that could not be written is half there, or replaces an older one.
#[test]
fn an_output_that_cannot_be_written() {
    let deployment = Deployment::new();
    let mut n = Network::new(&[1, 2, 48, 48]);
    let map = n.conv("x", [2, 3], &[3, 3], 1, vec![ints("pads", &[1; 4])]);
    let onnx = save(&n.bytes(&map), &deployment.scratch("map.onnx"));
    deployment.add("map", &["--onnx", &onnx]);
    let input = deployment.tensor("map", &[1, 2, 48, 48]);
    let folder = deployment.scratch("results");
    std::fs::create_dir(&folder).expect("makes a folder");
    let file = folder.join("out.npy");
    std::fs::write(&file, "an older result").expect("writes");
    let mut inner = deployment.device_command("127.0.0.1:9", "127.0.0.1:9");
    inner.args(["infer", "--local", "--json", "--save-output"]).arg(&file).arg(&input);
    run(&mut with_file_limit(8, &inner), SOON).expect_error(3, &["out.npy", "too large"]);
    assert_eq!(std::fs::read(&file).expect("still there"), b"an older result");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "something was left behind");
    run(&mut inner, SOON).expect_ok();
    assert!(std::fs::read(&file).expect("written").starts_with(b"\x93NUMPY"));
}
