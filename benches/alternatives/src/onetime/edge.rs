//! The one edge: computes integer layers on what it gets, which is uniform.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use twinmask_codec::RoundId;
use twinmask_kernels::Scratch;
use twinmask_transport::{Connection, Identity, RecvHalf, SendHalf, Server, TransportLimits};

use super::owner::Owner;
use super::protocol::{pack_parts, read, unpack_parts, write};

/// What an edge does with its answers: nothing if it is honest.
pub type Tamper = fn(&mut [Vec<u32>]);

/// An edge with one model.
pub struct Edge {
    model: String,
    network: Owner,
    tamper: Option<Tamper>,
}

impl Edge {
    /// Serves the newest version of `model` in the edge's folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(dir: &Path, model: &str) -> Result<Self> {
        Ok(Self { model: model.to_owned(), network: Owner::load(dir, model)?, tamper: None })
    }

    /// The same, but every answer is changed by `tamper` before it is sent.
    #[must_use]
    pub fn lying(mut self, tamper: Tamper) -> Self {
        self.tamper = Some(tamper);
        self
    }

    /// Answers whoever has connected, until it goes.
    pub async fn session(self: Arc<Self>, connection: Connection) {
        if !connection.peer().may_use(&self.model) {
            return connection.close(1, "this certificate does not name the model");
        }
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let done = self.inferences(&mut send, &mut recv).await;
            if connection.close_reason().is_some() {
                return;
            }
            if let Err(e) = done {
                eprintln!("one-time edge: {e:#}");
                return connection.close(1, "refused");
            }
        }
    }

    async fn inferences(&self, send: &mut SendHalf, recv: &mut RecvHalf) -> Result<()> {
        let mut scratch = Scratch::default();
        loop {
            for r in self.network.plan.round_ids() {
                let Some(payload) = read(recv, r, &self.network.plan.upload_parts(r)).await? else {
                    return if r.index() == 0 { Ok(send.finish()?) } else { bail!("gone in round {r}") };
                };
                let answer = tokio::task::block_in_place(|| self.answer(r, &payload, &mut scratch))?;
                write(send, r, &answer).await?;
            }
        }
    }

    fn answer(&self, r: RoundId, payload: &[u8], scratch: &mut Scratch) -> Result<Vec<u8>> {
        let plan = &self.network.plan;
        let shares = unpack_parts(payload, &plan.upload_parts(r))?;
        let groups = plan.round(r).iter().zip(&shares);
        let mut answers: Vec<_> = groups.flat_map(|(g, share)| self.network.apply(g.index(), share, scratch)).collect();
        if let Some(tamper) = self.tamper {
            tamper(&mut answers);
        }
        Ok(pack_parts(&answers, &plan.answer_parts(r)))
    }
}

/// Binds `listen` with the identity in the edge's folder `dir`.
///
/// # Errors
/// When folder, identity or address cannot be used.
pub async fn bind(listen: &str, dir: &Path, limits: TransportLimits) -> Result<Server> {
    Ok(Server::bind(listen, Identity::load(&dir.join("identity"))?, limits.serving()).await?)
}

/// Serves whoever connects. Returns only when the server is closed.
pub async fn accept(mut server: Server, edge: Arc<Edge>) {
    while let Some(client) = server.accept().await {
        match client {
            Ok(connection) => drop(tokio::spawn(Arc::clone(&edge).session(connection))),
            Err(e) => eprintln!("one-time edge: {e}"),
        }
    }
}

/// Serves `model` from the edge's folder `dir` at `listen`; prints `listening on ADDR` when ready. Returns only on
/// failure.
///
/// # Errors
/// When folder, identity or address cannot be used.
pub async fn serve(listen: &str, dir: &Path, model: &str, limits: TransportLimits) -> Result<()> {
    let edge = Arc::new(Edge::load(dir, model)?);
    let server = bind(listen, dir, limits).await?;
    println!("listening on {}", server.local_addr()?);
    std::io::stdout().flush()?;
    accept(server, edge).await;
    bail!("the server is closed")
}
