//! The `owner-keygen` command (docs/cli.md).

/// Prints a line to standard output; a reader that has gone is no error.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

mod args;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use twinmask_transport::{Role, keep_memory, utc};

use args::{AddDevice, AddModel, Cli, Command, Inspect, Revoke, Rotate};

use crate::devices::{DeviceRequest, add_device, rotate_keys};
use crate::error::{OwnerError, UsageError};
use crate::identities::{refresh_revocations, revoke_certificate, revoke_identity, rotate_identity};
use crate::models::{ModelRequest, Source, add_model, read_labels, withdraw_model};
use crate::store::{Store, read_registry};
use crate::zoo::{self, Arch};
use crate::{inspect, list};

/// Runs the command line; exit codes: 0 ok, 2 usage, 3 configuration or files.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(e) = keep_memory() {
        eprintln!("warning: memory is not kept from core dumps, other processes and swap: {e}");
    }
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
        Command::AddModel(args) => model(&args),
        Command::AddDevice(args) => device(&args),
        Command::Inspect(args) => show(&args),
        Command::Rotate(args) => rotate(&args),
        Command::Revoke(args) => revoke(args),
        Command::RefreshRevocations { dir, days } => {
            let until_s = refresh_revocations(&mut Store::open(&dir)?, days)?;
            say!("made a new revocation list for every host; the next one is due by {}", utc(until_s));
            hand_out_revocations();
            Ok(())
        }
        Command::List { dir, json } => {
            let listing = list::list(&read_registry(&dir)?);
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

fn init(dir: &Path) -> Result<(), OwnerError> {
    let store = Store::init(dir)?;
    say!("made a deployment in {}", store.root().display());
    say!("  owner/    CA and signing keys: keep this folder offline and backed up");
    say!("  edge-a/   copy to the host of edge A, then: edge-a --dir edge-a");
    say!("  edge-b/   copy to another operator's host, then: edge-b --dir edge-b");
    say!("next: owner-keygen add-model {} --name NAME --onnx FILE", dir.display());
    Ok(())
}

fn model(args: &AddModel) -> Result<(), OwnerError> {
    let mut store = Store::open(&args.dir)?;
    let source = match (&args.onnx, &args.zoo) {
        (Some(path), _) => Source::Onnx(path.clone()),
        (None, Some(arch)) => Source::Zoo(arch.parse()?, args.seed),
        (None, None) => return Err(UsageError::NoNetwork.into()),
    };
    let request = ModelRequest {
        name: args.name.clone(),
        source,
        import: args.import.request(&args.import.costs()?).unwrap_or_default(),
        preprocess: args.preprocess()?,
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
    let device = |name: String| Role::device(&name).map_err(UsageError::from);
    if let Some(role) = args.identity.map(Ok).or_else(|| args.device.map(device)).transpose()? {
        revoke_identity(&mut store, &role)?;
        say!("revoked {role}");
        hand_out_revocations();
    }
    if let Some(path) = args.certificate {
        let role = revoke_certificate(&mut store, &path)?;
        say!("revoked the certificate of {role} in {}", path.display());
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

fn show(args: &Inspect) -> Result<(), OwnerError> {
    let costs = args.import.costs()?;
    let reports = inspect::inspect(&args.path, args.import.request(&costs).as_ref(), &costs, args.edge)?;
    if args.json {
        for report in &reports {
            say!("{}", serde_json::to_string(report).expect("plain data has a JSON form"));
        }
    } else {
        say!("{}", inspect::text(&reports).trim_end());
    }
    Ok(())
}
