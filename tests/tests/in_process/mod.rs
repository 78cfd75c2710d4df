//! A deployment, both edges and a device in this process; every frame between them passes a wire of the test's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use twinmask_device::engine::{Session, SessionOptions};
use twinmask_device::{DeviceError, Model};
use twinmask_edge::{Config, Edge, Role};
use twinmask_kernels::Kernel;
use twinmask_masking::Integrity;
use twinmask_testkit::wire::{Tap, tapped};
use twinmask_tests::{Deployment, networks};
use twinmask_transport::frame_io::Frame;
use twinmask_transport::{Connection, Identity, Role as Certified, memory_pair, memory_pair_as};
use twinmask_wire::frame::FrameHeader;
use twinmask_wire::{CodecChoice, FrameType};

/// A frame that has come to a wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Whether the device sent it.
    pub(crate) up: bool,
    /// What it carries.
    pub(crate) kind: FrameType,
    /// Bytes of its body.
    pub(crate) body: usize,
    /// Bytes of its payload.
    pub(crate) payload: usize,
}

/// The same with all of its bytes.
#[allow(dead_code, reason = "each test file uses its part of this module")]
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What it is.
    pub(crate) passed: Passed,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// Its payload.
    pub(crate) payload: Vec<u8>,
}

/// A wire between two of the three: writes down every frame, and loses those of one kind.
#[derive(Default)]
pub(crate) struct Wire {
    /// Frames in the order in which they came, each direction's.
    seen: Mutex<Vec<Seen>>,
    loses: Option<FrameType>,
    /// Frames that it still carries, if it is to die.
    left: Option<Mutex<usize>>,
}

impl Wire {
    /// A wire that loses every frame of this kind.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) fn losing(kind: FrameType) -> Wire {
        Wire { loses: Some(kind), ..Wire::default() }
    }

    /// A wire that is dead after `frames` of them, in whichever direction.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) fn dying(frames: usize) -> Wire {
        Wire { left: Some(Mutex::new(frames)), ..Wire::default() }
    }

    /// Whether it carries one more frame.
    fn lives(&self) -> bool {
        let Some(left) = &self.left else { return true };
        let mut left = left.lock().expect("no panic under the lock");
        let lives = *left > 0;
        *left = left.saturating_sub(1);
        lives
    }

    /// Frames that came since the last call.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) fn take(&self) -> Vec<Passed> {
        self.take_whole().into_iter().map(|seen| seen.passed).collect()
    }

    /// The same with all their bytes.
    pub(crate) fn take_whole(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("no panic under the lock"))
    }

    /// The near end of a connection over this wire to `edge`, whose far end is the other of the pair.
    fn connect(self: &Arc<Self>, edge: Arc<Edge>, (ours, edges): (Connection, Connection)) -> Connection {
        tokio::spawn(edge.serve(edges));
        tapped(ours, Arc::clone(self))
    }
}

impl Tap for Wire {
    fn pass(&self, up: bool, frame: Frame) -> bool {
        if !self.lives() {
            return false;
        }
        let FrameHeader { kind, body_len, payload_len, .. } = frame.header;
        let passed = Passed { up, kind, body: body_len, payload: payload_len };
        let seen = Seen { passed, body: frame.body.to_vec(), payload: frame.payload };
        self.seen.lock().expect("no panic under the lock").push(seen);
        self.loses != Some(kind)
    }
}

/// What the owner has issued: one model to one device.
pub(crate) struct InProcess(Deployment);

/// Name of the model.
const MODEL: &str = "network";

impl InProcess {
    /// Imports `onnx` and issues it.
    pub(crate) fn new(onnx: &[u8]) -> InProcess {
        let deployment = Deployment::new();
        let file = networks::save(onnx, &deployment.scratch("network.onnx"));
        deployment.add(MODEL, &["--onnx", &file]);
        InProcess(deployment)
    }

    fn edge(&self, name: &str, role: Role, kernel: Arc<dyn Kernel>) -> Arc<Edge> {
        let mut config = Config::new(self.0.path(name), role);
        // Nothing is computed ahead of time, so that what is counted belongs to the inferences of the test.
        config.limits.ahead_total = 0;
        Edge::load(&config, role, kernel).expect("the edge's folder")
    }

    /// The device's network with the default checks.
    pub(crate) fn network(&self) -> Arc<Model> {
        Arc::new(Model::new(self.0.bundle(MODEL), Integrity::default()).expect("fits"))
    }

    /// A session over `wires` to edges A and B that compute with `kernels`; waits for answers as long as `timeout`.
    pub(crate) async fn session(
        &self,
        network: &Arc<Model>,
        wires: [&Arc<Wire>; 2],
        [kernel_a, kernel_b]: [Arc<dyn Kernel>; 2],
        timeout: Duration,
    ) -> Result<Session, DeviceError> {
        let edges = (self.edge("edge-a", Role::A, kernel_a), self.edge("edge-b", Role::B, kernel_b));
        self.session_with(network, wires, edges, Self::options(timeout)).await
    }

    /// A session in mode `relay`; the last of `wires` is between the edges.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) async fn relayed(
        &self,
        network: &Arc<Model>,
        [wire_a, wire_b, between]: [&Arc<Wire>; 3],
        timeout: Duration,
    ) -> Result<Session, DeviceError> {
        let edge = |name, role| {
            let config = Config::new(self.0.path(name), role);
            Edge::load(&config, role, twinmask_kernels::default_kernel()).expect("the edge's folder")
        };
        let (a, b) = (edge("edge-a", Role::A), edge("edge-b", Role::B));
        let link = between.connect(Arc::clone(&b), memory_pair(Certified::EdgeA, Certified::EdgeB));
        let at_a = Arc::clone(&a);
        tokio::spawn(async move { at_a.connected(&link).await });
        tokio::task::yield_now().await;
        let options = SessionOptions { relay: true, ..Self::options(timeout) };
        self.session_with(network, [wire_a, wire_b], (a, b), options).await
    }

    /// Mode `split`, packed; answers may take `timeout`.
    pub(crate) fn options(timeout: Duration) -> SessionOptions {
        SessionOptions { codec: CodecChoice::Packed, timeout, ..SessionOptions::default() }
    }

    /// A file or folder of the deployment.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) fn path(&self, of: &str) -> std::path::PathBuf {
        self.0.path(of)
    }

    /// A session with these edges.
    pub(crate) async fn session_with(
        &self,
        network: &Arc<Model>,
        wires: [&Arc<Wire>; 2],
        edges: (Arc<Edge>, Arc<Edge>),
        options: SessionOptions,
    ) -> Result<Session, DeviceError> {
        let identity = self.0.identity();
        let a = wires[0].connect(edges.0, memory_pair_as(&identity, Certified::EdgeA));
        let b = wires[1].connect(edges.1, memory_pair_as(&identity, Certified::EdgeB));
        Session::over(Arc::clone(network), identity.mask_key()?, a, b, options).await
    }

    /// Who the device is.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) fn identity(&self) -> Identity {
        self.0.identity()
    }
}
