//! The two programs of a comparison on a link, as the command line of a benchmark starts them inside a namespace.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use twinmask_transport::TransportLimits;

use super::client::{self, Request, Scheme};
use super::server;

/// Serve a network in f32.
#[derive(Debug, Args)]
pub struct Serve {
    /// Address.
    #[arg(long)]
    listen: String,
    /// Folder of the identity.
    #[arg(long)]
    identity: PathBuf,
    /// Network.
    #[arg(long)]
    onnx: PathBuf,
    /// Preset of the transport.
    #[arg(long, value_parser = limits)]
    network: TransportLimits,
}

impl Serve {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// When a folder, the network or the address is not what it should be.
    pub async fn play(self) -> Result<()> {
        server::serve(&self.listen, &self.identity, &self.onnx, self.network).await
    }
}

/// Run inferences against servers of [`Serve`].
#[derive(Debug, Args)]
pub struct Client {
    /// The device's folder.
    #[arg(long)]
    dir: PathBuf,
    /// Model in the folder.
    #[arg(long)]
    model: String,
    /// Addresses.
    #[arg(long)]
    server: Vec<String>,
    /// Preset of the transport.
    #[arg(long, value_parser = limits)]
    network: TransportLimits,
    /// Bytes of an element.
    #[arg(long)]
    width: usize,
    /// The whole input at once.
    #[arg(long)]
    whole: bool,
    /// Inferences measured.
    #[arg(long)]
    runs: usize,
    /// Inferences before those.
    #[arg(long)]
    warmup: usize,
}

impl Client {
    /// Runs the inferences and prints what was measured, JSON.
    ///
    /// # Errors
    /// When the folder or a server is not what it should be.
    pub async fn play(self) -> Result<()> {
        let Self { dir, model, server, network, width, whole, runs, warmup } = self;
        let scheme = Scheme { whole, width };
        let request = Request { dir: &dir, model: &model, servers: &server, scheme, limits: network, warmup, runs };
        println!("{}", serde_json::to_string(&client::measure(&request).await?)?);
        Ok(())
    }
}

/// The limits of a preset: lan, wifi or wan.
///
/// # Errors
/// When there is none of that name.
pub fn limits(preset: &str) -> Result<TransportLimits, String> {
    match preset {
        "lan" => Ok(TransportLimits::lan()),
        "wifi" => Ok(TransportLimits::wifi()),
        "wan" => Ok(TransportLimits::wan()),
        other => Err(format!("'{other}' is none of lan, wifi, wan")),
    }
}
