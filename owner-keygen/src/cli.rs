//! The `owner-keygen` command (interface.md, "owner-keygen").

/// Prints a line to standard output; a reader that has gone is no error.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};
use twinmask_model::preprocess::Preprocess;
use twinmask_model::ring_plan::Profile;
use twinmask_transport::Role;

use crate::error::OwnerError;
use crate::identities::{revoke_identity, rotate_identity};
use crate::issue::{
    DeviceRequest, ModelRequest, SAMPLE_ROWS, Source, add_device, add_model, read_labels, rotate_keys, withdraw_model,
};
use crate::partition::Offload;
use crate::predict::{Costs, DeviceProfile, Link};
use crate::store::Store;
use crate::zoo::{self, Arch};
use crate::{inspect, list};

/// The owner's tool: imports trained networks, makes masking keys, issues identities. Offline during inference.
#[derive(Debug, Parser)]
#[command(name = "owner-keygen", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a deployment: a certificate authority and the identities of both edges.
    Init {
        /// New folder.
        dir: PathBuf,
    },
    /// Import a network and hand its integer layers to both edges.
    AddModel(AddModel),
    /// Issue keys and identity of a device.
    AddDevice(AddDevice),
    /// Rounds, layers, bits, elements and bytes of an ONNX model, a bundle, or all models of a deployment.
    Inspect {
        /// What to look at.
        path: PathBuf,
        /// As JSON, one object per model and line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        costs: CostArgs,
    },
    /// Fresh keys: of an identity (certificate), or of a device's models (masking keys, sample rows, Freivalds secrets).
    Rotate(Rotate),
    /// Take back an identity, or a version of a model.
    Revoke(Revoke),
    /// Identities, devices and models of a deployment.
    List {
        /// The deployment.
        dir: PathBuf,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a network of a known architecture with seeded random weights.
    Zoo {
        /// alexnet, alexnet227, facenet-nn1, facenet-irv1, resnet50, vgg16 or lenet.
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
struct AddModel {
    /// The deployment.
    dir: PathBuf,
    /// Name of the model; a name that exists gets a new version.
    #[arg(long)]
    name: String,
    /// ONNX file to import.
    #[arg(long, value_name = "FILE", required_unless_present = "zoo", conflicts_with = "zoo")]
    onnx: Option<PathBuf>,
    /// Architecture with seeded random weights.
    #[arg(long, value_name = "ARCH")]
    zoo: Option<String>,
    /// Seed of the zoo's weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ring width: compact (24 bits), balanced (28), precise (32), or a number of bits.
    #[arg(long, default_value = "balanced", value_name = "PROFILE")]
    ring: Profile,
    /// Layers that leave the device: all (except depthwise convolutions), auto (those that pay), or names separated by
    /// commas.
    #[arg(long, default_value = "all", value_name = "all|auto|LAYER,..")]
    offload: String,
    #[command(flatten)]
    costs: CostArgs,
    /// Size of the input image, where the file leaves it open.
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    input_size: Option<(u32, u32)>,
    /// imagenet, symmetric, unit, unit256, raw, or a file with mean and std per channel.
    #[arg(long, value_name = "PRESET|FILE.toml")]
    preprocess: Option<String>,
    /// Class names, one per line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// For networks that embed faces: the least cosine at which `device compare` says "same", -1 to 1.
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true)]
    threshold: Option<f32>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["identity", "keys"])))]
struct Rotate {
    /// The deployment.
    dir: PathBuf,
    /// Whose certificate: edge-a, edge-b or device/NAME.
    #[arg(long, value_name = "ROLE")]
    identity: Option<Role>,
    /// Put the identity's certificates so far on the revocation list.
    #[arg(long, requires = "identity")]
    revoke_old: bool,
    /// The device whose models get fresh keys, in their newest versions.
    #[arg(long, value_name = "DEVICE")]
    keys: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["device", "identity", "model"])))]
