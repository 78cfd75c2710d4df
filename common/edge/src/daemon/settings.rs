//! Settings of an edge: command line, then `TWINMASK_*`, then the file, then what is sensible.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use twinmask_kernels::{KERNEL_MEMORY, Kernel, Kernels};
use twinmask_settings::Preset;
use twinmask_transport::{HandshakeOverrides, TransportOverrides};

use crate::daemon::config::{Config, DEVICE_MEMORY};
use crate::error::StartError;
use crate::role::Role;

/// Where nobody chooses a kernel.
const KERNEL: &str = "auto";
/// Where nobody sets a log filter.
pub(super) const LOG: tracing::Level = tracing::Level::INFO;

/// Bytes of a megabyte, as people count it.
const MB: usize = 1_000_000;

/// Groups of settings in the help, in this order.
pub(super) const NEEDED: &str = "What an edge needs";
const OPERATION: &str = "Operation";
const SPEED: &str = "Speed";
const LIMITS: &str = "Limits";

/// What a person may set, on the command line, in the environment or in a TOML file; all of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of this edge, as owner-keygen wrote it: identity/, owner.pub, models/
    #[arg(long, env = "TWINMASK_DIR", value_name = "DIR", help_heading = NEEDED)]
    pub dir: Option<PathBuf>,
    /// UDP address for devices; port 0 picks a free one
    #[arg(long, env = "TWINMASK_LISTEN", value_name = "ADDR", help_heading = NEEDED)]
    pub listen: Option<String>,
    /// Edge A only: UDP address of edge B, by which sessions get mode relay; none without it
    #[arg(long, env = "TWINMASK_PEER", value_name = "HOST:PORT", help_heading = NEEDED)]
    pub peer: Option<String>,
    /// TCP address of /livez, /readyz and /metrics; port 0 picks a free one
    #[arg(long, env = "TWINMASK_ADMIN", value_name = "ADDR", help_heading = OPERATION)]
    pub admin: Option<String>,
    /// Log filter: error, warn, info, debug, trace, or as in RUST_LOG, which it overrides
    #[arg(long, env = "TWINMASK_LOG", value_name = "FILTER", help_heading = OPERATION)]
    pub log: Option<String>,
    /// Compute threads; as many as processors if nobody says
    #[arg(long, env = "TWINMASK_THREADS", value_name = "N", help_heading = SPEED)]
    pub threads: Option<NonZeroUsize>,
    /// How linear layers are computed: auto, or a kernel that this build has on this processor
    #[arg(long, env = "TWINMASK_KERNEL", value_name = "NAME", help_heading = SPEED)]
    pub kernel: Option<String>,
    /// Network to tune QUIC for
    #[arg(long, env = "TWINMASK_NETWORK", value_name = "KIND", help_heading = SPEED)]
    pub network: Option<Preset>,
    /// Sessions of all devices at a time
    #[arg(long, env = "TWINMASK_MAX_SESSIONS", value_name = "N", help_heading = LIMITS)]
    pub max_sessions: Option<NonZeroUsize>,
    /// Sessions of one device at a time
    #[arg(long, env = "TWINMASK_MAX_SESSIONS_PER_DEVICE", value_name = "N", help_heading = LIMITS)]
    pub max_sessions_per_device: Option<NonZeroUsize>,
    /// Inferences of one session at a time; more are answered "busy"
    #[arg(long, env = "TWINMASK_MAX_IN_FLIGHT", value_name = "N", help_heading = LIMITS)]
    pub max_in_flight: Option<NonZeroUsize>,
    /// MB that one device may make this edge hold, in all its sessions; from there on its inferences are answered
    /// "busy"
    #[arg(long, env = "TWINMASK_DEVICE_MEMORY_MB", value_name = "MB", help_heading = LIMITS)]
    pub device_memory_mb: Option<NonZeroUsize>,
    /// MB that weights may take beyond their plain form to be fast, of all models; layers above it are computed slower
    #[arg(long, env = "TWINMASK_KERNEL_MEMORY_MB", value_name = "MB", help_heading = LIMITS)]
    pub kernel_memory_mb: Option<usize>,
    /// Rounds that may wait for a compute thread; from there on new inferences are answered "busy"
    #[arg(long, env = "TWINMASK_QUEUE", value_name = "N", help_heading = LIMITS)]
    pub queue: Option<NonZeroUsize>,
    /// Time in ms that a device may take for the next frame before its inference is given up
    #[arg(long, env = "TWINMASK_STALL_TIMEOUT_MS", value_name = "MS", help_heading = LIMITS)]
    pub stall_timeout_ms: Option<NonZeroUsize>,
    /// In the file only: what is to differ from the preset of the network.
    #[arg(skip)]
    pub transport: Option<TransportOverrides>,
    /// In the file only: what clients get before they are authenticated.
    #[arg(skip)]
    pub handshakes: Option<HandshakeOverrides>,
}

