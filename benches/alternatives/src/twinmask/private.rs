//! Private inferences over QUIC, each held against the plain integer network.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use twinmask_benches::deployment::{Deployment, Pair};
use twinmask_device::{Builder, Device, Mode, Tensor};

use crate::measure::digits::Digits;
use crate::measure::network::best;

/// The device's name.
pub(super) const DEVICE: &str = "device";
/// How often, and how long after each other, a session in the wanted mode is tried for.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What a run is watched for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seeing {
    /// What edge B gets of the input.
    Shares,
    /// Nothing.
    Nothing,
}

/// What a run over digits gave.
pub(super) struct Seen {
    pub(super) answers: Vec<usize>,
    /// What edge B got of each digit.
    pub(super) shares: Vec<Vec<u32>>,
    /// Bits of their ring.
    pub(super) k: u32,
}

/// A session in `mode`: right after the edges' start, their link for `relay` may not stand yet.
async fn open_in(mode: Mode, builder: &Builder) -> Result<Device> {
    for _ in 0..ATTEMPTS {
        let device = builder.clone().open().await?;
        if device.session().await?.is_none_or(|s| s.mode() == mode) {
            return Ok(device);
        }
        device.close().await;
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the edges offer no mode {mode}")
}

/// One private inference per digit over QUIC on loopback, each held against the plain integer network.
pub(super) async fn infer_all(
    deployment: &Deployment,
    pair: &Pair,
    mode: Mode,
    digits: &Digits,
    seeing: Seeing,
) -> Result<Seen> {
    let folder = deployment.device(DEVICE);
    let watched = if seeing == Seeing::Shares { Digits::PIXELS } else { 0 };
    let builder = Device::builder(&folder).edges(&pair.a.address, &pair.b.address).mode(mode).watch(watched);
    let (private, plain) = (open_in(mode, &builder).await?, Device::local(&folder)?);
    let shape = plain.inputs().tensors[0].shape.clone();
    let mut seen = Seen { answers: Vec::new(), shares: Vec::new(), k: private.model().plan().groups()[0].k() };
    for i in 0..digits.len() {
        let tensor = Tensor::new(shape.clone(), digits.input(i))?;
        let expected = plain.run(tensor.clone()).await?;
        let mut found = private.run(tensor).await?;
        if found.outputs != expected.outputs || found.mode != mode {
            bail!("digit {i}: the private result in mode {} is not the local one", found.mode);
        }
        seen.answers.push(best(&found.outputs[0].tensor.to_f32()));
        if seeing == Seeing::Shares {
            let first = found.glimpses.drain(..).next().context("a glimpse of the first round")?;
            seen.shares.push(first.share_b);
        }
    }
    private.close().await;
    Ok(seen)
}
