//! `list`: what a deployment holds, for people and as JSON.

use serde::Serialize;
use twinmask_transport::utc;

use crate::pki::now_s;
use crate::registry::{DeviceEntry, IdentityEntry, ModelEntry, Registry};

/// One certificate.
#[derive(Debug, Clone, Serialize)]
pub struct IdentityRow {
    /// `edge-a`, `edge-b` or `device/NAME`.
    pub role: String,
    /// Serial number, hex.
    pub serial: String,
    /// `valid`, `expired`, `not yet valid`, `revoked`, or `replaced` by a later one of the role that is valid.
    pub status: &'static str,
    /// Start of validity, UTC.
    pub not_before: String,
    /// End of validity, UTC.
    pub not_after: String,
    /// Since when it is revoked, UTC.
    pub revoked: Option<String>,
    /// Models that it lets a device use.
    pub models: Vec<String>,
}

/// One model on one device.
#[derive(Debug, Clone, Serialize)]
pub struct IssuedModel {
    /// Name.
    pub model: String,
    /// Version.
    pub version: u32,
    /// As of the version, see [`ModelRow::status`].
    pub status: &'static str,
}

/// One device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceRow {
    /// Name.
    pub name: String,
    /// Models issued to it.
    pub models: Vec<IssuedModel>,
}

/// One version of a model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelRow {
    /// Name.
    pub name: String,
    /// Version.
    pub version: u32,
    /// Digest of the edge bundle, hex.
    pub digest: String,
    /// Ring profile.
    pub ring: String,
    /// Where it came from.
    pub source: String,
    /// Least cosine of the same person, for `device compare`.
    pub threshold: Option<f32>,
    /// `newest`, `older` (edges still serve it) or `withdrawn`.
    pub status: &'static str,
}

/// The newest revocation list.
#[derive(Debug, Clone, Serialize)]
pub struct ListRow {
    /// Its number; 0 without one.
    pub number: u64,
    /// Certificates that are revoked.
    pub revoked: usize,
    /// When every host is to have got another, UTC; none before any was handed out to all.
    pub due: Option<String>,
    /// Whether that time has passed.
    pub overdue: bool,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// Revocations.
    pub revocations: ListRow,
    /// Certificates, oldest first.
    pub identities: Vec<IdentityRow>,
    /// Devices.
    pub devices: Vec<DeviceRow>,
    /// Model versions, oldest first.
    pub models: Vec<ModelRow>,
}

/// What `registry` holds now.
#[must_use]
pub fn list(registry: &Registry) -> Listing {
    let now_s = now_s();
    let identity = |(at, entry): (usize, &IdentityEntry)| {
        let later = &registry.identities[at + 1..];
        let replaced = later.iter().any(|l| l.role == entry.role && l.status(now_s) == "valid");
        let status = entry.status(now_s);
        IdentityRow {
            role: entry.role.clone(),
            serial: entry.serial.clone(),
            status: if status == "valid" && replaced { "replaced" } else { status },
            not_before: utc(entry.not_before_s),
            not_after: utc(entry.not_after_s),
            revoked: entry.revoked_s.map(utc),
            models: entry.models.clone(),
        }
    };
    let status = |entry: &ModelEntry| match registry.newest(&entry.name) {
        _ if entry.withdrawn => "withdrawn",
        Some(newest) if newest.version == entry.version => "newest",
        _ => "older",
    };
    let model = |entry: &ModelEntry| ModelRow {
        name: entry.name.clone(),
        version: entry.version,
        digest: entry.digest.clone(),
        ring: entry.ring.clone(),
        source: entry.source.clone(),
        threshold: entry.threshold,
        status: status(entry),
    };
    let issued = |(model, version): &(String, u32)| {
        let entry = registry.models.iter().find(|m| m.name == *model && m.version == *version);
        IssuedModel { model: model.clone(), version: *version, status: entry.map_or("unknown", status) }
    };
    let device =
        |entry: &DeviceEntry| DeviceRow { name: entry.name.clone(), models: entry.models.iter().map(issued).collect() };
    let lists = registry.lists;
    let revocations = ListRow {
        number: lists.number,
        revoked: registry.identities.iter().filter(|i| i.revoked_s.is_some()).count(),
        due: (lists.until_s > 0).then(|| utc(lists.until_s)),
        overdue: lists.until_s < now_s,
    };
    Listing {
        revocations,
        identities: registry.identities.iter().enumerate().map(identity).collect(),
        devices: registry.devices.iter().map(device).collect(),
        models: registry.models.iter().map(model).collect(),
    }
}

/// The listing as tables.
#[must_use]
pub fn text(listing: &Listing) -> String {
    let identities = listing.identities.iter().map(|i| {
        let status = i.revoked.as_ref().map_or_else(|| i.status.to_owned(), |since| format!("revoked {since}"));
        vec![i.role.clone(), status, i.not_before.clone(), i.not_after.clone(), i.serial.clone(), i.models.join(", ")]
    });
    let devices = listing.devices.iter().flat_map(|d| {
        d.models.iter().map(|m| vec![d.name.clone(), m.model.clone(), m.version.to_string(), m.status.to_owned()])
    });
    let models = listing.models.iter().map(|m| {
        let digest = m.digest.get(..16).unwrap_or(&m.digest).to_owned();
        let threshold = m.threshold.map(|t| t.to_string()).unwrap_or_default();
        let version = m.version.to_string();
        vec![m.name.clone(), version, digest, m.ring.clone(), threshold, m.status.to_owned(), m.source.clone()]
    });
    let identities = table(&["identity", "status", "valid from", "valid to", "serial", "models"], identities);
    let devices = table(&["device", "model", "version", "status"], devices);
    let models = table(&["model", "version", "digest", "ring", "threshold", "status", "source"], models);
    format!("{identities}\n{}\n{devices}\n{models}", revocations(&listing.revocations))
}

fn revocations(list: &ListRow) -> String {
    let due = match &list.due {
        None => "none was handed out to every host: run `owner-keygen refresh-revocations DIR`".to_owned(),
        Some(due) if list.overdue => format!("was due by {due}: run `owner-keygen refresh-revocations DIR`"),
        Some(due) => format!("the next one is due by {due}: `owner-keygen refresh-revocations DIR`"),
    };
    format!("revocation list {}, {} revoked; {due}\n", list.number, list.revoked)
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header(header);
    table.add_rows(rows);
    format!("{table}\n")
}
