//! Shaped links: namespaces with a device, two edges and the air between them, processes inside, and what a link costs.

pub mod budget;
pub mod crossing;
pub mod deploy;
pub mod energy;
pub mod netns;
pub mod probe;
pub mod process;
pub mod quota;
pub mod relay;
pub mod rows;
pub mod targets;

/// A link between the device and the edges.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Link {
    /// Name on the command line.
    pub name: &'static str,
    /// Rate of the device's radio in each direction, Mbit/s.
    pub mbit: f64,
    /// Round trip between device and edge, ms.
    pub rtt_ms: f64,
    /// `--network` preset of device and edges.
    pub preset: &'static str,
}

/// The links of the benchmarks; the first is the paper's Wi-Fi.
pub const LINKS: [Link; 3] = [
    Link { name: "40m", mbit: 40.0, rtt_ms: 5.0, preset: "wifi" },
    Link { name: "100m", mbit: 100.0, rtt_ms: 2.0, preset: "wifi" },
    Link { name: "1g", mbit: 1000.0, rtt_ms: 0.5, preset: "lan" },
];

impl Link {
    /// Time that `bytes` (UDP payload) take on the air at the link's rate, s.
    #[must_use]
    pub fn airtime_s(&self, bytes: f64) -> f64 {
        bytes * 8.0 / (self.mbit * 1e6)
    }

    /// One line for headings.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} Mbit/s, {} ms round trip", self.mbit, self.rtt_ms)
    }
}
