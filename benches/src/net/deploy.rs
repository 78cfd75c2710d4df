//! A network deployed to both edges, and everything that runs while a link is measured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use twinmask_device::engine::DeviceDir;
use twinmask_model::plan::Plan;

use super::Link;
use super::netns::{AIR, EDGE_A, EDGE_B, EDGE_B_PEER, Place, Topology};
use super::process::{Guard, command};
use crate::deployment::{Deployment, Edge, program};

/// The device's name.
const DEVICE: &str = "device";
/// The ring profiles that are measured; each is a model of its own in the deployment.
pub const PROFILES: [&str; 2] = ["compact", "balanced"];
/// Before programs that stand for a network, which does not wait for what computes.
const AHEAD: [&str; 3] = ["nice", "-n", "-10"];
/// Time that the relay gets to open its sockets.
const RELAY_START: Duration = Duration::from_millis(200);

/// Ports of what the device reaches through the air.
#[derive(Debug, Clone, Copy)]
pub enum Port {
    /// Edge A.
    EdgeA = 7401,
    /// Edge B.
    EdgeB = 7402,
    /// The unprotected server beside edge B.
    ServerB = 7403,
    /// The unprotected server beside edge A.
    ServerA = 7404,
    /// What answers probes of the link, beside edge B.
    Probe = 7405,
    /// A server of a benchmark's own, beside edge B.
    Own = 7406,
}

const PORTS: [(Port, &str); 6] = [
    (Port::EdgeA, EDGE_A),
    (Port::EdgeB, EDGE_B),
    (Port::ServerB, EDGE_B),
    (Port::ServerA, EDGE_A),
    (Port::Probe, EDGE_B),
    (Port::Own, EDGE_B),
];

/// `address:port`.
#[must_use]
pub fn at(address: &str, port: Port) -> String {
    format!("{address}:{}", port as u16)
}

/// A network in every profile of [`PROFILES`], issued to the device without its weights.
pub struct Site {
    /// Name of the network.
    pub name: String,
    /// Its ONNX file.
    pub onnx: PathBuf,
    deployment: Deployment,
}

impl Site {
    /// Deploys the ONNX file `onnx`.
    ///
    /// # Errors
    /// When `owner-keygen` fails.
    pub fn new(name: &str, onnx: &Path) -> Result<Self> {
        let site = Self { name: name.to_owned(), onnx: onnx.to_owned(), deployment: Deployment::new()? };
        PROFILES.iter().try_for_each(|profile| site.add(profile, &["--ring", profile]))?;
        Ok(site)
    }

    /// Adds the network once more as the model `name`, divided as `division` says; edges know it when they start.
    ///
    /// # Errors
    /// When `owner-keygen` fails.
    pub fn add(&self, name: &str, division: &[&str]) -> Result<()> {
        let file = self.onnx.to_string_lossy();
        let words = [&["--name", name, "--onnx", &file], division].concat();
        self.deployment.keygen("add-model", &words)?;
        self.deployment.keygen("add-device", &["--name", DEVICE, "--model", name]).map(drop)
    }

    /// What the owner has made.
    #[must_use]
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The device's folder.
    #[must_use]
    pub fn device_dir(&self) -> PathBuf {
        self.deployment.device(DEVICE)
    }

    /// The plan of `profile`.
    ///
    /// # Errors
    /// When the device's bundle cannot be read.
    pub fn plan(&self, profile: &str) -> Result<Plan> {
        Ok(DeviceDir::open(&self.device_dir())?.load(Some(profile))?.model.plan)
    }

