//! A deployment, both edges and a device in this process; every frame between them passes a wire of the test's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use twinmask_device::engine::{Session, SessionOptions};
use twinmask_device::{DeviceError, Model};
use twinmask_edge::{Config, Edge, Role};
use twinmask_kernels::Kernel;
use twinmask_masking::Integrity;
use twinmask_testkit::wire::{Tap, tapped};
use twinmask_tests::{DEVICE, Deployment, networks};
use twinmask_transport::frame_io::Frame;
use twinmask_transport::{Connection, Role as Certified, memory_pair};
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

/// A wire between the device and one edge: writes down every frame, and loses those of one kind.
#[derive(Default)]
pub(crate) struct Wire {
    /// Frames in the order in which they came, each direction's.
    passed: Mutex<Vec<Passed>>,
    loses: Option<FrameType>,
}

impl Wire {
    /// A wire that loses every frame of this kind.
    #[allow(dead_code, reason = "each test file uses its part of this module")]
    pub(crate) fn losing(kind: FrameType) -> Wire {
        Wire { loses: Some(kind), ..Wire::default() }
    }

    /// Frames that came since the last call.
    pub(crate) fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut *self.passed.lock().expect("no panic under the lock"))
    }

    /// The device's end of a connection over this wire to `edge`.
    fn connect(self: &Arc<Self>, edge: Arc<Edge>, certified: Certified) -> Connection {
        let (ours, edges) = memory_pair(Certified::device(DEVICE).expect("a good name"), certified);
        tokio::spawn(edge.serve(edges));
        tapped(ours, Arc::clone(self))
    }
}

impl Tap for Wire {
    fn pass(&self, up: bool, frame: Frame) -> bool {
        let FrameHeader { kind, body_len, payload_len, .. } = frame.header;
        let passed = Passed { up, kind, body: body_len, payload: payload_len };
        self.passed.lock().expect("no panic under the lock").push(passed);
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
        let a = wires[0].connect(self.edge("edge-a", Role::A, kernel_a), Certified::EdgeA);
        let b = wires[1].connect(self.edge("edge-b", Role::B, kernel_b), Certified::EdgeB);
        let options = SessionOptions { codec: CodecChoice::Packed, timeout, ..SessionOptions::default() };
        Session::over(Arc::clone(network), a, b, options).await
    }
}
