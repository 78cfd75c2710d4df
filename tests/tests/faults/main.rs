//! What a hostile world does to edges and links: every fault ends in an error that names the edge, or is not noticed at
//! all, and the device goes on by itself when it is over. `--nocapture` shows how long that took.

mod clock;
mod kill;
mod load;
mod net;
mod resources;

use std::time::{Duration, Instant};

use twinmask_device::{Device, DeviceError, LinkError, Mode, Role, Tensor};
use twinmask_testkit::numbers;
use twinmask_tests::networks::{save, tower};
use twinmask_tests::{DEVICE, Deployment, Edge, until};

/// Layers of the network but for the last; a round each.
const LAYERS: usize = 9;
/// Time that a device may take to notice a fault, and after it to work again: twice what is promised, as machines that
/// run tests are busy.
const NOTICED: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(4);

/// An owner's deployment of one network, and what it makes of one input.
struct Scene {
    deployment: Deployment,
    expected: Vec<f32>,
}

fn input() -> Tensor {
    Tensor::new([1, 3, 8, 8], numbers("input", 192)).expect("fits")
}

/// Edges that are started again where they were.
struct Edges {
    a: Edge,
    b: Edge,
    relay: bool,
}

impl Scene {
    fn new() -> Scene {
        let deployment = Deployment::new();
        let file = save(&tower(LAYERS), &deployment.scratch("tower.onnx"));
        deployment.add("tower", &["--onnx", &file]);
        let local = Device::local(deployment.path("devices").join(DEVICE)).expect("all weights");
        let alone = tokio::runtime::Runtime::new().expect("a runtime").block_on(local.run(input())).expect("alone");
        Scene { deployment, expected: floats(&alone) }
    }

    fn edges(&self, mode: Mode) -> Edges {
        let b = self.deployment.edge("edge-b", &[]);
        let relay = mode == Mode::Relay;
        let peer = ["--peer", &b.address];
        let a = self.deployment.edge("edge-a", if relay { &peer } else { &[] });
        let edges = Edges { a, b, relay };
        edges.await_link();
        edges
    }

    /// Starts an edge of `edges` again that has ended, at its address.
    fn restart(&self, edges: &mut Edges, name: &str) {
        let old = if name == "edge-a" { &edges.a } else { &edges.b };
        let mut command = Edge::command_at(name, &self.deployment.path(name), &old.address);
        if name == "edge-a" && edges.relay {
            command.args(["--peer", &edges.b.address]);
        }
        let new = Edge::start(&mut command);
        *(if name == "edge-a" { &mut edges.a } else { &mut edges.b }) = new;
    }

    fn device(&self, edges: &Edges, mode: Mode) -> Device {
        let builder = Device::builder(self.deployment.path("devices").join(DEVICE)).mode(mode);
        builder.edges(&edges.a.address, &edges.b.address).build().expect("a device")
    }

    /// Whether this is what a device computes alone.
    #[track_caller]
    fn check(&self, done: &twinmask_device::Inference) {
        assert!(floats(done) == self.expected, "private and local results differ");
    }
}

impl Edges {
    fn await_link(&self) {
        if self.relay {
            until("the edges connected", || self.a.metric("twinmask_peer_connected") == 1.0);
        }
    }

    fn get(&self, name: &str) -> &Edge {
        if name == "edge-a" { &self.a } else { &self.b }
    }

    fn get_mut(&mut self, name: &str) -> &mut Edge {
        if name == "edge-a" { &mut self.a } else { &mut self.b }
    }
}

fn floats(done: &twinmask_device::Inference) -> Vec<f32> {
    done.outputs[0].tensor.to_f32()
}

/// The edge that an error names, and the round if there was one.
#[track_caller]
fn named(error: &DeviceError) -> (Role, Option<usize>) {
    let (DeviceError::Unreachable { edge, source } | DeviceError::Protocol { edge, source }) = error else {
        panic!("names no edge: {error}")
    };
    let round = if let LinkError::InRound { round, .. } = source { Some(round.index()) } else { None };
    (edge.clone(), round)
}

/// Runs inferences until one is right, and says how long that took.
async fn again(scene: &Scene, device: &Device) -> Duration {
    let begun = Instant::now();
    loop {
        match device.run(input()).await {
            Ok(done) => {
                scene.check(&done);
                return begun.elapsed();
            }
            Err(e) => assert!(begun.elapsed() < NOTICED, "still fails: {e}"),
        }
    }
}

/// What was measured, in a line for docs/measured.md.
fn report(fault: &str, times: &[(&str, &[Duration])]) {
    let said = times.iter().map(|(what, times)| {
        let mut sorted: Vec<u128> = times.iter().map(Duration::as_millis).collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        format!("{what} {median} ms (median), {} ms (most)", sorted.last().copied().unwrap_or_default())
    });
    println!("fault: {fault}: {}", said.collect::<Vec<_>>().join("; "));
}
