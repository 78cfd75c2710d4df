//! What may be said on the command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{ArgGroup, Args, Parser, Subcommand};
use twinmask_model::container;
use twinmask_model::preprocess::Preprocess;
use twinmask_model::ring_plan::Profile;
use twinmask_transport::Role;

use crate::devices::SAMPLE_ROWS;
use crate::error::{OwnerError, UsageError};
use crate::import::ImportRequest;
use crate::partition::Offload;
use crate::predict::{Costs, DeviceProfile, Link};

/// What `--version` prints behind the program's name: the release, and the bundle format that edges and devices must
/// read.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (bundles {})", env!("CARGO_PKG_VERSION"), container::VERSION));

/// The owner's tool: imports trained networks, makes masking keys, issues identities.
/// It is offline during inference.
///
/// A first deployment:
///
///   owner-keygen init DIR
///   owner-keygen add-model DIR --name NAME --onnx FILE
///   owner-keygen add-device DIR --name DEVICE --model NAME
///
/// Then copy DIR/edge-a and DIR/edge-b to the hosts of two operators, and DIR/devices/DEVICE to the
/// device. DIR/owner stays here, offline and backed up. `owner-keygen COMMAND --help` says more.
#[derive(Debug, Parser)]
#[command(name = "owner-keygen", version = VERSION.as_str(), verbatim_doc_comment, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a deployment: a certificate authority and the identities of both edges.
    Init {
        /// New folder.
        dir: PathBuf,
    },
    /// Import a network and hand its integer layers to both edges.
    AddModel(AddModel),
    /// Issue keys and identity of a device.
    AddDevice(AddDevice),
    /// Rounds, layers, bits and bytes of an ONNX file, a bundle or a deployment.
    Inspect(Inspect),
    /// Identities, devices and models of a deployment.
    List {
        /// The deployment.
        dir: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fresh keys, of an identity or of a device's models.
    ///
    /// An identity gets a new certificate; a device's models get new masking keys, sample rows and Freivalds secrets.
    Rotate(Rotate),
    /// Take back an identity, or a version of a model.
    Revoke(Revoke),
    /// Make a new revocation list for every host, before the last one ends.
    ///
    /// Hosts go on after its end, but say at every start that they may have missed a revocation.
    RefreshRevocations {
        /// The deployment.
        dir: PathBuf,
        /// Days until the next one is due, for this list and later ones [default: as before; at first 90].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: Option<u32>,
    },
    /// Write a network of a known architecture with seeded random weights.
    Zoo {
        /// alexnet, alexnet227, facenet-nn1, facenet-irv1, resnet50, mobilenet-v2, vgg16 or lenet.
        arch: String,
        /// Seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// File to write.
        #[arg(long, value_name = "FILE.onnx")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddModel {
    /// The deployment.
    pub(super) dir: PathBuf,
    /// Name of the model; a name that exists gets a new version.
    #[arg(long, help_heading = NETWORK)]
    pub(super) name: String,
    /// ONNX file to import.
    #[arg(long, value_name = "FILE", required_unless_present = "zoo", conflicts_with = "zoo", help_heading = NETWORK)]
    pub(super) onnx: Option<PathBuf>,
    /// Architecture with seeded random weights.
    #[arg(long, value_name = "ARCH", help_heading = NETWORK)]
    pub(super) zoo: Option<String>,
    /// Seed of the zoo's weights.
    #[arg(long, default_value_t = 1, help_heading = NETWORK)]
    pub(super) seed: u64,
    #[command(flatten)]
    pub(super) import: ImportArgs,
    /// imagenet, symmetric, unit, unit256, raw, or a file with mean and std per channel.
    #[arg(long, value_name = "PRESET|FILE.toml", help_heading = DEVICE)]
    preprocess: Option<String>,
    /// Class names, one per line.
    #[arg(long, value_name = "FILE", help_heading = DEVICE)]
    pub(super) labels: Option<PathBuf>,
    /// For networks that embed faces: the least cosine at which `device compare` says "same", -1 to 1.
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true, help_heading = DEVICE)]
    pub(super) threshold: Option<f32>,
}

const NETWORK: &str = "The network";
const DIVISION: &str = "How it is read and divided";
const DEVICE: &str = "What the device is told";
const TIMES: &str = "Device and link that times are predicted for";