struct Revoke {
    /// The deployment.
    dir: PathBuf,
    /// Name of a device.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// edge-a, edge-b or device/NAME.
    #[arg(long, value_name = "ROLE")]
    identity: Option<Role>,
    /// Model, of which one version is taken from the edges' folders.
    #[arg(long, value_name = "NAME", requires = "version")]
    model: Option<String>,
    /// Which version.
    #[arg(long, value_name = "N", requires = "model")]
    version: Option<u32>,
}

/// Device and link that times are predicted for.
#[derive(Debug, Args)]
struct CostArgs {
    /// What the device can do, as `device doctor --calibrate` writes it.
    #[arg(long, value_name = "FILE.toml")]
    device_profile: Option<PathBuf>,
    /// The device's link: Mbit/s and round trip in ms [default: 40,5].
    #[arg(long, value_name = "MBIT,RTT_MS")]
    link: Option<Link>,
}

impl CostArgs {
    fn load(&self) -> Result<Costs, OwnerError> {
        let device = match &self.device_profile {
            None => DeviceProfile::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| OwnerError::file(path, e))?;
                toml::from_str(&text).map_err(|e| OwnerError::file(path, e))?
            }
        };
        Ok(Costs { device, link: self.link.unwrap_or_default() })
    }
}

#[derive(Debug, Args)]
struct AddDevice {
    /// The deployment.
    dir: PathBuf,
    /// Name of the device.
    #[arg(long)]
    name: String,
    /// Model to issue, in its newest version.
    #[arg(long)]
    model: String,
    /// Give the device all weights, for `device infer --local`.
    #[arg(long)]
    weights: bool,
    /// Secret weight rows per layer for spot checks.
    #[arg(long, default_value_t = SAMPLE_ROWS, value_name = "N")]
    sample_rows: usize,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parse = |s: &str| s.parse().ok().filter(|v| (1..=16_384).contains(v));
    let parts = text.split_once('x').and_then(|(h, w)| Some((parse(h)?, parse(w)?)));
    parts.ok_or_else(|| format!("'{text}' is no size like 224x224"))
}

/// Runs the command line; exit codes: 0 ok, 2 usage, 3 configuration or files.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(if matches!(e, OwnerError::Usage(_)) { 2 } else { 3 })
        }
    }
}

fn run(command: Command) -> Result<(), OwnerError> {
    match command {
        Command::Init { dir } => init(&dir),
        Command::AddModel(args) => model(args),
        Command::AddDevice(args) => device(&args),
        Command::Inspect { path, json, costs } => show(&path, json, &costs),
        Command::Rotate(args) => rotate(&args),
        Command::Revoke(args) => revoke(args),
        Command::List { dir, json } => {
            let listing = list::list(&Store::open(&dir)?.registry);
            if json {
                say!("{}", serde_json::to_string(&listing).expect("plain data has a JSON form"));
            } else {
                say!("{}", list::text(&listing).trim_end());
            }
            Ok(())
        }
        Command::Zoo { arch, seed, out } => {
            let arch: Arch = arch.parse()?;
            zoo::write_file(arch, seed, &out)?;
            say!("wrote {}: {}, seed {seed}", out.display(), arch.name());
            Ok(())
        }
    }
}

fn init(dir: &std::path::Path) -> Result<(), OwnerError> {
    let store = Store::init(dir)?;
    say!("made a deployment in {}", store.root().display());
    say!("  owner/    CA and signing keys: keep this folder offline and backed up");
    say!("  edge-a/   copy to the host of edge A, then: edge-a --dir edge-a");
    say!("  edge-b/   copy to another operator's host, then: edge-b --dir edge-b");
    say!("next: owner-keygen add-model {} --name NAME --onnx FILE", dir.display());
    Ok(())
}

