//! `device infer`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use twinmask_masking::Integrity;

use super::report::{How, InferReport};
use super::{Settings, print_json};
use crate::error::DeviceError;
use crate::exec::Values;
use crate::infer::{Outcome, infer};
use crate::input::{self, npy};
use crate::local::Local;
use crate::network::Network;
use crate::session::Usage;

/// Arguments of `device infer`.
#[derive(Debug, Args)]
pub(crate) struct InferArgs {
    /// PNG or JPEG pictures, or .npy float32 tensors of the model's input shape.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// How many classes to show.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// One JSON object per input and line.
    #[arg(long)]
    json: bool,
    /// Write the first output as .npy (several inputs: stacked on a new first axis).
    #[arg(long, value_name = "FILE.npy")]
    save_output: Option<PathBuf>,
    /// Compute the quantized linear layers on this device (needs all weights); no edge is contacted.
    #[arg(long)]
    local: bool,
}

pub(crate) async fn run(settings: Settings, args: InferArgs) -> Result<(), DeviceError> {
    let mut runner = Runner::new(&settings, args.local)?;
    let result = all(&mut runner, &args).await;
    if let Runner::Private(device, ..) = &mut runner {
        device.close().await;
    }
    result
}

async fn all(runner: &mut Runner, args: &InferArgs) -> Result<(), DeviceError> {
    let network = Arc::clone(runner.network());
    let spec = network.input_spec();
    let mut saved = Vec::new();
    for path in &args.inputs {
        let tensor = input::load(path, &spec).map_err(|e| DeviceError::Config(e.to_string()))?;
        let (outcome, usage, how) = runner.infer(tensor).await?;
        let name = path.display().to_string();
        let report = InferReport::new(name, &network, &how, &outcome, usage, args.top);
        if args.json {
            print_json(&report)
        } else {
            print_text(&report)
        }
        saved.push(outcome.outputs.into_iter().next());
    }
    match &args.save_output {
        Some(path) => save(path, saved.into_iter().flatten().collect()),
        None => Ok(()),
    }
}

/// Where the linear layers are computed.
pub(super) enum Runner {
    Private(Box<crate::device::Device>, String),
    Local { network: Arc<Network>, local: Box<Local>, values: Values },
}

impl Runner {
    pub(super) fn new(settings: &Settings, local: bool) -> Result<Self, DeviceError> {
        if !local {
            return Ok(Self::Private(Box::new(settings.device()?), settings.integrity().to_string()));
        }
        let bundle = settings.load(&settings.open_dir()?)?;
        let local = Box::new(Local::new(&bundle)?);
        let network = Arc::new(Network::new(bundle, Integrity::NONE)?);
        let values = Values::new(Arc::clone(&network.program));
        Ok(Self::Local { network, local, values })
    }

    pub(super) fn network(&self) -> &Arc<Network> {
        match self {
            Self::Private(device, _) => device.network(),
            Self::Local { network, .. } => network,
        }
    }

    pub(super) async fn infer(&mut self, tensor: Vec<f32>) -> Result<(Outcome, Usage, How), DeviceError> {
        match self {
            Self::Private(device, check) => {
                let i = device.infer(&tensor).await?;
                Ok((i.outcome, i.usage, How { mode: i.mode, fallbacks: i.fallbacks, check: check.clone() }))
            }
            Self::Local { network, local, values } => {
                let how = How { mode: "local", fallbacks: 0, check: Integrity::NONE.to_string() };
                Ok((infer(network, values, &tensor, local.as_mut()).await?, Usage::default(), how))
            }
        }
    }
}

fn print_text(report: &InferReport) {
    say!("{}", report.input);
    for entry in &report.top {
        say!("  {:6.2} %  {}", entry.score * 100.0, entry.label);
    }
}

fn save(path: &std::path::Path, outputs: Vec<crate::infer::Output>) -> Result<(), DeviceError> {
    let Some(first) = outputs.first() else { return Ok(()) };
    let mut shape: Vec<u32> = first.shape.clone();
    if outputs.len() > 1 {
        shape.insert(0, outputs.len() as u32);
    }
    let data: Vec<f32> = outputs.iter().flat_map(|o| o.data.iter().copied()).collect();
    npy::write(path, &shape, &data).map_err(|e| DeviceError::Config(e.to_string()))
}
