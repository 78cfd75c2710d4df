//! The server: answers rounds or whole networks in f32.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use twinmask_transport::{Connection, Identity, RecvHalf, SendHalf, Server, TransportLimits};

use super::network::FloatNetwork;
use super::protocol::{Kind, read_elements, read_head, write};
use super::sgemm::Scratch;

/// Serves the ONNX file `onnx` at `listen` with an edge's identity from the folder `identity`; prints
/// `listening on ADDR` when ready. Returns only on failure.
///
/// # Errors
/// When the file, the identity or the address cannot be used.
pub async fn serve(listen: &str, identity: &Path, onnx: &Path, limits: TransportLimits) -> Result<()> {
    let network = Arc::new(FloatNetwork::load(onnx)?);
    let mut server = Server::bind(listen, Identity::load(identity)?, limits.serving()).await?;
    println!("listening on {}", server.local_addr()?);
    std::io::stdout().flush()?;
    while let Some(client) = server.accept().await {
        match client {
            Ok(connection) => drop(tokio::spawn(session(connection, Arc::clone(&network)))),
            Err(e) => eprintln!("baseline: {e}"),
        }
    }
    bail!("the server is closed")
}

async fn session(connection: Connection, network: Arc<FloatNetwork>) {
    // One inference per stream, one after the other.
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let done = inference(&mut send, &mut recv, &network).await;
        if connection.close_reason().is_some() {
            return;
        }
        if let Err(e) = done {
            eprintln!("baseline: {e:#}");
            return connection.close(1, "refused");
        }
    }
}

async fn inference(send: &mut SendHalf, recv: &mut RecvHalf, network: &FloatNetwork) -> Result<()> {
    let mut scratch = Scratch::default();
    let mut values = network.rounds.values();
    while let Some(head) = read_head(recv).await? {
        let answer = match head.kind {
            Kind::Round => {
                let rounds = network.rounds.plan().rounds().len();
                let r = Some(head.round)
                    .filter(|r| r.index() < rounds)
                    .ok_or_else(|| anyhow!("no round {}", head.round))?;
                let inputs = read_elements(recv, &head, network.rounds.lens(r).0).await?;
                tokio::task::block_in_place(|| network.round(r, &inputs, &mut scratch))
            }
            Kind::Whole => {
                let input = read_elements(recv, &head, network.rounds.input_len()).await?;
                tokio::task::block_in_place(|| network.infer(&mut values, &input, &mut scratch))?
            }
        };
        write(send, head.kind, head.width, head.round, &[&answer]).await?;
    }
    send.finish().context("finishing a stream")
}
