//! `device doctor`: what stands between this device and an inference, one check after the other.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use twinmask_model::bundle::short;
use twinmask_transport::{Client, Connection, Identity, Role, check_private_permissions, utc};
use twinmask_wire::CloseCode;

use super::bench::random_input;
use super::{Settings, print_json};
use crate::device::Device;
use crate::error::DeviceError;
use crate::link::transport_error;
use crate::network::Network;
use crate::session::{Edges, Session};
use crate::store::DeviceDir;

const DAY_S: i64 = 24 * 3600;
/// Certificates that end within this time are warned about, in days.
const SOON_DAYS: i64 = 30;
/// Clocks of hosts differ by this much without harm, in seconds.
const CLOCK_SLACK_S: i64 = 3600;
/// What path discovery gets to find the largest packet.
const DISCOVERY: Duration = Duration::from_millis(300);
/// UDP payload that any Ethernet path carries, even in a tunnel, in bytes.
const USUAL_PAYLOAD: u16 = 1300;
/// Waiting on the network per inference that is worth a warning.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// Arguments of `device doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Also run one inference of each model on random input.
    #[arg(long)]
    infer: bool,
    /// Measure what this device can do, and write it for `owner-keygen add-model --offload auto --device-profile`.
    #[arg(long, value_name = "FILE.toml")]
    calibrate: Option<std::path::PathBuf>,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Fail,
}

#[derive(Serialize)]
struct Finding {
    check: String,
    status: Status,
    text: String,
}

#[derive(Serialize)]
struct DoctorReport {
    ok: bool,
    checks: Vec<Finding>,
}

/// Findings so far; told at once, or collected for JSON.
struct Findings {
    json: bool,
    all: Vec<Finding>,
    /// The failure with the highest exit code.
    worst: Option<DeviceError>,
}

impl Findings {
    fn say(&mut self, check: &str, status: Status, text: String) {
        if !self.json {
            let word = match status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Fail => "FAIL",
            };
            say!("{word:8} {check:20} {text}");
        }
        self.all.push(Finding { check: check.into(), status, text });
    }

    fn ok(&mut self, check: &str, text: impl Into<String>) {
        self.say(check, Status::Ok, text.into());
    }

    /// `ok` with this text, or with `concern` a warning.
    fn ok_but(&mut self, check: &str, text: String, concern: Option<String>) {
        match concern {
            None => self.say(check, Status::Ok, text),
            Some(concern) => self.say(check, Status::Warning, format!("{text}; {concern}")),
        }
    }

    /// The value, or nothing and a failure.
    fn need<T>(&mut self, check: &str, result: Result<T, DeviceError>) -> Option<T> {
        result.map_err(|e| self.fail(check, e)).ok()
    }

    fn fail(&mut self, check: &str, error: DeviceError) {
        self.say(check, Status::Fail, error.to_string());
        if self.worst.as_ref().is_none_or(|w| w.exit_code() < error.exit_code()) {
            self.worst = Some(error);
        }
    }
}

/// # Errors
/// The worst finding, if there is a failure among them: it has the exit code.
pub(crate) async fn run(settings: Settings, args: DoctorArgs) -> Result<(), DeviceError> {
    let mut findings = Findings { json: args.json, all: Vec::new(), worst: None };
    examine(&settings, args.infer, &mut findings).await;
    if let Some(path) = args.calibrate.as_ref().filter(|_| findings.worst.is_none()) {
        let measured = super::calibrate::run(&settings, path).await;
        if let Some(text) = findings.need("calibration", measured) {
            findings.say("calibration", Status::Ok, text);
        }
    }
    if args.json {
        print_json(&DoctorReport { ok: findings.worst.is_none(), checks: findings.all });
    }
    findings.worst.map_or(Ok(()), Err)
}

