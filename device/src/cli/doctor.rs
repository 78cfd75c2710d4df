//! `device doctor`: what stands between this device and an inference, one check after the other.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use twinmask_model::bundle::short;
use twinmask_transport::{Client, Connection, Identity, Role, check_private_permissions, utc};
use twinmask_wire::CloseCode;

use crate::builder::Builder;
use crate::cli::calibrate;
use crate::cli::exit::exit_code;
use crate::cli::load::random_input;
use crate::cli::print::{self, say};
use crate::cli::settings::Settings;
use crate::error::{DeviceError, LinkError, SettingError};
use crate::model::Model;
use crate::session::{Edges, Session, transport_error};
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
    worst: Option<anyhow::Error>,
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
    fn need<T, E: Into<anyhow::Error>>(&mut self, check: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|e| self.fail(check, e)).ok()
    }

    fn fail(&mut self, check: &str, error: impl Into<anyhow::Error>) {
        let error = error.into();
        self.say(check, Status::Fail, error.to_string());
        if self.worst.as_ref().is_none_or(|w| exit_code(w) < exit_code(&error)) {
            self.worst = Some(error);
        }
    }
}

/// # Errors
/// The worst finding, if there is a failure among them: it has the exit code.
pub(crate) async fn run(settings: Settings, args: DoctorArgs) -> Result<()> {
    let mut findings = Findings { json: args.json, all: Vec::new(), worst: None };
    examine(&settings, args.infer, &mut findings).await;
    if let Some(path) = args.calibrate.as_ref().filter(|_| findings.worst.is_none()) {
        let measured = calibrate::run(&settings, path).await;
        if let Some(text) = findings.need("calibration", measured) {
            findings.say("calibration", Status::Ok, text);
        }
    }
    if args.json {
        print::json(&DoctorReport { ok: findings.worst.is_none(), checks: findings.all });
    }
    findings.worst.map_or(Ok(()), Err)
}

async fn examine(settings: &Settings, infer: bool, findings: &mut Findings) {
    let dir = folder(settings, findings);
    let identity = dir.as_ref().and_then(|d| identity(settings, d, findings));
    let models = dir.as_ref().map(|d| models(settings, d, findings)).unwrap_or_default();
    let builder = findings.need("addresses", settings.builder_in(settings.dir.as_deref().unwrap_or(Path::new(""))));
    let edges = builder.as_ref().and_then(|b| findings.need("addresses", b.addresses()));
    let (Some(identity), Some(edges), Some(builder)) = (identity, edges, builder) else { return };
    if !both_edges(&identity, &edges, &models, findings).await {
        return;
    }
    for model in &models {
        let check = format!("session {}", model.name());
        let opened = Session::open(Arc::clone(model), &identity, &edges).await;
        let Some(session) = findings.need(&check, opened) else { continue };
        let (a, b) = session.kernels();
        let text = format!(
            "both edges hold the model (kernels {a} and {b}, up to {} inferences at a time)",
            session.max_in_flight()
        );
        findings.ok(&check, text);
        session.close().await;
        if infer {
            try_out(model, builder.clone(), findings).await;
        }
    }
}

fn folder(settings: &Settings, findings: &mut Findings) -> Option<DeviceDir> {
    let usable = |path: &Path| {
        if !path.is_dir() {
            let text = "is no folder: name the folder that `owner-keygen add-device` wrote with --dir";
            return Err(DeviceError::file(path, text));
        }
        Ok(check_private_permissions(path, 0o700)?)
    };
    let path = findings.need("folder", settings.dir.as_deref().ok_or(DeviceError::from(SettingError::NoFolder)))?;
    findings.need("folder", usable(path))?;
    findings.ok("folder", format!("{}, for its owner only", path.display()));
    let dir = findings.need("owner key", DeviceDir::open(path))?;
    findings.ok("owner key", "owner.pub holds a key");
    Some(dir)
}

fn identity(settings: &Settings, dir: &DeviceDir, findings: &mut Findings) -> Option<Identity> {
    let identity = findings.need("identity", dir.identity())?;
    if !matches!(identity.role(), Role::Device(_)) {
        let wrong = anyhow!("this is the identity of {}, not of a device: copy devices/NAME here", identity.role());
        findings.fail("identity", wrong);
        return None;
    }
    let (validity, concern) = validity(identity.not_after_s(), &identity.role().to_string());
    findings.ok_but("identity", format!("{}, {validity}, not revoked as far as known here", identity.role()), concern);
    revocations(&identity, findings);
    clock(settings, &identity, findings);
    Some(identity)
}

