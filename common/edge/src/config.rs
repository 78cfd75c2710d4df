//! Settings of an edge: command line, then `TWINMASK_*`, then the file, then what is sensible.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use twinmask_kernels::{Kernel, Kernels};
use twinmask_transport::{TransportLimits, TransportOverrides};

use crate::{Role, StartError};

/// The network that windows and timeouts of QUIC are chosen for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A wired local network or loopback.
    #[default]
    Lan,
    /// A radio link.
    Wifi,
    /// The open internet.
    Wan,
}

/// What a person may set, on the command line, in the environment or in a TOML file; all of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of this edge, as owner-keygen wrote it: identity/, owner.pub, models/
    #[arg(long, env = "TWINMASK_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// UDP address for devices; port 0 picks a free one [default: 0.0.0.0:7401 for edge-a, 0.0.0.0:7402 for edge-b]
    #[arg(long, env = "TWINMASK_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// TCP address of /livez, /readyz and /metrics; port 0 picks a free one [default: 127.0.0.1:7411 or 127.0.0.1:7412]
    #[arg(long, env = "TWINMASK_ADMIN", value_name = "ADDR")]
    pub admin: Option<String>,
    /// Edge A only: UDP address of edge B, by which sessions get mode relay [default: none]
    #[arg(long, env = "TWINMASK_PEER", value_name = "HOST:PORT")]
    pub peer: Option<String>,
    /// Compute threads [default: one per processor]
    #[arg(long, env = "TWINMASK_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// How linear layers are computed: auto, or a kernel that this build has on this processor [default: auto]
    #[arg(long, env = "TWINMASK_KERNEL", value_name = "NAME")]
    pub kernel: Option<String>,
    /// Network to tune QUIC for [default: lan]
    #[arg(long, env = "TWINMASK_NETWORK", value_name = "KIND")]
    pub network: Option<Network>,
    /// Log filter: error, warn, info, debug, trace, or as in RUST_LOG, which it overrides [default: info]
    #[arg(long, env = "TWINMASK_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Sessions of all devices at a time [default: 64]
    #[arg(long, env = "TWINMASK_MAX_SESSIONS", value_name = "N")]
    pub max_sessions: Option<NonZeroUsize>,
    /// Sessions of one device at a time [default: 8]
    #[arg(long, env = "TWINMASK_MAX_SESSIONS_PER_DEVICE", value_name = "N")]
    pub max_sessions_per_device: Option<NonZeroUsize>,
    /// Inferences of one session at a time; more are answered "busy" [default: 8]
    #[arg(long, env = "TWINMASK_MAX_IN_FLIGHT", value_name = "N")]
    pub max_in_flight: Option<NonZeroUsize>,
    /// Rounds that may wait for a compute thread; from there on new inferences are answered "busy" [default: 256]
    #[arg(long, env = "TWINMASK_QUEUE", value_name = "N")]
    pub queue: Option<NonZeroUsize>,
    /// Time in ms that a device may take for the next frame before its inference is given up [default: 30000]
    #[arg(long, env = "TWINMASK_STALL_TIMEOUT_MS", value_name = "MS")]
    pub stall_timeout_ms: Option<NonZeroUsize>,
    /// In the file only: what is to differ from the preset of the network.
    #[arg(skip)]
    pub transport: Option<TransportOverrides>,
}

