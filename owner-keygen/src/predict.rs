//! Predicted times, and the rule of `--offload auto` (ARCHITECTURE.md): offload a layer if
//! `MACs / device rate > (uploads + downloads) * (cost per element + bytes / bandwidth) + RTT if it adds a round`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twinmask_layer::Geometry;
use twinmask_model::graph::{Graph, ValueId};

/// What the device can do, as `device doctor --calibrate` measures it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceProfile {
    /// Multiply-accumulates per second in plain f32 convolutions.
    pub macs_per_s: f64,
    /// Time to mask, send, receive and unmask one element, network aside, in nanoseconds.
    pub ns_per_element: f64,
}

impl Default for DeviceProfile {
    /// A Raspberry-Pi-class core: 2 GMAC/s, 40 ns per element.
    fn default() -> Self {
        Self { macs_per_s: 2e9, ns_per_element: 40.0 }
    }
}

/// The device's network link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Rate in each direction, Mbit/s.
    pub mbit_s: f64,
    /// Round trip, ms.
    pub rtt_ms: f64,
}

impl Default for Link {
    /// The paper's Wi-Fi: 40 Mbit/s, 5 ms.
    fn default() -> Self {
        Self { mbit_s: 40.0, rtt_ms: 5.0 }
    }
}

/// A text that names no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no link: give MBIT,RTT_MS such as 40,5")]
pub struct LinkError(String);

impl std::str::FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let number = |s: &str| s.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0);
        let parts = text.split_once(',').and_then(|(rate, rtt)| Some((number(rate)?, number(rtt)?)));
        let (mbit_s, rtt_ms) = parts.ok_or_else(|| LinkError(text.into()))?;
        Ok(Self { mbit_s, rtt_ms })
    }
}

/// Device and link together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// The device.
    pub device: DeviceProfile,
    /// Its link.
    pub link: Link,
}

impl Costs {
    /// Time of a layer on the device, ms.
    #[must_use]
    pub fn local_ms(&self, macs: u64) -> f64 {
        macs as f64 / self.device.macs_per_s * 1e3
    }

    /// Time to exchange `up` and `down` elements of `k` bits in mode `split` (answers come from both edges), without
    /// the round trip, ms.
    #[must_use]
    pub fn exchange_ms(&self, up: u64, down: u64, k: u32) -> f64 {
        let handled = (up + 2 * down) as f64 * self.device.ns_per_element * 1e-6;
        let bits = (up + 2 * down) as f64 * f64::from(k);
        handled + bits / (self.link.mbit_s * 1e6) * 1e3
    }

    /// Narrows `candidates` (node index -> geometry) to those that pay, groups of siblings as a whole. Layers are taken
    /// out one group at a time, the worst first, since each changes who shares a round.
    pub fn choose(&self, graph: &Graph, candidates: &mut BTreeMap<usize, Geometry>, k: u32) {
        loop {
            let worst = self.losses(graph, candidates, k).into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
            match worst {
                Some((input, loss)) if loss > 0.0 => candidates.retain(|&i, _| graph.nodes[i].inputs[0] != input),
                _ => return,
            }
        }
    }

    /// What offloading each group loses against computing it locally, ms; negative where it gains.
    fn losses(&self, graph: &Graph, candidates: &BTreeMap<usize, Geometry>, k: u32) -> BTreeMap<ValueId, f64> {
        let mut groups: BTreeMap<ValueId, (u64, u64, u64)> = BTreeMap::new();
        for (&i, g) in candidates {
            let (up, down, macs) = groups.entry(graph.nodes[i].inputs[0]).or_default();
            *up = g.in_len() as u64;
            *down += g.out_len() as u64;
            *macs += g.macs();
        }
        let depth = depths(graph, candidates);
        let mut alone: BTreeMap<u32, usize> = BTreeMap::new();
        groups.keys().for_each(|&input| *alone.entry(depth[input as usize]).or_default() += 1);
        let loss = |(&input, &(up, down, macs)): (&ValueId, &(u64, u64, u64))| {
            let rtt = if alone[&depth[input as usize]] == 1 { self.link.rtt_ms } else { 0.0 };
            (input, self.exchange_ms(up, down, k) + rtt - self.local_ms(macs))
        };
        groups.iter().map(loss).collect()
    }
}

/// Rounds before each value if exactly the candidates were offloaded.
fn depths(graph: &Graph, candidates: &BTreeMap<usize, Geometry>) -> Vec<u32> {
    let mut depth = vec![0; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let input = node.inputs.iter().map(|&x| depth[x as usize]).max().unwrap_or(0);
        depth[node.output as usize] = input + u32::from(candidates.contains_key(&i));
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_layer::Conv;
    use twinmask_model::graph::{Element, Port};
    use twinmask_model::ops::{self, Window};

    /// A heavy convolution behind a light one.
    fn network() -> (Graph, BTreeMap<usize, Geometry>) {
        let mut g = Graph::default();
        let mut at = g.add_input("x", vec![1, 8, 56, 56], Element::F32);
        let mut candidates = BTreeMap::new();
        for (i, kernel) in [1u32, 7].into_iter().enumerate() {
            let w =
                g.add_constant(format!("w{i}"), vec![8, 8, kernel, kernel], vec![0.1; (64 * kernel * kernel) as usize]);
            let pad = [kernel / 2; 4];
            let window = Window { kernel: [kernel; 2], stride: [1; 2], pad, dilation: [1; 2] };
            at = g
                .add_node(format!("conv{i}"), ops::Conv { window, groups: 1 }, vec![at, w], format!("y{i}"))
                .expect("fits");
            let conv = Conv::square([8, 8], 56, kernel, 1, kernel / 2);
            candidates.insert(i, Geometry::Conv(conv));
        }
        g.outputs = vec![Port::f32(at)];
        (g, candidates)
    }

    fn kept(macs_per_s: f64, mbit_s: f64) -> Vec<usize> {
        let (graph, mut candidates) = network();
        let costs =
            Costs { device: DeviceProfile { macs_per_s, ns_per_element: 10.0 }, link: Link { mbit_s, rtt_ms: 1.0 } };
        costs.choose(&graph, &mut candidates, 28);
        candidates.into_keys().collect()
    }

    #[test]
    fn only_layers_that_pay_leave_the_device() {
        assert_eq!(kept(1e6, 1000.0), [0, 1], "a very slow device sends everything");
        assert_eq!(kept(2e8, 1000.0), [1], "the light layer stays");
        assert!(kept(1e12, 1000.0).is_empty(), "a fast device keeps everything");
        assert!(kept(2e8, 1.0).is_empty(), "a slow link too");
    }

    #[test]
    fn links_parse() {
        assert_eq!("40,5".parse::<Link>(), Ok(Link::default()));
        for bad in ["40", "40,", "0,5", "a,b", "40,-1", "inf,1"] {
            assert!(bad.parse::<Link>().is_err(), "{bad}");
        }
    }
}