fn model(args: AddModel) -> Result<(), OwnerError> {
    let mut store = Store::open(&args.dir)?;
    let source = match (args.onnx, args.zoo) {
        (Some(path), _) => Source::Onnx(path),
        (None, Some(arch)) => Source::Zoo(arch.parse()?, args.seed),
        (None, None) => return Err(OwnerError::Usage("name a network with --onnx or --zoo".into())),
    };
    let offload = match args.offload.as_str() {
        "all" => Offload::All,
        "auto" => Offload::Auto(args.costs.load()?),
        names => Offload::Named(names.split(',').map(|n| n.trim().to_owned()).collect()),
    };
    let request = ModelRequest {
        name: args.name,
        source,
        profile: args.ring,
        offload,
        input_size: args.input_size,
        preprocess: args.preprocess.as_deref().map(preprocess).transpose()?,
        labels: args.labels.as_deref().map(read_labels).transpose()?.unwrap_or_default(),
        threshold: args.threshold,
    };
    let (entry, warnings) = add_model(&mut store, request)?;
    warnings.iter().for_each(|w| eprintln!("note: {w}"));
    say!("added {} version {} ({}), ring {}", entry.name, entry.version, &entry.digest[..16], entry.ring);
    say!("copy edge-a/models and edge-b/models to the edges and send them SIGHUP");
    say!("next: owner-keygen add-device {} --name DEVICE --model {}", args.dir.display(), entry.name);
    Ok(())
}

fn preprocess(text: &str) -> Result<Preprocess, OwnerError> {
    if !text.ends_with(".toml") {
        return Preprocess::preset(text).map_err(|e| OwnerError::Usage(e.to_string()));
    }
    let content = std::fs::read_to_string(text).map_err(|e| OwnerError::file(text, e))?;
    toml::from_str(&content).map_err(|e| OwnerError::file(text, e))
}

fn device(args: &AddDevice) -> Result<(), OwnerError> {
    let mut store = Store::open(&args.dir)?;
    let request = DeviceRequest {
        name: args.name.clone(),
        model: args.model.clone(),
        all_weights: args.weights,
        sample_rows: args.sample_rows,
    };
    let dir = add_device(&mut store, &request)?;
    say!("issued {} to {}: copy this folder to the device and keep it private", args.model, dir.display());
    say!("next: device --dir {} --edge-a HOST:7401 --edge-b HOST:7402 infer PICTURE", dir.display());
    Ok(())
}

fn rotate(args: &Rotate) -> Result<(), OwnerError> {
    let mut store = Store::open(&args.dir)?;
    if let Some(device) = &args.keys {
        for (model, version) in rotate_keys(&mut store, device)? {
            say!("made fresh keys of {model} version {version} for device {device}");
        }
        say!("copy {} to the device in place of the old folder", store.device_dir(device).display());
    }
    if let Some(role) = &args.identity {
        rotate_identity(&mut store, role, args.revoke_old)?;
        let send = if role.dns_name().is_some() { "its host and send it SIGHUP" } else { "the device" };
        say!("made a new key and certificate of {role}: copy {} to {send}", store.identity_dir(role).display());
        if args.revoke_old {
            say!("the old certificate is revoked");
            hand_out_revocations();
        }
    }
    Ok(())
}

fn revoke(args: Revoke) -> Result<(), OwnerError> {
    let mut store = Store::open(&args.dir)?;
    let device = |name: String| Role::device(&name).map_err(|e| OwnerError::Usage(e.to_string()));
    if let Some(role) = args.identity.map(Ok).or_else(|| args.device.map(device)).transpose()? {
        revoke_identity(&mut store, &role)?;
        say!("revoked {role}");
        hand_out_revocations();
    }
    if let (Some(model), Some(version)) = (args.model, args.version) {
        let holders = withdraw_model(&mut store, &model, version)?;
        say!("withdrew {model} version {version}: remove it from both edges' models/ and send them SIGHUP");
        for name in holders {
            say!(
                "device {name} holds it: owner-keygen add-device {} --name {name} --model {model}",
                args.dir.display()
            );
        }
    }
    Ok(())
}

fn hand_out_revocations() {
    say!("next: copy identity/crl.pem of edge-a and edge-b to their hosts and send both SIGHUP");
    say!("      copy identity/crl.pem of each device's folder to the device");
}

fn show(path: &std::path::Path, json: bool, costs: &CostArgs) -> Result<(), OwnerError> {
    let reports = inspect::inspect(path, &costs.load()?)?;
    if json {
        for report in &reports {
            say!("{}", serde_json::to_string(report).expect("plain data has a JSON form"));
        }
    } else {
        say!("{}", inspect::text(&reports).trim_end());
    }
    Ok(())
}