impl Settings {
    /// What holds at the edge `role` where nobody says anything, spelled out.
    #[must_use]
    pub fn defaults(role: Role) -> Settings {
        let Config { listen, admin, threads, limits, .. } = Config::new("", role);
        Settings {
            dir: None,
            listen: Some(listen),
            peer: None,
            admin: Some(admin),
            log: Some(LOG.to_string().to_lowercase()),
            threads: NonZeroUsize::new(threads),
            kernel: Some(KERNEL.to_owned()),
            network: Some(Preset::default()),
            max_sessions: NonZeroUsize::new(limits.max_sessions),
            max_sessions_per_device: NonZeroUsize::new(limits.max_sessions_per_device),
            max_in_flight: NonZeroUsize::new(limits.max_in_flight.into()),
            device_memory_mb: NonZeroUsize::new(DEVICE_MEMORY / MB),
            kernel_memory_mb: Some(KERNEL_MEMORY / MB),
            queue: NonZeroUsize::new(limits.queue),
            stall_timeout_ms: NonZeroUsize::new(limits.stall.as_millis() as usize),
            transport: None,
            handshakes: None,
        }
    }

    /// The kernel that is asked for, among `kernels`.
    ///
    /// # Errors
    /// A kernel that is not among them; the text lists those that there are.
    pub fn kernel(&self, kernels: &Kernels) -> Result<Arc<dyn Kernel>, StartError> {
        let memory = self.kernel_memory_mb.map_or(KERNEL_MEMORY, |mb| mb.saturating_mul(MB));
        Ok(kernels.clone().within(memory).named(self.kernel.as_deref().unwrap_or(KERNEL))?)
    }