impl AddModel {
    /// What `--preprocess` says: a preset or a file.
    pub(super) fn preprocess(&self) -> Result<Option<Preprocess>, OwnerError> {
        let Some(text) = &self.preprocess else { return Ok(None) };
        if !text.ends_with(".toml") {
            return Ok(Some(Preprocess::preset(text).map_err(UsageError::Preset)?));
        }
        let content = std::fs::read_to_string(text).map_err(|e| OwnerError::file(text, e))?;
        toml::from_str(&content).map(Some).map_err(|e| OwnerError::file(text, e))
    }
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// What to look at.
    pub(super) path: PathBuf,
    /// As JSON, one object per model and line.
    #[arg(long)]
    pub(super) json: bool,
    /// Also by which kernel an edge on this machine computes each layer; tries them, which takes a few seconds.
    #[arg(long)]
    pub(super) edge: bool,
    #[command(flatten)]
    pub(super) import: ImportArgs,
}

/// How a network is read and divided: what `add-model` and `inspect` share.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Ring width: compact (24 bits), balanced (28), precise (32), or a number of bits [default: balanced].
    #[arg(long, value_name = "PROFILE", help_heading = DIVISION)]
    ring: Option<Profile>,
    /// Layers that leave the device: all (except depthwise convolutions), none, auto (those that pay), or names
    /// separated by commas; the device gets the weights of the others [default: all].
    #[arg(long, value_name = "all|none|auto|LAYER,..", help_heading = DIVISION)]
    offload: Option<String>,
    /// Size of the input image, where the file leaves it open.
    #[arg(long, value_name = "HxW", value_parser = parse_size, help_heading = DIVISION)]
    input_size: Option<(u32, u32)>,
    /// What the device can do, as `device doctor --calibrate` writes it.
    #[arg(long, value_name = "FILE.toml", help_heading = TIMES)]
    device_profile: Option<PathBuf>,
    /// The device's link: Mbit/s and round trip in ms [default: 40,5].
    #[arg(long, value_name = "MBIT,RTT_MS", help_heading = TIMES)]
    link: Option<Link>,
}

impl ImportArgs {
    /// Device and link.
    pub(super) fn costs(&self) -> Result<Costs, OwnerError> {
        let device = match &self.device_profile {
            None => DeviceProfile::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| OwnerError::file(path, e))?;
                toml::from_str(&text).map_err(|e| OwnerError::file(path, e))?
            }
        };
        Ok(Costs { device, link: self.link.unwrap_or_default() })
    }

    /// What is said about reading and dividing, if anything is; `costs` decide what `auto` offloads.
    pub(super) fn request(&self, costs: &Costs) -> Option<ImportRequest> {
        if self.ring.is_none() && self.offload.is_none() && self.input_size.is_none() {
            return None;
        }
        let usual = ImportRequest::default();
        let offload = match self.offload.as_deref() {
            None => usual.offload,
            Some("all") => Offload::All,
            Some("none") => Offload::None,
            Some("auto") => Offload::Auto(*costs),
            Some(names) => Offload::Named(names.split(',').map(|n| n.trim().to_owned()).collect()),
        };
        Some(ImportRequest { profile: self.ring.unwrap_or(usual.profile), offload, input_size: self.input_size })
    }
}

#[derive(Debug, Args)]
pub(super) struct AddDevice {
    /// The deployment.
    pub(super) dir: PathBuf,
    /// Name of the device.
    #[arg(long)]
    pub(super) name: String,
    /// Model to issue, in its newest version.
    #[arg(long)]
    pub(super) model: String,
    /// Give the device all weights, for `device infer --local`.
    #[arg(long, help_heading = WEIGHTS)]
    pub(super) weights: bool,
    /// Secret weight rows per layer for spot checks.
    #[arg(long, default_value_t = SAMPLE_ROWS, value_name = "N", help_heading = WEIGHTS)]
    pub(super) sample_rows: usize,
}