async fn examine(settings: &Settings, infer: bool, findings: &mut Findings) {
    let dir = folder(settings, findings);
    let identity = dir.as_ref().and_then(|d| identity(settings, d, findings));
    let networks = dir.as_ref().map(|d| models(settings, d, findings)).unwrap_or_default();
    let edges = findings.need("addresses", settings.edges());
    let (Some(identity), Some(edges)) = (identity, edges) else { return };
    if !both_edges(&identity, &edges, &networks, findings).await {
        return;
    }
    for network in &networks {
        let check = format!("session {}", network.name());
        let opened = Session::open(Arc::clone(network), &identity, &edges).await;
        let Some(session) = findings.need(&check, opened) else { continue };
        let (a, b) = session.kernels();
        let text = format!(
            "both edges hold the model (kernels {a} and {b}, up to {} inferences at a time)",
            session.max_in_flight()
        );
        findings.ok(&check, text);
        session.close().await;
        if infer {
            try_out(network, &identity, &edges, findings).await;
        }
    }
}

fn folder(settings: &Settings, findings: &mut Findings) -> Option<DeviceDir> {
    let usable = |path: &Path| {
        if !path.is_dir() {
            let text = "is no folder: name the folder that `owner-keygen add-device` wrote with --dir";
            return Err(DeviceError::file(path, text));
        }
        check_private_permissions(path, 0o700).map_err(|e| DeviceError::Config(e.to_string()))
    };
    let missing = || DeviceError::Config("no device folder: name it with --dir DIR".into());
    let path = findings.need("folder", settings.dir.as_deref().ok_or_else(missing))?;
    findings.need("folder", usable(path))?;
    findings.ok("folder", format!("{}, for its owner only", path.display()));
    let dir = findings.need("owner key", DeviceDir::open(path))?;
    findings.ok("owner key", "owner.pub holds a key");
    Some(dir)
}

fn identity(settings: &Settings, dir: &DeviceDir, findings: &mut Findings) -> Option<Identity> {
    let identity = findings.need("identity", dir.identity())?;
    if !matches!(identity.role(), Role::Device(_)) {
        let text = format!("this is the identity of {}, not of a device: copy devices/NAME here", identity.role());
        findings.fail("identity", DeviceError::Config(text));
        return None;
    }
    let (validity, concern) = validity(identity.not_after_s(), &identity.role().to_string());
    findings.ok_but("identity", format!("{}, {validity}, not revoked as far as known here", identity.role()), concern);
    clock(settings, &identity, findings);
    Some(identity)
}

/// How long a certificate lasts, and whether that is a concern.
fn validity(not_after_s: i64, role: &str) -> (String, Option<String>) {
    let days = (not_after_s - now_s()) / DAY_S;
    let concern = (days < SOON_DAYS).then(|| format!("have the owner run `owner-keygen rotate DIR --identity {role}`"));
    (format!("certificate valid until {} ({days} days)", utc(not_after_s)), concern)
}

