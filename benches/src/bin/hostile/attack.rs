//! What a known device that means harm does, in a process of its own that only gets the processor time that nobody
//! else wants: on its own machine it would cost nobody any.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use twinmask_codec::{Counter, RoundId, packed_parts_len};
use twinmask_device::Model;
use twinmask_device::engine::DeviceDir;
use twinmask_testkit::pester;
use twinmask_transport::frame_io::write_frame;
use twinmask_transport::{Client, Connection, Identity, RecvHalf, Role, SendHalf, TransportLimits};
use twinmask_wire::message::{Claim, Infer, Open, Prf, Round, Secret};
use twinmask_wire::{Codec, CodecChoice, FrameType, frame};

/// Connections of a hostile device to one edge at a time: as many as may be in their handshake.
const AT_A_TIME: usize = 6;
/// Sessions that it holds at each edge, and inferences in each.
const SESSIONS: usize = 8;
const INFERENCES: u64 = 8;
/// Time that an edge gets to end a connection for what came over it.
const MOMENT: Duration = Duration::from_millis(25);
/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// One kind of harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Malformed frames, in sessions and before them, a connection for each.
    Frames,
    /// All inferences of all sessions send all but the last byte of their largest round, and stay.
    Hold,
    /// Whole rounds are sent, and no answer is ever read.
    Deaf,
    /// Counters at the end of their range, and inferences that are begun only to be given up, as fast as it goes.
    Counters,
    /// Nothing but new sessions.
    Sessions,
}

/// The attacker's command line.
#[derive(Args)]
pub(crate) struct Attack {
    /// What to do; the other arguments are for the process that does it.
    #[arg(long)]
    pub(crate) attack: Option<Kind>,
    /// Folder of the device that attacks.
    #[arg(long)]
    device: Option<PathBuf>,
    /// Addresses of edge A and edge B.
    #[arg(long, num_args = 2)]
    edges: Vec<String>,
    /// Connections to each edge after which it ends; by default never.
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
}

/// One edge, as an attacker sees it.
struct Target {
    address: String,
    role: Role,
    identity: Identity,
    model: Arc<Model>,
    begun: AtomicU64,
}

/// Attacks both edges at once, to the end.
pub(crate) async fn run(attack: &Attack, kind: Kind) -> Result<()> {
    let device = attack.device.as_deref().context("--device")?;
    let bundle = DeviceDir::open(device)?.load(None)?;
    let model = Arc::new(Model::new(bundle, "none".parse()?)?);
    let identity = Identity::load(&device.join("identity"))?;
    let mut running = JoinSet::new();
    for (address, role) in attack.edges.iter().zip([Role::EdgeA, Role::EdgeB]) {
        let (address, identity, model) = (address.clone(), identity.clone(), Arc::clone(&model));
        let target = Arc::new(Target { address, role, identity, model, begun: AtomicU64::new(0) });
        for _ in 0..if matches!(kind, Kind::Frames | Kind::Sessions) { AT_A_TIME } else { SESSIONS } {
            running.spawn(again_and_again(Arc::clone(&target), kind, attack.count));
        }
    }
    running.join_all().await;
    Ok(())
}

async fn again_and_again(target: Arc<Target>, kind: Kind, count: u64) {
    loop {
        let i = target.begun.fetch_add(1, Relaxed);
        if i >= count {
            return;
        }
        match target.connect().await {
            Some(connection) => target.harm(&connection, kind, i).await,
            None => sleep(Duration::from_millis(20)).await, // it counts, and says nothing
        }
    }
}

impl Target {
    async fn connect(&self) -> Option<Connection> {
        let limits = TransportLimits { socket_buffer: 256 * 1024, ..TransportLimits::lan() };
        Client::connect(&self.address, &self.role, &self.identity, &limits, PATIENCE).await.ok()
    }

    async fn harm(&self, connection: &Connection, kind: Kind, i: u64) {
        if kind == Kind::Frames {
            return pester(connection, i, i % 2 == 1, self.model.bundle().digest, MOMENT).await;
        }
        let Some(mut control) = self.open(connection).await else { return };
        match kind {
            Kind::Frames => {}
            Kind::Sessions => drop(timeout(Duration::from_millis(20), connection.closed()).await),
            Kind::Counters => self.counters(connection, &mut control.0).await,
            Kind::Hold | Kind::Deaf => {
                let mut streams = Vec::new();
                for counter in 0..INFERENCES {
                    streams.push(self.begin(connection, &mut control.0, counter, kind == Kind::Deaf).await);
                }
                connection.closed().await;
            }
        }
        connection.close(0, "");
    }

    /// A session in mode `split`.
    async fn open(&self, connection: &Connection) -> Option<(SendHalf, RecvHalf)> {
        let seed = (self.role == Role::EdgeA).then_some(Secret([7; 32]));
        let (digest, prfs) = (self.model.bundle().digest, vec![Prf::ChaCha20]);
        let open = Open { session: [9; 16], digest, seed, prfs, codec: CodecChoice::Packed, ticket: None };
        let (mut send, recv) = connection.open_bi().await.ok()?;
        send.write_all(&frame::encode(FrameType::Open, &open)).await.ok()?;
        Some((send, recv))
    }

    /// An inference whose first rounds are sent: all of each, or all but the last byte of the largest.
    async fn begin(
        &self,
        connection: &Connection,
        control: &mut SendHalf,
        counter: u64,
        whole: bool,
    ) -> Option<(SendHalf, RecvHalf)> {
        let counter = Counter::new(counter);
        let mut claim = frame::encode(FrameType::Claim, &Claim { counter });
        if self.role == Role::EdgeB {
            claim.clear();
        }
        control.write_all(&claim).await.ok()?;
        let (mut send, recv) = timeout(PATIENCE, connection.open_bi()).await.ok()?.ok()?;
        let infer = Infer { counter, exact: true, relay: false };
        send.write_all(&frame::encode(FrameType::Infer, &infer)).await.ok()?;
        if self.role == Role::EdgeB {
            let (round, plan) = (Round { round: RoundId::new(0) }, self.model.plan());
            let mut all = Vec::new();
            for stripe in (0..plan.stripes(round.round)).map(|j| plan.upload_stripe(round.round, j)) {
                let bytes = vec![0; packed_parts_len(&stripe)];
                let _ = write_frame(&mut all, FrameType::Round, &round, Codec::Packed, &bytes).await;
            }
            all.truncate(all.len() - usize::from(!whole));
            timeout(PATIENCE, send.write_all(&all)).await.ok()?.ok()?;
        }
        Some((send, recv))
    }

    /// Inferences that are begun and given up, then one whose counter is as far off as any can be.
    async fn counters(&self, connection: &Connection, control: &mut SendHalf) {
        for counter in 0..200 {
            let Some((mut send, _recv)) = self.begin(connection, control, counter, false).await else { return };
            let _ = send.reset(0);
        }
        for far in [1 << 62, u64::MAX] {
            let _ = self.begin(connection, control, far, false).await;
        }
        let _ = timeout(Duration::from_millis(100), connection.closed()).await;
    }
}
