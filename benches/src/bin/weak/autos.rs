//! The plans of `--offload auto` for each speed and link.

use std::path::Path;

use anyhow::{Context, Result};
use twinmask_benches::net::Link;
use twinmask_benches::net::deploy::Site;
use twinmask_benches::net::netns::Topology;
use twinmask_benches::report::number;
use twinmask_model::ring_plan::Profile;
use twinmask_onnx::{ImportOptions, import};
use twinmask_owner_keygen::partition::{Predicted, decide};
use twinmask_owner_keygen::predict::{self, Costs, DeviceProfile};

/// What is decided for one network on each link at each speed.
pub(crate) struct Autos(Vec<Decided>);

/// What is decided for one of them.
pub(crate) struct Decided {
    link: &'static str,
    percent: f64,
    layers: Vec<String>,
    of: usize,
    predicted: Predicted,
    /// Model of the deployment that has this plan.
    pub(crate) model: String,
}

/// Columns of [`Autos::cells`].
pub(crate) const DECISION_COLUMNS: [&str; 6] =
    ["link", "speed", "layers that leave", "predicted ms: none", "all", "auto"];

impl Decided {
    /// Whether some layers leave the device and others stay.
    pub(crate) fn is_mixed(&self) -> bool {
        !self.layers.is_empty() && self.layers.len() < self.of
    }
}

impl Autos {
    /// Calibrates the device on the last of `links`, and adds a model for each plan that is neither all nor none.
    pub(crate) fn new(
        site: &Site,
        topology: &Topology,
        links: &[&Link],
        speeds: &[f64],
        threads: usize,
    ) -> Result<Self> {
        let device = calibrate(site, topology, links.last().context("no link")?, threads)?;
        let graph = import(&site.onnx, &ImportOptions::default())?.graph;
        let all = site.plan("balanced")?.layers().len();
        let mut decided: Vec<Decided> = Vec::new();
        for (link, &percent) in links.iter().flat_map(|l| speeds.iter().map(move |p| (*l, p))) {
            let costs = at(device, link, percent / 100.0);
            let (layers, predicted) = decide(&graph, Profile::Balanced, &costs)?;
            let known = decided.iter().find(|d| d.layers == layers).map(|d| d.model.clone());
            let model = known.unwrap_or_else(|| match layers.len() {
                0 => "none".to_owned(),
                n if n == all => "balanced".to_owned(),
                _ => format!("auto{}", decided.len()),
            });
            let new = Decided { link: link.name, percent, layers, of: all, predicted, model };
            if new.is_mixed() && !decided.iter().any(|d| d.model == new.model) {
                add(site, &new.model, &costs)?;
            }
            decided.push(new);
        }
        Ok(Self(decided))
    }

    /// What is decided for `percent` of a processor on `link`.
    pub(crate) fn at(&self, link: &Link, percent: f64) -> &Decided {
        let found = self.0.iter().find(|d| d.link == link.name && d.percent == percent);
        found.expect("decided for each link and speed")
    }

    /// For a table with [`DECISION_COLUMNS`].
    pub(crate) fn cells(&self) -> Vec<Vec<String>> {
        let row = |d: &Decided| {
            let layers = match d.layers.len() {
                n if n <= 8 && d.is_mixed() => d.layers.join(", "),
                n => format!("{n} of {}", d.of),
            };
            let Predicted { none_ms, all_ms, auto_ms } = d.predicted;
            let ms = [none_ms, all_ms, auto_ms].map(number);
            [d.link.to_owned(), number(d.percent / 100.0), layers].into_iter().chain(ms).collect()
        };
        self.0.iter().map(row).collect()
    }
}

/// The profile that `device doctor --calibrate` writes in mode `relay`.
fn calibrate(site: &Site, topology: &Topology, link: &Link, threads: usize) -> Result<DeviceProfile> {
    let running = site.start(topology, link, threads, false)?;
    let file = tempfile::NamedTempFile::new()?;
    let mut command = site.device(&running, "device")?;
    command.args(["--model", "balanced", "--mode", "relay", "--network", link.preset]);
    let out = command.args(["doctor", "--calibrate"]).arg(file.path()).output()?;
    anyhow::ensure!(out.status.success(), "doctor --calibrate: {}", String::from_utf8_lossy(&out.stderr));
    read(file.path())
}

fn read(path: &Path) -> Result<DeviceProfile> {
    Ok(toml::from_str(&std::fs::read_to_string(path)?)?)
}

/// `device` with `speed` of its processor, on `link`.
fn at(device: DeviceProfile, link: &Link, speed: f64) -> Costs {
    let DeviceProfile { macs_per_s, weight_bytes_per_s, ns_per_element, us_per_round, answers } = device;
    let device = DeviceProfile {
        macs_per_s: macs_per_s * speed,
        weight_bytes_per_s: weight_bytes_per_s * speed,
        ns_per_element: ns_per_element / speed,
        us_per_round: us_per_round / speed,
        answers,
    };
    Costs { device, link: predict::Link { mbit_s: link.mbit, rtt_ms: link.rtt_ms } }
}

fn add(site: &Site, model: &str, costs: &Costs) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), toml::to_string(&costs.device)?)?;
    let (path, link) = (file.path().to_string_lossy(), format!("{},{}", costs.link.mbit_s, costs.link.rtt_ms));
    site.add(model, &["--offload", "auto", "--device-profile", &path, "--link", &link])
}
