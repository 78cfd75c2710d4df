//! Network namespaces `device`, `air`, `a` and `b`. The device has one interface, whose two ends are shaped by `tbf`
//! (the device's radio is the bottleneck); in `air` the delay relay stands between it and each edge; the edges are
//! joined by a link of their own that is not shaped.
//!
//! Everything is made by `ip` and `tc` from iproute2 and removed when the [`Topology`] is dropped.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Link;

/// Packets that wait before each end of the device's link: Linux's usual `txqueuelen`.
const QUEUE_PACKETS: u64 = 1000;
/// Ethernet frame of a full packet, bytes.
const FRAME: u64 = 1514;
/// Burst of the token bucket: two full frames, or what the link carries in this time, µs. A larger one would let the
/// first bytes of every round through for free.
const BURST_US: f64 = 100.0;

/// Where a process of the benchmark runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The device.
    Device,
    /// Between device and edges.
    Air,
    /// Edge A.
    A,
    /// Edge B.
    B,
}

/// Address of `air` as the device sees it: all that the device talks to.
pub const AIR: &str = "10.91.0.1";
/// Address of edge A towards the air.
pub const EDGE_A: &str = "10.91.1.2";
/// Address of edge B towards the air.
pub const EDGE_B: &str = "10.91.2.2";
/// Address of edge B towards edge A.
pub const EDGE_B_PEER: &str = "10.91.3.2";

/// Virtual wires: (place, interface, address) at both ends.
const WIRES: [[(Place, &str, &str); 2]; 4] = [
    [(Place::Device, "radio", "10.91.0.2"), (Place::Air, "radio", AIR)],
    [(Place::A, "air", EDGE_A), (Place::Air, "edge-a", "10.91.1.1")],
    [(Place::B, "air", EDGE_B), (Place::Air, "edge-b", "10.91.2.1")],
    [(Place::A, "peer", "10.91.3.1"), (Place::B, "peer", EDGE_B_PEER)],
];

/// The namespaces of one benchmark; removed when dropped, whatever happened.
pub struct Topology {
    prefix: String,
}

impl Topology {
    /// Why namespaces cannot be made here, or `None`.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("skipped: network namespaces need root".to_owned());
        }
        for tool in [["ip", "-V"], ["tc", "-V"]] {
            if run(&tool).is_err() {
                return Some(format!("skipped: {} is not there (Debian package iproute2)", tool[0]));
            }
        }
        None
    }

    /// Makes namespaces and wires, not shaped yet.
    ///
    /// # Errors
    /// What `ip` says. Whatever was made so far is removed again.
    pub fn new() -> Result<Self> {
        let topology = Self { prefix: format!("twinmask{}", std::process::id()) };
        for place in [Place::Device, Place::Air, Place::A, Place::B] {
            let name = topology.namespace(place);
            run(&["ip", "netns", "add", &name])?;
            run(&["ip", "-n", &name, "link", "set", "lo", "up"])?;
        }
        for [(p, i, address), (q, j, other)] in WIRES {
            let (from, to) = (topology.namespace(p), topology.namespace(q));
            run(&["ip", "link", "add", i, "netns", &from, "type", "veth", "peer", "name", j, "netns", &to])?;
            for (namespace, interface, address) in [(&from, i, address), (&to, j, other)] {
                run(&["ip", "-n", namespace, "addr", "add", &format!("{address}/24"), "dev", interface])?;
                run(&["ip", "-n", namespace, "link", "set", interface, "up"])?;
            }
        }
        Ok(topology)
    }

    /// Shapes both ends of the device's link to the rate of `link`.
    ///
    /// # Errors
    /// What `tc` says.
    pub fn shape(&self, link: &Link) -> Result<()> {
        let rate = format!("{}kbit", (link.mbit * 1000.0).round());
        let burst = (link.mbit * BURST_US / 8.0).max(2.0 * FRAME as f64).round().to_string();
        let limit = (QUEUE_PACKETS * FRAME).to_string();
        for place in [Place::Device, Place::Air] {
            let name = self.namespace(place);
            let tbf = ["root", "tbf", "rate", &rate, "burst", &burst, "limit", &limit];
            run(&[&["tc", "-n", &name, "qdisc", "replace", "dev", "radio"], &tbf[..]].concat())?;
        }
        Ok(())
    }

    /// Packets that both ends of the device's link dropped since they were shaped.
    ///
    /// # Errors
    /// What `tc` says.
    pub fn dropped(&self) -> Result<u64> {
        let mut sum = 0;
        for place in [Place::Device, Place::Air] {
            let text = run(&["tc", "-n", &self.namespace(place), "-s", "qdisc", "show", "dev", "radio"])?;
            let count = text.split("(dropped ").nth(1).and_then(|t| t.split(',').next()?.parse::<u64>().ok());
            sum += count.unwrap_or(0);
        }
        Ok(sum)
    }

    /// Name of the namespace of `place`.
    #[must_use]
    pub fn namespace(&self, place: Place) -> String {
        format!("{}-{}", self.prefix, format!("{place:?}").to_lowercase())
    }

    /// The first words of a command that runs a program at `place`.
    #[must_use]
    pub fn enter(&self, place: Place) -> Vec<String> {
        ["ip", "netns", "exec"].map(str::to_owned).into_iter().chain([self.namespace(place)]).collect()
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for place in [Place::Device, Place::Air, Place::A, Place::B] {
            // One that was never made needs no removal.
            let _ = run(&["ip", "netns", "del", &self.namespace(place)]);
        }
    }
}

fn run(words: &[&str]) -> Result<String> {
    let out = Command::new(words[0]).args(&words[1..]).output().with_context(|| words.join(" "))?;
    if !out.status.success() {
        bail!("`{}`: {}", words.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
