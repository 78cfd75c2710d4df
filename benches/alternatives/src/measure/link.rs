//! The link that every latency is measured on: 40 Mbit/s and 5 ms between network namespaces, as the benchmark `links`
//! makes it, with the device's part, the edges and the servers as processes of their own.

use std::time::Duration;

use anyhow::Result;
use serde::de::DeserializeOwned;
use twinmask_benches::deployment::Edge;
use twinmask_benches::net::deploy::{Port, Running, Site, at};
use twinmask_benches::net::netns::{AIR, EDGE_B, Place, Topology};
use twinmask_benches::net::process::{self, command};
use twinmask_benches::net::rows::{Bench, Plans, Row, Samples, Scheme};
use twinmask_benches::net::{LINKS, Link};
use twinmask_model::analysis::{Analysis, Checks, analyse};
use twinmask_model::cost;

use super::network::{LENET, onnx};
use crate::budget::Budget;

/// The paper's Wi-Fi.
pub const LINK: Link = LINKS[0];
/// The model's name in the deployment, which is its ring profile.
pub const MODEL: &str = "balanced";

/// Inferences of one scheme: turns, warm-up and inferences in each.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Turns that schemes take one after the other.
    pub turns: usize,
    /// Inferences before a turn's first that counts.
    pub warmup: usize,
    /// Inferences of a turn that count.
    pub runs: usize,
}

impl Runs {
    /// For a network within a budget.
    #[must_use]
    pub fn of(network: &str, budget: Budget) -> Self {
        let heavy = network != LENET;
        let runs = if heavy { budget.of(1, 3, 10) } else { budget.of(3, 20, 50) };
        Self { turns: budget.of(1, 3, 5), warmup: if heavy { 1 } else { 3 }, runs }
    }
}

/// A deployed network, and namespaces to measure it in.
pub struct Track {
    topology: Topology,
    /// The deployment.
    pub site: Site,
    /// The network's plans.
    pub plans: Plans,
}

impl Track {
    /// Why nothing can be measured here, or `None`.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        Topology::obstacle()
    }

    /// Deploys `network` and makes the namespaces.
    ///
    /// # Errors
    /// When a program has not been built (`make build`, `make bench-build`) or the system refuses.
    pub fn new(network: &str) -> Result<Self> {
        let site = Site::new(network, &onnx(network)?)?;
        let plans = Plans::of(&site)?;
        Ok(Self { topology: Topology::new()?, site, plans })
    }

    /// The paper's table of costs for this network.
    ///
    /// # Errors
    /// When the device's bundle cannot be read.
    pub fn analysis(&self) -> Result<Analysis> {
        analysis(&self.site)
    }

    /// Runs every scheme of `schemes` in turns.
    ///
    /// # Errors
    /// When edges or servers do not get ready; a scheme's own failure is in its row.
    pub fn measure(&self, schemes: &[Scheme], runs: Runs) -> Result<Vec<Row>> {
        let servers = schemes.iter().any(|s| matches!(s, Scheme::Offload { .. }));
        let running = self.site.start(&self.topology, &LINK, 1, servers)?;
        let mut local = None;
        let mut bench =
            Bench { site: &self.site, plans: &self.plans, running: &running, link: LINK, local: &mut local };
        let mut samples = vec![Samples::default(); schemes.len()];
        for _ in 0..runs.turns {
            for (scheme, samples) in schemes.iter().zip(&mut samples) {
                samples.add(scheme, &mut bench, runs.warmup, runs.runs);
            }
        }
        let rows = schemes.iter().zip(samples).map(|(s, samples)| samples.row(*s, &self.site, &self.plans, LINK));
        Ok(rows.collect())
    }

    /// Starts everything but servers; those of [`server`](Self::server) come beside it.
    ///
    /// # Errors
    /// When edges do not get ready.
    pub fn start(&self) -> Result<Running<'_>> {
        self.site.start(&self.topology, &LINK, 1, false)
    }

    /// Starts this program as a server beside edge B: with `words`, behind which `--listen ADDRESS --network PRESET`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn server(&self, words: &[String]) -> Result<Edge> {
        let mut all = self.own(Place::B, words)?;
        all.extend(["--listen".to_owned(), at(EDGE_B, Port::Own), "--network".to_owned(), LINK.preset.to_owned()]);
        Edge::start(&mut command(&all))
    }

    /// Runs this program at the device's place: with `words`, behind which `--server ADDRESS --network PRESET`; what it
    /// says in JSON.
    ///
    /// # Errors
    /// When it fails or takes longer than ten minutes.
    pub fn client<T: DeserializeOwned>(&self, words: &[String]) -> Result<T> {
        let mut all = self.own(Place::Device, words)?;
        all.extend(["--server".to_owned(), at(AIR, Port::Own), "--network".to_owned(), LINK.preset.to_owned()]);
        Ok(serde_json::from_value(process::json(&mut command(&all), Duration::from_secs(600))?)?)
    }

    fn own(&self, place: Place, words: &[String]) -> Result<Vec<String>> {
        let mut all = self.topology.enter(place);
        all.push(std::env::current_exe()?.display().to_string());
        all.extend_from_slice(words);
        Ok(all)
    }
}

/// The paper's table of costs for the network of `site`, in the ring [`MODEL`].
///
/// # Errors
/// When the device's bundle cannot be read.
pub fn analysis(site: &Site) -> Result<Analysis> {
    let dir = twinmask_device::engine::DeviceDir::open(&site.device_dir())?;
    let model = dir.load(Some(MODEL))?.model;
    Ok(analyse(&model.plan, Some(cost::local_flops(&model.graph)), Checks::default()))
}