    /// The configuration of the edge `role`.
    ///
    /// # Errors
    /// When the folder is missing or a number is out of range.
    pub fn config(self, role: Role) -> Result<Config, StartError> {
        let mut config = Config::new(self.dir.ok_or(StartError::NoFolder(role))?, role);
        let set = |target: &mut usize, value: Option<NonZeroUsize>| *target = value.map_or(*target, NonZeroUsize::get);
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin = self.admin.unwrap_or(config.admin);
        if self.peer.is_some() && role == Role::B {
            return Err(StartError::PeerOfEdgeB);
        }
        config.peer = self.peer;
        let preset = self.network.unwrap_or_default().limits().serving();
        config.transport = self.transport.unwrap_or_default().apply(preset)?;
        config.transport.handshakes = self.handshakes.unwrap_or_default().apply(config.transport.handshakes)?;
        set(&mut config.threads, self.threads);
        if let Some(mb) = self.device_memory_mb {
            config.limits = config.limits.for_each_device(mb.get().saturating_mul(MB));
        }
        let limits = &mut config.limits;
        set(&mut limits.max_sessions, self.max_sessions);
        set(&mut limits.max_sessions_per_device, self.max_sessions_per_device);
        set(&mut limits.queue, self.queue);
        if let Some(n) = self.max_in_flight {
            let fits = u16::try_from(n.get()).ok().filter(|&n| n <= 1024);
            limits.max_in_flight = fits.ok_or(StartError::MaxInFlight(n))?;
        }
        limits.stall = self.stall_timeout_ms.map_or(limits.stall, |ms| Duration::from_millis(ms.get() as u64));
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use toml::Table;
    use twinmask_settings::over_file;

    fn read(path: &Path) -> Result<Settings, StartError> {
        Ok(over_file(Settings::default(), Some(path))?)
    }

    fn sample(name: &str) -> Settings {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
        read(&path).expect("a sample must parse")
    }

    #[test]
    fn the_sample_files_parse_and_say_what_the_defaults_are() {
        let basic = sample("edge-basic.toml");
        assert!(basic.dir.is_some() && basic.threads.is_none());
        let advanced = sample("edge-advanced.toml");
        let spelled_out = advanced.clone().config(Role::A).expect("a good configuration");
        let defaults = Config::new(advanced.dir.clone().expect("dir"), Role::A);
        assert_eq!(Config { threads: 0, ..spelled_out }, Config { threads: 0, ..defaults });
        let Settings { dir, threads, transport, handshakes, .. } = advanced.clone();
        assert!(dir.is_some() && threads.is_some() && transport.is_some() && handshakes.is_some());
        let defaults = Settings { dir, threads, transport, handshakes, ..Settings::defaults(Role::A) };
        assert_eq!(advanced, defaults, "a setting is missing, or its default is another");
        let overrides = Table::try_from(transport).expect("plain values").len();
        assert_eq!(overrides, 8, "the sample leaves a field of [transport] out");
        let overrides = Table::try_from(handshakes).expect("plain values").len();
        assert_eq!(overrides, 7, "the sample leaves a field of [handshakes] out");
    }

    #[test]
    fn the_defaults_spelled_out_make_the_default_configuration() {
        for role in [Role::A, Role::B] {
            let spelled_out = Settings { dir: Some("x".into()), ..Settings::defaults(role) };
            assert_eq!(spelled_out.config(role).expect("a good configuration"), Config::new("x", role));
        }
    }

    #[test]
    fn unknown_and_senseless_fields_are_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("edge.toml");
        for (text, word) in [
            ("thread = 2", "thread"),
            ("threads = 0", "threads"),
            ("network = \"lte\"", "lte"),
            ("[transport]\nwindow = 1", "window"),
            ("[handshakes]\nper_address = 1", "per_address"),
        ] {
            std::fs::write(&path, text).expect("writes");
            let error = read(&path).expect_err(text);
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(word) && error.to_string().contains("edge.toml"), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |settings: Settings, role| settings.config(role).expect_err("refused").to_string();
        assert!(refused(Settings::default(), Role::B).contains("the folder of edge-b is missing"));
        let here = || Settings { dir: Some("x".into()), ..Settings::default() };
        let with_peer = Settings { peer: Some("b:1".into()), ..here() };
        assert!(refused(with_peer, Role::B).contains("`peer` is for edge-a"));
        let many = Settings { max_in_flight: NonZeroUsize::new(1025), ..here() };
        assert!(refused(many, Role::A).contains("max_in_flight is 1025; at most 1024"));
        let transport = toml::from_str("initial_rtt_ms = 0").expect("a table");
        let settings = Settings { transport: Some(transport), ..here() };
        assert!(refused(settings, Role::A).contains("initial_rtt_ms is 0"));
        let handshakes = toml::from_str("ipv4_prefix = 33").expect("a table");
        let settings = Settings { handshakes: Some(handshakes), ..here() };
        assert!(refused(settings, Role::A).contains("[handshakes] ipv4_prefix is 33"));
        let unknown = Settings { kernel: Some("abacus".into()), ..here() };
        let error = unknown.kernel(&Kernels::native()).err().expect("no such kernel");
        assert!(error.to_string().contains("portable") && error.exit_code() == 3, "{error}");
    }
}
