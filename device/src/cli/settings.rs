//! Settings from the command line, `TWINMASK_*` variables and a TOML file; the command line wins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use twinmask_masking::Integrity;
use twinmask_model::bundle::DeviceBundle;
use twinmask_transport::{TransportLimits, TransportOverrides};
use twinmask_wire::CodecChoice;

use crate::device::Device;
use crate::error::DeviceError;
use crate::network::Network;
use crate::session::{Edges, SessionOptions};
use crate::store::DeviceDir;

/// Settings that all commands share; the same names serve the command line and the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The device's folder, as `owner-keygen add-device` wrote it.
    #[arg(long, global = true, env = "TWINMASK_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// HOST:PORT of edge A, the mask edge.
    #[arg(long, global = true, env = "TWINMASK_EDGE_A", value_name = "HOST:PORT")]
    pub edge_a: Option<String>,
    /// HOST:PORT of edge B, the data edge.
    #[arg(long, global = true, env = "TWINMASK_EDGE_B", value_name = "HOST:PORT")]
    pub edge_b: Option<String>,
    /// Which of the folder's models, if it holds several.
    #[arg(long, global = true, env = "TWINMASK_MODEL", value_name = "NAME")]
    pub model: Option<String>,
    /// How the edges are used: split (the paper's scheme) or relay (edge B answers for both) [default: split].
    #[arg(long, global = true, env = "TWINMASK_MODE", value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Checks on the edges' answers: none, sample:N, freivalds or sample:N+freivalds [default: sample:16+freivalds].
    #[arg(long, global = true, env = "TWINMASK_INTEGRITY", value_name = "CHECK")]
    #[serde(deserialize_with = "from_text")]
    pub integrity: Option<Integrity>,
    /// Encoding of payloads: auto, packed, zstd or raw [default: auto].
    #[arg(long, global = true, env = "TWINMASK_CODEC", value_name = "CODEC")]
    pub codec: Option<CodecChoice>,
    /// Leave low bits of the answers out: off or auto (never with freivalds) [default: off].
    #[arg(long, global = true, env = "TWINMASK_DROP_BITS", value_name = "off|auto")]
    pub drop_bits: Option<DropBits>,
    /// Inferences whose answers edge A sends ahead while the link is idle (mode split) [default: 0].
    #[arg(long, global = true, env = "TWINMASK_PREFETCH", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    pub prefetch: Option<u32>,
    /// Kind of network: lan, wifi or wan [default: lan].
    #[arg(long, global = true, env = "TWINMASK_NETWORK", value_name = "PRESET")]
    pub network: Option<NetworkPreset>,
    /// Longest wait for a connection and for each answer, in seconds [default: 30].
    #[arg(long, global = true, env = "TWINMASK_TIMEOUT_S", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout_s: Option<u64>,
    /// File with these settings, in TOML.
    #[arg(long, global = true, env = "TWINMASK_CONFIG", value_name = "FILE.toml")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// In the file only: what is to differ from the preset of the network.
    #[arg(skip)]
    pub transport: Option<TransportOverrides>,
}

/// How the edges are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The paper's scheme: both edges answer the device.
    #[default]
    Split,
    /// Edge A sends its part to edge B ahead of time, and edge B answers for both.
    Relay,
}

/// Whether low bits of the answers are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropBits {
    /// All bits travel; results are exact.
    #[default]
    Off,
    /// As many as the next layer's quantization does not keep.
    Auto,
}

/// Transport settings by kind of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPreset {
    /// Wired local network.
    #[default]
    Lan,
    /// Radio link.
    Wifi,
    /// The open internet.
    Wan,
}