impl Settings {
    /// The settings in the file `path`.
    ///
    /// # Errors
    /// An unreadable file, or one with unknown or malformed fields.
    pub fn read(path: &Path) -> Result<Settings, StartError> {
        let wrong =
            |e: &dyn std::fmt::Display| StartError::Config(format!("configuration file {}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        toml::from_str(&text).map_err(|e| wrong(&e))
    }

    /// These settings, and those of `lower` where these say nothing.
    #[must_use]
    pub fn or(self, lower: Settings) -> Settings {
        Settings {
            dir: self.dir.or(lower.dir),
            listen: self.listen.or(lower.listen),
            admin: self.admin.or(lower.admin),
            peer: self.peer.or(lower.peer),
            threads: self.threads.or(lower.threads),
            kernel: self.kernel.or(lower.kernel),
            network: self.network.or(lower.network),
            log: self.log.or(lower.log),
            max_sessions: self.max_sessions.or(lower.max_sessions),
            max_sessions_per_device: self.max_sessions_per_device.or(lower.max_sessions_per_device),
            max_in_flight: self.max_in_flight.or(lower.max_in_flight),
            queue: self.queue.or(lower.queue),
            stall_timeout_ms: self.stall_timeout_ms.or(lower.stall_timeout_ms),
            transport: self.transport.or(lower.transport),
        }
    }

    /// The kernel that is asked for, among `kernels`.
    ///
    /// # Errors
    /// A kernel that is not among them; the text lists those that there are.
    pub fn kernel(&self, kernels: &Kernels) -> Result<Arc<dyn Kernel>, StartError> {
        let name = self.kernel.as_deref().unwrap_or("auto");
        kernels.named(name).map_err(|e| StartError::Config(e.to_string()))
    }

    /// The configuration of the edge `role`.
    ///
    /// # Errors
    /// When the folder is missing or a number is out of range.
    pub fn config(self, role: Role) -> Result<Config, StartError> {
        let lacking =
            || StartError::Config(format!("the folder of {role} is missing: give --dir, TWINMASK_DIR or `dir`"));
        let mut config = Config::new(self.dir.ok_or_else(lacking)?, role);
        let set = |target: &mut usize, value: Option<NonZeroUsize>| *target = value.map_or(*target, NonZeroUsize::get);
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin = self.admin.unwrap_or(config.admin);
        if self.peer.is_some() && role == Role::B {
            let text = "`peer` is for edge-a, which dials edge-b: edge-b learns of sessions from it".to_owned();
            return Err(StartError::Config(text));
        }
        config.peer = self.peer;
        config.transport = preset(self.network.unwrap_or_default());
        if let Some(overrides) = self.transport {
            config.transport = overrides.apply(config.transport).map_err(|e| StartError::Config(e.to_string()))?;
        }
        set(&mut config.threads, self.threads);
        let limits = &mut config.limits;
        set(&mut limits.max_sessions, self.max_sessions);
        set(&mut limits.max_sessions_per_device, self.max_sessions_per_device);
        set(&mut limits.queue, self.queue);
        if let Some(n) = self.max_in_flight {
            let fits = u16::try_from(n.get()).ok().filter(|&n| n <= 1024);
            limits.max_in_flight =
                fits.ok_or_else(|| StartError::Config(format!("max_in_flight is {n}; at most 1024")))?;
        }
        limits.stall = self.stall_timeout_ms.map_or(limits.stall, |ms| Duration::from_millis(ms.get() as u64));
        Ok(config)
    }
}

/// The windows of an edge, which serves many.
fn preset(network: Network) -> TransportLimits {
    match network {
        Network::Lan => TransportLimits::lan(),
        Network::Wifi => TransportLimits::wifi(),
        Network::Wan => TransportLimits::wan(),
    }
    .serving()
}

const MIB: usize = 1 << 20;

/// What an edge bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of all devices.
    pub max_sessions: usize,
    /// Sessions of one device.
    pub max_sessions_per_device: usize,
    /// Inferences of one session.
    pub max_in_flight: u16,
    /// Rounds that wait for a compute thread.
    pub queue: usize,
    /// Time for the next frame of an inference in either direction, on top of what its bytes take on a slow network.
    pub stall: Duration,
    /// Time from the connection to its `OPEN`.
    pub handshake: Duration,
    /// Time that edge A lets an `INFER` wait for its `CLAIM`, which comes on another stream.
    pub claim: Duration,
    /// Time for what runs when the edge goes down.
    pub drain: Duration,
    /// Edge B: bytes of corrections that edge A may have here for one session (PROTOCOL.md, mode `relay`).
    pub relay_session: usize,
    /// Edge B: the same for all sessions of one device.
    pub relay_device: usize,
    /// Edge B: the same for all sessions.
    pub relay_total: usize,
    /// Edge B: time that an answer waits for its correction before it goes out without.
    pub relay_grace: Duration,
    /// Edge A: bytes that one session may have computed ahead of time.
    pub ahead_session: usize,
    /// Edge A: the same for all sessions.
    pub ahead_total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 64,
            max_sessions_per_device: 8,
            max_in_flight: 8,
            queue: 256,
            stall: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            claim: Duration::from_secs(2),
            // With the 2 s that closing may take, below the 10 s that an edge has to go down.
            drain: Duration::from_secs(7),
            relay_session: 24 * MIB,
            relay_device: 64 * MIB,
            relay_total: 256 * MIB,
            relay_grace: Duration::from_millis(250),
            ahead_session: 64 * MIB,
            ahead_total: 256 * MIB,
        }
    }
}

