//! Settings from the command line, `TWINMASK_*` variables and a TOML file; the command line wins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};
use twinmask_masking::Integrity;
use twinmask_settings::Preset;
use twinmask_transport::TransportOverrides;
use twinmask_wire::CodecChoice;

use crate::builder::Builder;
use crate::device::Device;
use crate::error::{DeviceError, SettingError};
use crate::input::MAX_MEGAPIXELS;
use crate::mode::Mode;
use crate::session::SessionOptions;
use crate::store::DeviceDir;

/// Where nobody sets a log filter.
pub(super) const LOG: tracing::Level = tracing::Level::WARN;

/// Groups of settings in the help, in this order.
pub(super) const NEEDED: &str = "What a device needs";
const TRADES: &str = "Speed, bytes and checks";
const NETWORK: &str = "Network";

/// Settings that all commands share; the same names serve the command line, the environment and the file.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The device's folder, as `owner-keygen add-device` wrote it
    #[arg(long, global = true, env = "TWINMASK_DIR", value_name = "DIR", help_heading = NEEDED)]
    pub dir: Option<PathBuf>,
    /// Address of edge A, the mask edge
    #[arg(long, global = true, env = "TWINMASK_EDGE_A", value_name = "HOST:PORT", help_heading = NEEDED)]
    pub edge_a: Option<String>,
    /// Address of edge B, the data edge
    #[arg(long, global = true, env = "TWINMASK_EDGE_B", value_name = "HOST:PORT", help_heading = NEEDED)]
    pub edge_b: Option<String>,
    /// Which of the folder's models, if it holds several
    #[arg(long, global = true, env = "TWINMASK_MODEL", value_name = "NAME", help_heading = NEEDED)]
    pub model: Option<String>,
    /// How the edges are used: split (the paper's scheme) or relay (edge B answers for both)
    #[arg(long, global = true, env = "TWINMASK_MODE", value_name = "MODE", help_heading = TRADES)]
    pub mode: Option<EdgeMode>,
    /// Checks on the edges' answers: none, sample:N, freivalds or sample:N+freivalds
    #[arg(long, global = true, env = "TWINMASK_INTEGRITY", value_name = "CHECK", help_heading = TRADES)]
    #[serde(with = "text")]
    pub integrity: Option<Integrity>,
    /// Encoding of payloads: auto, packed, zstd or raw
    #[arg(long, global = true, env = "TWINMASK_CODEC", value_name = "CODEC", help_heading = TRADES)]
    pub codec: Option<CodecChoice>,
    /// Leave low bits of the answers out: off or auto (never with freivalds)
    #[arg(long, global = true, env = "TWINMASK_DROP_BITS", value_name = "off|auto", help_heading = TRADES)]
    pub drop_bits: Option<DropBits>,
    /// Inferences whose answers edge A sends ahead while the link is idle (mode split), at most 16
    #[arg(long, global = true, env = "TWINMASK_PREFETCH", value_name = "N", help_heading = TRADES,
          value_parser = RangedU64ValueParser::<u32>::new().range(0..=16))]
    pub prefetch: Option<u32>,
    /// Largest picture that is decoded, in megapixels: a JPEG takes 3 bytes a pixel and more, a PNG a few rows
    #[arg(long, global = true, env = "TWINMASK_MAX_MEGAPIXELS", value_name = "N", help_heading = TRADES,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=1024))]
    pub max_megapixels: Option<u32>,
    /// Kind of network to tune QUIC for
    #[arg(long, global = true, env = "TWINMASK_NETWORK", value_name = "PRESET", help_heading = NETWORK)]
    pub network: Option<Preset>,
    /// Longest wait for a connection and for each answer, in seconds
    #[arg(long, global = true, env = "TWINMASK_TIMEOUT_S", value_name = "SECONDS", help_heading = NETWORK,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
    pub timeout_s: Option<u64>,
    /// In the file only: what is to differ from the preset of the network.
    #[arg(skip)]
    pub transport: Option<TransportOverrides>,
}

/// How the edges are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeMode {
    /// The paper's scheme: both edges answer the device.
    #[default]
    Split,
    /// Edge A sends its part to edge B ahead of time, and edge B answers for both.
    Relay,
}

impl From<EdgeMode> for Mode {
    fn from(mode: EdgeMode) -> Self {
        match mode {
            EdgeMode::Split => Self::Split,
            EdgeMode::Relay => Self::Relay,
        }
    }
}

/// Whether low bits of the answers are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropBits {
    /// All bits travel; results are exact.
    #[default]
    Off,
    /// As many as the next layer's quantization does not keep.
    Auto,
}