/// A clock that stands before the day on which the folder was written is wrong.
fn clock(settings: &Settings, identity: &Identity, findings: &mut Findings) {
    let written = |file: &str| {
        let path = settings.dir.as_deref()?.join(file);
        let since = path.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    let files = ["identity/cert.pem", "owner.pub", "models"];
    let newest = files.iter().filter_map(|f| written(f)).fold(identity.not_before_s(), i64::max);
    let late = newest > now_s() + CLOCK_SLACK_S;
    let concern = late.then(|| format!("the folder was written later, at {}: correct the clock", utc(newest)));
    findings.ok_but("clock", utc(now_s()), concern);
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn models(settings: &Settings, dir: &DeviceDir, findings: &mut Findings) -> Vec<Arc<Network>> {
    let names = match &settings.model {
        Some(name) => vec![name.clone()],
        None => findings.need("models", dir.models()).unwrap_or_default(),
    };
    if names.is_empty() {
        findings.need("models", dir.load(None).map(drop)); // says what to do
    }
    names.iter().filter_map(|name| model(settings, dir, name, findings)).collect()
}

fn model(settings: &Settings, dir: &DeviceDir, name: &str, findings: &mut Findings) -> Option<Arc<Network>> {
    let check = format!("model {name}");
    let bundle = findings.need(&check, dir.load(Some(name)))?;
    let size = settings.dir.as_deref().and_then(|d| d.join(format!("models/{name}.twm")).metadata().ok());
    let size = size.map_or(0.0, |m| m.len() as f64 / 1e6);
    let (all, rows) = (bundle.has_all_weights(), bundle.rows.iter().map(|r| r.channels.len()).min().unwrap_or(0));
    let (version, digest, ring) = (bundle.model.version, short(&bundle.model.digest), bundle.model.profile);
    let text = format!(
        "version {version}, digest {digest}, ring {ring}, {} layers, {size:.1} MB",
        bundle.model.plan.layers().len()
    );
    let integrity = settings.integrity();
    let network = findings.need(&check, Network::new(bundle, integrity))?;
    let weights =
        if all { "all weights, --local works".to_owned() } else { format!("at least {rows} sample rows per layer") };
    findings.ok(&check, format!("{text}; {weights}; has what the check {integrity} needs"));
    Some(Arc::new(network))
}

/// Connects to both edges and looks at who and how far they are.
async fn both_edges(identity: &Identity, edges: &Edges, networks: &[Arc<Network>], findings: &mut Findings) -> bool {
    let dial = async |address: &str, role: Role| {
        let connected = Client::connect(address, &role, identity, &edges.limits, edges.options.timeout).await;
        connected.map_err(|e| transport_error(&role, &e))
    };
    let (a, b) = tokio::join!(dial(&edges.a, Role::EdgeA), dial(&edges.b, Role::EdgeB));
    let (a, b) = (findings.need("edge-a", a), findings.need("edge-b", b));
    tokio::time::sleep(DISCOVERY).await;
    let rounds = networks.iter().map(|n| n.plan().rounds().len()).max().unwrap_or(0);
    for (name, connection) in [("edge-a", &a), ("edge-b", &b)] {
        if let Some(connection) = connection {
            edge(name, connection, rounds, findings);
        }
    }
    if let (Some(a), Some(b)) = (&a, &b) {
        if a.peer().key_fingerprint == b.peer().key_fingerprint {
            let reason = "holds the same key as edge A: one host must not be both edges".to_owned();
            findings.fail("two hosts", DeviceError::Protocol { edge: Role::EdgeB, reason });
        } else {
            findings.ok("two hosts", "the edges have different keys");
        }
    }
    for connection in [&a, &b].into_iter().flatten() {
        connection.shutdown(CloseCode::Done as u32, "").await;
    }
    a.is_some() && b.is_some()
}

fn edge(name: &str, connection: &Connection, rounds: usize, findings: &mut Findings) {
    let peer = connection.peer();
    let (validity, concern) = validity(peer.not_after_s, name);
    findings.ok_but(
        name,
        format!("{} is {}, key {}, {validity}", peer.address, peer.role, peer.key_fingerprint),
        concern,
    );
    let (trip, payload, (sent, received)) = (connection.round_trip(), connection.udp_payload(), connection.udp_bytes());
    let wait = trip * u32::try_from(rounds).unwrap_or(u32::MAX);
    let text = format!(
        "round trip {:.2} ms, packets of up to {payload} bytes, {sent} bytes sent and {received} received to connect",
        trip.as_secs_f64() * 1e3
    );
    let small =
        (payload < USUAL_PAYLOAD).then_some("the path only carries small packets: look for a tunnel or a low MTU");
    let far = (wait > LONG_WAIT)
        .then(|| format!("{rounds} rounds wait {:.1} s for the network: use a nearer edge", wait.as_secs_f64()));
    findings.ok_but(&format!("{name} network"), text, small.map(str::to_owned).or(far));
}

async fn try_out(network: &Arc<Network>, identity: &Identity, edges: &Edges, findings: &mut Findings) {
    let check = format!("inference {}", network.name());
    let mut device = Device::new(Arc::clone(network), identity.clone(), edges.clone());
    let result = device.infer(&random_input(network, 1)).await;
    device.close().await;
    if let Some(inference) = findings.need(&check, result) {
        let ms = inference.outcome.total.as_secs_f64() * 1e3;
        findings
            .ok(&check, format!("random input, {ms:.1} ms, mode {}, every answer passed its check", inference.mode));
    }
}