impl Limits {
    /// Streams of one session at a time: its inferences, as many that are being refused or are over but for the
    /// device's `END`, and the control stream.
    pub(crate) fn streams(&self) -> usize {
        2 * usize::from(self.max_in_flight) + 1
    }
}

/// The configuration of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The edge's folder.
    pub dir: PathBuf,
    /// Address for devices, HOST:PORT.
    pub listen: String,
    /// Address for administration, HOST:PORT.
    pub admin: String,
    /// Edge A: address of the edge B that it introduces sessions to, HOST:PORT.
    pub peer: Option<String>,
    /// Compute threads.
    pub threads: usize,
    /// How QUIC is tuned.
    pub transport: TransportLimits,
    /// What is bounded.
    pub limits: Limits,
}

impl Config {
    /// The defaults of the edge `role` with the folder `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, role: Role) -> Config {
        let port = match role {
            Role::A => 7401,
            Role::B => 7402,
        };
        Config {
            dir: dir.into(),
            listen: format!("0.0.0.0:{port}"),
            admin: format!("127.0.0.1:{}", port + 10),
            peer: None,
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            transport: preset(Network::default()),
            limits: Limits::default(),
        }
    }

    /// The same on free ports of the loopback interface, for tests and demonstrations.
    #[must_use]
    pub fn on_loopback(self) -> Config {
        Config { listen: "127.0.0.1:0".to_owned(), admin: "127.0.0.1:0".to_owned(), ..self }
    }

    pub(crate) fn transport(&self) -> TransportLimits {
        TransportLimits {
            // Edge A needs one for each session that it introduces to edge B.
            max_streams: self.limits.streams().max(self.limits.max_sessions + 1) as u32,
            // A few more than there may be sessions: those are refused with a text that says why.
            max_connections: self.limits.max_sessions.saturating_add(16),
            ..self.transport.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Settings {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
        Settings::read(&path).expect("a sample must parse")
    }

    #[test]
    fn the_sample_files_parse_and_say_what_the_defaults_are() {
        let basic = sample("edge-basic.toml");
        assert!(basic.dir.is_some() && basic.threads.is_none());
        let advanced = sample("edge-advanced.toml");
        let spelled_out = advanced.clone().config(Role::A).expect("a good configuration");
        let defaults = Config::new(advanced.dir.clone().expect("dir"), Role::A);
        assert_eq!(Config { threads: 0, ..spelled_out }, Config { threads: 0, ..defaults });
        let Settings { listen, admin, threads, kernel, network, log, .. } = advanced.clone();
        let Settings { max_sessions, max_sessions_per_device, max_in_flight, queue, stall_timeout_ms, .. } = advanced;
        assert!(listen.is_some() && admin.is_some() && threads.is_some() && kernel.is_some() && log.is_some());
        assert!(network.is_some() && max_sessions.is_some() && max_sessions_per_device.is_some());
        assert!(max_in_flight.is_some() && queue.is_some() && stall_timeout_ms.is_some());
    }

    #[test]
    fn unknown_and_senseless_fields_are_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("edge.toml");
        for (text, word) in [("thread = 2", "thread"), ("threads = 0", "threads"), ("network = \"lte\"", "lte")] {
            std::fs::write(&path, text).expect("writes");
            let error = Settings::read(&path).expect_err(text);
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(word) && error.to_string().contains("edge.toml"), "{error}");
        }
    }

    #[test]
    fn what_stands_above_wins() {
        let upper = Settings { queue: NonZeroUsize::new(3), ..Settings::default() };
        let lower = Settings { queue: NonZeroUsize::new(4), dir: Some("x".into()), ..Settings::default() };
        let config = upper.or(lower).config(Role::B).expect("a good configuration");
        assert_eq!((config.limits.queue, config.dir.to_str(), config.listen.as_str()), (3, Some("x"), "0.0.0.0:7402"));
        assert!(Settings::default().config(Role::B).is_err(), "no folder");
        let unknown = Settings { kernel: Some("abacus".into()), ..Settings::default() };
        assert!(unknown.kernel(&Kernels::native()).err().expect("no such kernel").to_string().contains("portable"));
    }
}