fn from_text<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Integrity>, D::Error> {
    String::deserialize(source)?.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Settings {
    /// Fills what the command line and the environment leave open from the file, if one is named.
    ///
    /// # Errors
    /// When the file cannot be read or holds an unknown or malformed setting.
    pub fn with_file(self) -> Result<Self, DeviceError> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let text = std::fs::read_to_string(&path).map_err(|e| DeviceError::file(&path, e))?;
        let file: Self = toml::from_str(&text).map_err(|e| DeviceError::file(&path, e))?;
        Ok(Self {
            dir: self.dir.or(file.dir),
            edge_a: self.edge_a.or(file.edge_a),
            edge_b: self.edge_b.or(file.edge_b),
            model: self.model.or(file.model),
            mode: self.mode.or(file.mode),
            integrity: self.integrity.or(file.integrity),
            codec: self.codec.or(file.codec),
            drop_bits: self.drop_bits.or(file.drop_bits),
            prefetch: self.prefetch.or(file.prefetch),
            network: self.network.or(file.network),
            timeout_s: self.timeout_s.or(file.timeout_s),
            transport: file.transport,
            config: self.config,
        })
    }

    /// The device's folder.
    ///
    /// # Errors
    /// When none is named, or it cannot be used.
    pub fn open_dir(&self) -> Result<DeviceDir, DeviceError> {
        let dir = self.dir.as_ref();
        let dir = dir.ok_or_else(|| DeviceError::Config("no device folder: name it with --dir DIR".into()))?;
        DeviceDir::open(dir)
    }

    /// The model's bundle.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn load(&self, dir: &DeviceDir) -> Result<DeviceBundle, DeviceError> {
        dir.load(self.model.as_deref())
    }

    /// Checks on the edges' answers: by default all that dropped bits allow.
    #[must_use]
    pub fn integrity(&self) -> Integrity {
        let all = Integrity::default();
        self.integrity.unwrap_or(Integrity { freivalds: all.freivalds && !self.drops_bits(), ..all })
    }

    fn drops_bits(&self) -> bool {
        self.drop_bits == Some(DropBits::Auto)
    }

    /// Where the edges are.
    ///
    /// # Errors
    /// When an address is missing.
    pub fn edges(&self) -> Result<Edges, DeviceError> {
        let need = |address: &Option<String>, flag: &str| {
            address
                .clone()
                .ok_or_else(|| DeviceError::Config(format!("no address of an edge: name it with {flag} HOST:PORT")))
        };
        let preset = match self.network.unwrap_or_default() {
            NetworkPreset::Lan => TransportLimits::lan(),
            NetworkPreset::Wifi => TransportLimits::wifi(),
            NetworkPreset::Wan => TransportLimits::wan(),
        };
        Ok(Edges {
            a: need(&self.edge_a, "--edge-a")?,
            b: need(&self.edge_b, "--edge-b")?,
            limits: self.transport.unwrap_or_default().apply(preset).map_err(|e| DeviceError::Config(e.to_string()))?,
            options: SessionOptions {
                codec: self.codec.unwrap_or(CodecChoice::Auto),
                timeout: Duration::from_secs(self.timeout_s.unwrap_or(30)),
                relay: self.mode == Some(Mode::Relay),
                drop_bits: self.drops_bits(),
                prefetch: self.prefetch.unwrap_or(0) as usize,
            },
        })
    }

    /// A device that computes with the edges.
    ///
    /// # Errors
    /// When folder, bundle, identity or addresses cannot be used.
    pub fn device(&self) -> Result<Device, DeviceError> {
        let edges = self.edges()?;
        let dir = self.open_dir()?;
        let identity = dir.identity()?;
        let network = Arc::new(Network::new(self.load(&dir)?, self.integrity())?);
        Ok(Device::new(network, identity, edges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_and_unknown_keys_are_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("device.toml");
        std::fs::write(
            &file,
            "edge_a = \"a:1\"\nedge_b = \"b:2\"\nintegrity = \"sample:3\"\ncodec = \"raw\"\nmode = \"split\"\n",
        )
        .expect("write");
        let line = Settings { edge_a: Some("c:3".into()), config: Some(file.clone()), ..Settings::default() };
        let merged = line.clone().with_file().expect("valid file");
        assert_eq!((merged.edge_a.as_deref(), merged.edge_b.as_deref()), (Some("c:3"), Some("b:2")));
        assert_eq!(merged.integrity().samples, 3);
        for (bad, key) in [
            ("edge_c = \"x\"", "edge_c"),
            ("integrity = \"often\"", "often"),
            ("codec = 3", "codec"),
            ("mode = \"warp\"", "warp"),
        ] {
            std::fs::write(&file, bad).expect("write");
            let error = line.clone().with_file().expect_err(bad);
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(error.to_string().contains("device.toml") && error.to_string().contains(key), "{error}");
        }
    }
}
