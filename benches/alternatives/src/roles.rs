//! What this program does inside a network namespace when an experiment starts it there.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use twinmask_benches::baseline::role::{Client, Serve, limits};
use twinmask_transport::TransportLimits;

use crate::{onetime, payload};

/// Hidden commands; the first two are those that the link benchmark's [`Site`](twinmask_benches::net::deploy::Site)
/// asks for.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "options are named for what they are")]
pub enum Role {
    /// Serve a network in f32
    #[command(hide = true)]
    Serve(Serve),
    /// Run inferences against servers of `serve`
    #[command(hide = true)]
    Client(Client),
    /// Take payloads
    #[command(hide = true)]
    PayloadServe {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        identity: PathBuf,
        #[arg(long, value_parser = limits)]
        network: TransportLimits,
    },
    /// Send payloads
    #[command(hide = true)]
    PayloadClient {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        bytes: u32,
        #[arg(long)]
        runs: usize,
        #[arg(long)]
        server: String,
        #[arg(long, value_parser = limits)]
        network: TransportLimits,
    },
    /// Be the edge of the one-time keys
    #[command(hide = true)]
    OnetimeServe {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        model: String,
        #[arg(long, value_parser = limits)]
        network: TransportLimits,
    },
    /// Be the device of the one-time keys
    #[command(hide = true)]
    OnetimeClient {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        model: String,
        #[arg(long)]
        keys: PathBuf,
        #[arg(long)]
        server: String,
        #[arg(long, value_parser = limits)]
        network: TransportLimits,
        #[arg(long)]
        runs: usize,
        #[arg(long)]
        warmup: usize,
    },
}

/// Plays the role.
///
/// # Errors
/// When folders, addresses or peers are not what they should be.
pub fn play(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match role {
            Role::Serve(serve) => serve.play().await,
            Role::Client(client) => client.play().await,
            Role::PayloadServe { listen, identity, network } => payload::serve(&listen, &identity, network).await,
            Role::PayloadClient { dir, bytes, runs, server, network } => {
                let job = payload::Job { dir, bytes, runs, server, network };
                println!("{}", serde_json::to_string(&payload::measure(&job).await?)?);
                Ok(())
            }
            Role::OnetimeServe { listen, dir, model, network } => {
                onetime::edge::serve(&listen, &dir, &model, network).await
            }
            Role::OnetimeClient { dir, model, keys, server, network, runs, warmup } => {
                let job = onetime::measured::Job { dir, model, keys, server, network, runs, warmup };
                println!("{}", serde_json::to_string(&onetime::measured::measure(&job).await?)?);
                Ok(())
            }
        }
    })
}