    /// Shapes the link and starts the relay, both edges with `threads` compute threads each and, with `servers`, an
    /// unprotected server beside each edge.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub fn start<'t>(&self, topology: &'t Topology, link: &Link, threads: usize, servers: bool) -> Result<Running<'t>> {
        topology.shape(link)?;
        let relay = start_relay(topology, link)?;
        let edge = |name: &str, place, listen: &str, peer: Option<String>| {
            let mut words = topology.enter(place);
            words.push(program(name)?.display().to_string());
            words.extend(["--dir".to_owned(), self.deployment.path(name).display().to_string()]);
            words
                .extend(["--listen", listen, "--admin", "127.0.0.1:7411", "--network", link.preset].map(str::to_owned));
            words.extend(["--threads".to_owned(), threads.to_string()]);
            words.extend(peer.into_iter().flat_map(|p| ["--peer".to_owned(), p]));
            Edge::start(&mut command(&words))
        };
        // Edge B listens on all its addresses: the device comes through the air, edge A by the wire.
        let b = edge("edge-b", Place::B, &at("0.0.0.0", Port::EdgeB), None)?;
        let a = edge("edge-a", Place::A, &at(EDGE_A, Port::EdgeA), Some(at(EDGE_B_PEER, Port::EdgeB)))?;
        let mut programs = vec![a, b];
        if servers {
            for (place, name, address, port) in
                [(Place::B, "edge-b", EDGE_B, Port::ServerB), (Place::A, "edge-a", EDGE_A, Port::ServerA)]
            {
                programs.push(self.server(topology, place, name, &at(address, port), link.preset)?);
            }
        }
        Ok(Running { topology, _relay: relay, _programs: programs })
    }

    fn server(&self, topology: &Topology, place: Place, edge: &str, listen: &str, preset: &str) -> Result<Edge> {
        let mut words = topology.enter(place);
        words.extend([own_path()?, "serve".to_owned(), "--listen".to_owned(), listen.to_owned()]);
        words.extend(["--identity".to_owned(), self.deployment.path(edge).join("identity").display().to_string()]);
        words.extend(["--onnx".to_owned(), self.onnx.display().to_string()]);
        words.extend(["--network", preset].map(str::to_owned));
        Edge::start(&mut command(&words))
    }

    /// `program` at the device's place, with its folder and the edges' addresses.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn device(&self, running: &Running<'_>, name: &str) -> Result<Command> {
        let mut words = running.topology.enter(Place::Device);
        words.push(program(name)?.display().to_string());
        words.extend(["--dir".to_owned(), self.device_dir().display().to_string()]);
        words.extend(["--edge-a".to_owned(), at(AIR, Port::EdgeA), "--edge-b".to_owned(), at(AIR, Port::EdgeB)]);
        Ok(command(&words))
    }

    /// The unprotected client at the device's place, talking to `servers` (1 or 2) servers.
    ///
    /// # Errors
    /// When this program's own path is unknown.
    pub fn client(&self, running: &Running<'_>, servers: usize, preset: &str) -> Result<Command> {
        let mut words = running.topology.enter(Place::Device);
        words.extend([own_path()?, "client".to_owned()]);
        words.extend(["--dir".to_owned(), self.device_dir().display().to_string()]);
        words.extend(["--model", "balanced", "--network", preset].map(str::to_owned));
        let addresses = [Port::ServerB, Port::ServerA].into_iter().take(servers);
        words.extend(addresses.flat_map(|p| ["--server".to_owned(), at(AIR, p)]));
        Ok(command(&words))
    }
}

/// What runs while a link is measured. Ended when dropped.
pub struct Running<'t> {
    topology: &'t Topology,
    _relay: Guard,
    _programs: Vec<Edge>,
}

impl Running<'_> {
    /// Packets that the queues of the device's link have dropped since it was shaped; 0 if the system does not tell.
    #[must_use]
    pub fn queue_drops(&self) -> u64 {
        self.topology.dropped().unwrap_or(0)
    }
}

/// Starts the delay relay between the device and everything behind the air.
///
/// # Errors
/// When it cannot be started.
pub fn start_relay(topology: &Topology, link: &Link) -> Result<Guard> {
    let mut words: Vec<String> = AHEAD.map(str::to_owned).into();
    words.extend(topology.enter(Place::Air));
    words.push(program("delay")?.display().to_string());
    words.extend(["--one-way-us".to_owned(), (link.rtt_ms * 500.0).round().to_string()]);
    words.extend(PORTS.map(|(port, address)| format!("{}={}", at(AIR, port), at(address, port))));
    let relay = Guard::start(&mut command(&words))?;
    std::thread::sleep(RELAY_START);
    Ok(relay)
}

/// Measures the shaped link itself: see [`probe`](super::probe).
///
/// # Errors
/// When nothing comes back.
pub fn probe(topology: &Topology, link: &Link) -> Result<super::probe::Measured> {
    topology.shape(link)?;
    let _relay = start_relay(topology, link)?;
    let run = |place, verb: &str, address: String| -> Result<Vec<String>> {
        // It is the link that is measured, not this machine's other work.
        let mut words: Vec<String> = AHEAD.map(str::to_owned).into();
        words.extend(topology.enter(place));
        words.extend([own_path()?, verb.to_owned(), address]);
        Ok(words)
    };
    let _server = Edge::start(&mut command(&run(Place::B, "probe-serve", at(EDGE_B, Port::Probe))?))?;
    let words = run(Place::Device, "probe", at(AIR, Port::Probe))?;
    Ok(serde_json::from_value(super::process::json(&mut command(&words), Duration::from_secs(60))?)?)
}

fn own_path() -> Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}
