//! Predicted times of layers on a device, and of rounds on its link (docs/theory.md, "What `auto` decides").

use serde::{Deserialize, Serialize};
use twinmask_layer::Geometry;

/// What the device can do, as `device doctor --calibrate` measures it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceProfile {
    /// Multiply-accumulates per second in f32 convolutions.
    pub macs_per_s: f64,
    /// Bytes of f32 weights that a fully connected layer takes from memory per second.
    pub weight_bytes_per_s: f64,
    /// Processor time to scale, mask, send, receive, unmask and check one element, in nanoseconds.
    pub ns_per_element: f64,
    /// Processor time of a round whatever its size, in microseconds.
    pub us_per_round: f64,
    /// How many edges answer: 2 in mode `split`, 1 in `relay`.
    pub answers: u32,
}

impl Default for DeviceProfile {
    /// A Raspberry-Pi-class core: 2 GMAC/s, 1 GB/s of weights, 40 ns per element, 0.2 ms per round; mode `split`.
    fn default() -> Self {
        Self { macs_per_s: 2e9, weight_bytes_per_s: 1e9, ns_per_element: 40.0, us_per_round: 200.0, answers: 2 }
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

/// Multiply-accumulates per second of one thread of an edge.
const EDGE_MACS_PER_S: f64 = 60e9;
/// Bytes of weights that it takes from memory per second; weights of 8 bits.
const EDGE_WEIGHT_BYTES_PER_S: f64 = 8e9;

/// Device and link together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// The device.
    pub device: DeviceProfile,
    /// Its link.
    pub link: Link,
}

impl Costs {
    /// Time of a layer on the device, ms: its multiply-accumulates, or its weights' way from memory.
    #[must_use]
    pub fn local_ms(&self, layer: &Geometry) -> f64 {
        let device = &self.device;
        slower(layer, device.macs_per_s, device.weight_bytes_per_s / size_of::<f32>() as f64)
    }

    /// Time of a round for its round trip and what the device does however little is sent, ms.
    #[must_use]
    pub fn round_ms(&self) -> f64 {
        self.link.rtt_ms + self.device.us_per_round * 1e-3
    }

    /// Time to send `up` elements of `k` bits, ms: the device's or the link's, which work side by side.
    #[must_use]
    pub fn up_ms(&self, up: u64, k: u32) -> f64 {
        let bits = up as f64 * f64::from(k);
        (up as f64 * self.device.ns_per_element * 1e-6).max(bits / self.link.mbit_s * 1e-3)
    }

    /// Time until an outsourced layer is answered, apart from its upload and its round, ms.
    #[must_use]
    pub fn answer_ms(&self, layer: &Geometry, k: u32) -> f64 {
        let down = layer.out_len() as u64 * u64::from(self.device.answers);
        slower(layer, EDGE_MACS_PER_S, EDGE_WEIGHT_BYTES_PER_S) + self.up_ms(down, k)
    }
}

/// The longer of computing a layer and of fetching its weights, ms.
fn slower(layer: &Geometry, macs_per_s: f64, weights_per_s: f64) -> f64 {
    1e3 * (layer.macs() as f64 / macs_per_s).max(layer.weight_len() as f64 / weights_per_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinmask_layer::{Conv, Fc};

    #[test]
    fn the_slower_part_counts() {
        let device = DeviceProfile {
            macs_per_s: 1e9,
            weight_bytes_per_s: 4e8,
            ns_per_element: 100.0,
            us_per_round: 500.0,
            answers: 2,
        };
        let costs = |mbit_s| Costs { device, link: Link { mbit_s, rtt_ms: 3.0 } };
        let fc = Geometry::Fc(Fc { rows: 1, inputs: 1000, outputs: 1000 });
        assert_eq!(costs(1.0).local_ms(&fc), 10.0, "10^6 weights at 10^8 a second");
        let conv = Geometry::Conv(Conv::square([10, 10], 100, 1, 1, 0));
        assert_eq!(costs(1.0).local_ms(&conv), 1.0, "10^6 products at 10^9 a second");
        assert_eq!(costs(1.0).round_ms(), 3.5);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(costs(1.0).up_ms(1000, 20), 20.0), "the link's");
        assert!(near(costs(1e6).up_ms(1000, 20), 0.1), "the device's");
        assert!(near(costs(1e6).answer_ms(&fc, 20), 0.125 + 0.2), "10^6 weights at the edge, 2,000 elements down");
    }

    #[test]
    fn links_parse() {
        assert_eq!("40,5".parse::<Link>(), Ok(Link::default()));
        for bad in ["40", "40,", "0,5", "a,b", "40,-1", "inf,1"] {
            assert!(bad.parse::<Link>().is_err(), "{bad}");
        }
    }
}