/// The checks in a file, as on the command line.
mod text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use twinmask_masking::Integrity;

    pub(super) fn serialize<S: Serializer>(checks: &Option<Integrity>, to: S) -> Result<S::Ok, S::Error> {
        checks.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Integrity>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

impl Settings {
    /// What holds where nobody says anything, spelled out from the library's defaults.
    #[must_use]
    pub fn defaults() -> Self {
        let SessionOptions { codec, timeout, relay, drop_bits, prefetch } = SessionOptions::default();
        Self {
            mode: Some(if relay { EdgeMode::Relay } else { EdgeMode::Split }),
            integrity: Some(Device::builder("").checks()),
            codec: Some(codec),
            drop_bits: Some(if drop_bits { DropBits::Auto } else { DropBits::Off }),
            prefetch: Some(prefetch as u32),
            max_megapixels: Some(MAX_MEGAPIXELS),
            network: Some(Preset::default()),
            timeout_s: Some(timeout.as_secs()),
            ..Self::default()
        }
    }

    /// The device's folder.
    ///
    /// # Errors
    /// When none is named, or it cannot be used.
    pub fn open_dir(&self) -> Result<DeviceDir, DeviceError> {
        DeviceDir::open(self.dir.as_ref().ok_or(SettingError::NoFolder)?)
    }

    /// These settings for a device of the folder `dir`; what is left open has the library's defaults.
    ///
    /// # Errors
    /// When a transport setting makes no sense.
    pub fn builder_in(&self, dir: &Path) -> Result<Builder, DeviceError> {
        let preset = self.network.unwrap_or_default().limits();
        let limits = self.transport.unwrap_or_default().apply(preset).map_err(SettingError::Transport)?;
        let address = |a: &Option<String>| a.clone().unwrap_or_default();
        let mut builder = Device::builder(dir).edges(address(&self.edge_a), address(&self.edge_b)).transport(limits);
        if let Some(name) = &self.model {
            builder = builder.model(name);
        }
        if let Some(mode) = self.mode {
            builder = builder.mode(mode.into());
        }
        if let Some(integrity) = self.integrity {
            builder = builder.integrity(integrity);
        }
        if let Some(codec) = self.codec {
            builder = builder.codec(codec);
        }
        if let Some(drop) = self.drop_bits {
            builder = builder.drop_bits(drop == DropBits::Auto);
        }
        if let Some(inferences) = self.prefetch {
            builder = builder.prefetch(inferences as usize);
        }
        if let Some(most) = self.max_megapixels {
            builder = builder.max_megapixels(most);
        }
        if let Some(seconds) = self.timeout_s {
            builder = builder.timeout(Duration::from_secs(seconds));
        }
        Ok(builder)
    }

    /// As [`builder_in`](Self::builder_in) for the folder that is named; `local` computes everything on this device.
    ///
    /// # Errors
    /// When no folder is named, or a setting makes no sense.
    pub fn builder_for(&self, local: bool) -> Result<Builder, DeviceError> {
        // An address that is missing is told before a folder that is no good.
        let builder = self.builder_in(self.dir.as_deref().unwrap_or(Path::new("")))?;
        if self.dir.is_none() {
            if !local {
                builder.addresses()?;
            }
            return Err(SettingError::NoFolder.into());
        }
        Ok(if local { builder.mode(Mode::Local) } else { builder })
    }

    /// A device that computes with the edges.
    ///
    /// # Errors
    /// When folder, bundle, identity or addresses cannot be used.
    pub fn device(&self) -> Result<Device, DeviceError> {
        self.builder_for(false)?.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_settings::over_file;
    use twinmask_transport::TransportLimits;

    #[test]
    fn the_command_line_wins_and_unknown_keys_are_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("device.toml");
        std::fs::write(
            &file,
            "edge_a = \"a:1\"\nedge_b = \"b:2\"\nintegrity = \"sample:3\"\ncodec = \"raw\"\nmode = \"split\"\n",
        )
        .expect("write");
        let line = Settings { edge_a: Some("c:3".into()), ..Settings::default() };
        let merged = over_file(line.clone(), Some(&file)).expect("valid file");
        assert_eq!((merged.edge_a.as_deref(), merged.edge_b.as_deref()), (Some("c:3"), Some("b:2")));
        assert_eq!(merged.builder_in(dir.path()).expect("good settings").checks().samples, 3);
        let freivalds = Settings { integrity: Some("freivalds".parse().expect("a check")), ..line.clone() };
        let checks = over_file(freivalds, Some(&file)).expect("valid file").integrity.expect("set");
        assert_eq!(checks.to_string(), "freivalds");
        for (bad, key) in [
            ("edge_c = \"x\"", "edge_c"),
            ("integrity = \"often\"", "often"),
            ("codec = 3", "codec"),
            ("mode = \"warp\"", "warp"),
        ] {
            std::fs::write(&file, bad).expect("write");
            let error = over_file(line.clone(), Some(&file)).expect_err(bad);
            assert!(error.to_string().contains("device.toml") && error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn the_sample_file_says_what_the_defaults_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/device.toml");
        let sample = over_file(Settings::default(), Some(&path)).expect("a sample must parse");
        let Settings { dir, edge_a, edge_b, model, transport, .. } = sample.clone();
        assert!(dir.is_some() && edge_a.is_some() && edge_b.is_some() && model.is_some() && transport.is_some());
        let defaults = Settings { dir, edge_a, edge_b, model, transport, ..Settings::defaults() };
        assert_eq!(sample, defaults, "a setting is missing, or its default is another");
        let spelled_out = transport.expect("above").apply(TransportLimits::wan()).expect("in range");
        let window = |limits: &TransportLimits| limits.stream_window;
        assert_eq!(window(&spelled_out), window(&TransportLimits::lan()), "the sample is not the preset");
    }

    #[test]
    fn dropped_bits_switch_freivalds_off_unless_it_is_asked_for() {
        let settings = Settings { drop_bits: Some(DropBits::Auto), ..Settings::default() };
        assert_eq!(settings.builder_in(Path::new("")).expect("good").checks().to_string(), "sample:16");
        assert_eq!(Settings::defaults().integrity.expect("spelled out").to_string(), "sample:16+freivalds");
    }
}