/// How good the owner's revocation list is.
fn revocations(identity: &Identity, findings: &mut Findings) {
    let Some(list) = identity.revocation_list() else {
        findings.ok("revocations", "no list (identity/crl.pem): as far as known here, nobody is revoked");
        return;
    };
    let text = format!("list number {}, {} certificates revoked", list.number(), list.len());
    let late = list
        .next_update_s()
        .filter(|_| list.is_out_of_date())
        .map(|due| format!("it should have been replaced by {}: have the owner send the newest crl.pem", utc(due)));
    let forgotten = list
        .unremembered()
        .map(|problem| format!("its number cannot be noted, so an older list would pass after a restart ({problem})"));
    findings.ok_but("revocations", text, late.or(forgotten));
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

fn models(settings: &Settings, dir: &DeviceDir, findings: &mut Findings) -> Vec<Arc<Model>> {
    let names = match &settings.model {
        Some(name) => vec![name.clone()],
        None => findings.need("models", dir.models()).unwrap_or_default(),
    };
    if names.is_empty() {
        findings.need("models", dir.load(None).map(drop)); // says what to do
    }
    names.iter().filter_map(|name| model(settings, dir, name, findings)).collect()
}

fn model(settings: &Settings, dir: &DeviceDir, name: &str, findings: &mut Findings) -> Option<Arc<Model>> {
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
    let integrity = findings.need(&check, settings.builder_in(Path::new("")))?.checks();
    let model = findings.need(&check, Model::new(bundle, integrity))?;
    let weights =
        if all { "all weights, --local works".to_owned() } else { format!("at least {rows} sample rows per layer") };
    findings.ok(&check, format!("{text}; {weights}; has what the check {integrity} needs"));
    Some(Arc::new(model))
}

/// Connects to both edges and looks at who and how far they are.
async fn both_edges(identity: &Identity, edges: &Edges, models: &[Arc<Model>], findings: &mut Findings) -> bool {
    let dial = async |address: &str, role: Role| {
        let connected = Client::connect(address, &role, identity, &edges.limits, edges.options.timeout).await;
        connected.map_err(|e| transport_error(&role, e))
    };
    let (a, b) = tokio::join!(dial(&edges.a, Role::EdgeA), dial(&edges.b, Role::EdgeB));
    let (a, b) = (findings.need("edge-a", a), findings.need("edge-b", b));
    tokio::time::sleep(DISCOVERY).await;
    let rounds = models.iter().map(|m| m.plan().rounds().len()).max().unwrap_or(0);
    for (name, connection) in [("edge-a", &a), ("edge-b", &b)] {
        if let Some(connection) = connection {
            edge(name, connection, rounds, findings);
        }
    }
    if let (Some(a), Some(b)) = (&a, &b) {
        if a.peer().key_fingerprint == b.peer().key_fingerprint {
            let same = DeviceError::Protocol { edge: Role::EdgeB, source: LinkError::SameKey };
            findings.fail("two hosts", same);
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

async fn try_out(model: &Arc<Model>, builder: Builder, findings: &mut Findings) {
    let check = format!("inference {}", model.name());
    let Some(device) = findings.need(&check, builder.model(model.name()).build()) else { return };
    let result = device.run(random_input(model, 1)).await;
    device.close().await;
    if let Some(inference) = findings.need(&check, result) {
        let ms = inference.times.total.as_secs_f64() * 1e3;
        findings
            .ok(&check, format!("random input, {ms:.1} ms, mode {}, every answer passed its check", inference.mode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
        KeyIdMethod, KeyPair, SanType, SerialNumber,
    };

    /// A device whose revocation list number 5 should have been replaced in `next_year`.
    fn identity(next_year: i32) -> Identity {
        let (mut ca, mut params) = (CertificateParams::default(), CertificateParams::default());
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.subject_alt_names = vec![SanType::URI("twinmask://device/cam".try_into().expect("ASCII"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
        let issuer = Issuer::new(ca, ca_key);
        let cert = params.signed_by(&key, &issuer).expect("a certificate").pem();
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(next_year, 1, 1),
            crl_number: SerialNumber::from(5),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&issuer).expect("a list").pem().expect("PEM");
        let identity = Identity::from_pem(cert.as_bytes(), key.serialize_pem().as_bytes(), ca_pem.as_bytes());
        identity.and_then(|i| i.with_revocations(list.as_bytes(), "crl.pem")).expect("an identity")
    }

    #[test]
    fn a_list_that_should_have_been_replaced_is_a_warning() {
        for (next_year, status, words) in [
            (2999, Status::Ok, "list number 5, 0 certificates revoked"),
            (2021, Status::Warning, "should have been replaced by 2021-01-01"),
        ] {
            let mut findings = Findings { json: true, all: Vec::new(), worst: None };
            revocations(&identity(next_year), &mut findings);
            let [finding] = &findings.all[..] else { panic!("one finding") };
            assert_eq!((&*finding.check, finding.status), ("revocations", status));
            assert!(finding.text.contains(words), "{}", finding.text);
        }
    }
}