const WEIGHTS: &str = "Weights that it holds";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["identity", "keys"])))]
pub(super) struct Rotate {
    /// The deployment.
    pub(super) dir: PathBuf,
    /// Whose certificate: edge-a, edge-b or device/NAME.
    #[arg(long, value_name = "ROLE")]
    pub(super) identity: Option<Role>,
    /// Put the identity's certificates so far on the revocation list.
    #[arg(long, requires = "identity")]
    pub(super) revoke_old: bool,
    /// The device whose models get fresh keys, in their newest versions.
    #[arg(long, value_name = "DEVICE")]
    pub(super) keys: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["device", "identity", "certificate", "model"])))]
pub(super) struct Revoke {
    /// The deployment.
    pub(super) dir: PathBuf,
    /// Name of a device.
    #[arg(long, value_name = "NAME")]
    pub(super) device: Option<String>,
    /// edge-a, edge-b or device/NAME.
    #[arg(long, value_name = "ROLE")]
    pub(super) identity: Option<Role>,
    /// One certificate: a cert.pem, or the folder of a device or edge that holds it. It need not be on record.
    #[arg(long, value_name = "PATH")]
    pub(super) certificate: Option<PathBuf>,
    /// Model, of which one version is taken from the edges' folders.
    #[arg(long, value_name = "NAME", requires = "version")]
    pub(super) model: Option<String>,
    /// Which version.
    #[arg(long, value_name = "N", requires = "model")]
    pub(super) version: Option<u32>,
}

/// A text that names no size of a picture.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no size like 224x224")]
struct SizeError(String);

fn parse_size(text: &str) -> Result<(u32, u32), SizeError> {
    let parse = |s: &str| s.parse().ok().filter(|v| (1..=16_384).contains(v));
    let parts = text.split_once('x').and_then(|(h, w)| Some((parse(h)?, parse(w)?)));
    parts.ok_or_else(|| SizeError(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn help_says_first_what_a_person_needs() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        let steps = ["owner-keygen init", "add-model DIR", "add-device DIR", "DIR/edge-a", "Usage:", "  inspect"];
        let at = steps.map(|s| help.find(s).unwrap_or_else(|| panic!("{s} in {help}")));
        assert!(at.is_sorted() && help.lines().all(|l| l.chars().count() <= 100), "{help}");
        let mut command = Cli::command();
        let add_model = command.find_subcommand_mut("add-model").expect("a command").render_help().to_string();
        let at = [NETWORK, DIVISION, TIMES, DEVICE].map(|h| add_model.find(h).unwrap_or_else(|| panic!("{h}")));
        assert!(at.is_sorted(), "{add_model}");
    }

    #[test]
    fn the_version_names_the_bundle_format() {
        let text = Cli::command().render_version();
        assert_eq!(
            text.trim(),
            format!("owner-keygen {} (bundles {})", env!("CARGO_PKG_VERSION"), twinmask_model::container::VERSION)
        );
    }

    /// If this fails, one of the two commands has an import option that the other lacks.
    #[test]
    fn inspect_takes_what_add_model_takes() {
        let import = ["--ring", "12", "--offload", "a, b", "--input-size", "32x48", "--link", "10,2"];
        let parse = |head: &[&str]| Cli::parse_from([head, &import[..]].concat()).command;
        let add = parse(&["owner-keygen", "add-model", "d", "--name", "n", "--zoo", "lenet"]);
        let look = parse(&["owner-keygen", "inspect", "f.onnx"]);
        let (Command::AddModel(AddModel { import: a, .. }), Command::Inspect(Inspect { import: b, .. })) = (add, look)
        else {
            panic!("other commands")
        };
        for args in [a, b] {
            let costs = args.costs().expect("no file");
            assert_eq!((costs.link.mbit_s, costs.link.rtt_ms), (10.0, 2.0));
            let request = args.request(&costs).expect("something is said");
            assert_eq!((request.profile, request.input_size), (Profile::Bits(12), Some((32, 48))));
            assert_eq!(request.offload, Offload::Named(vec!["a".into(), "b".into()]));
        }
    }

    #[test]
    fn sizes_parse() {
        assert_eq!(parse_size("1x16384").expect("a size"), (1, 16_384));
        for bad in ["224", "x", "0x5", "5x0", "16385x1", "-1x1", "1x1x1"] {
            assert_eq!(parse_size(bad).expect_err(bad).to_string(), format!("'{bad}' is no size like 224x224"));
        }
    }
}
