//! Estimated energy of the device per inference. Constants with their sources; nothing here is measured with a meter.

use serde::Serialize;

use super::Link;

/// One busy core of a Raspberry Pi 3 Model B above idle, W: (3.95 W with four cores busy - 1.22 W idle) / 4.
/// Source: F. Guerraz, "Raspberry Pi 3 model B power consumption", medium.com/@fguerraz, 2017.
pub const CORE_W: f64 = 0.68;
/// The board when idle, W (same source).
pub const IDLE_W: f64 = 1.22;
/// Wi-Fi radio while it sends at 802.11n MCS 7, W: (229 + 23.9) mA at 3.3 V.
/// Source: Microchip ATWILC3000A data sheet, table "Current Consumption in Various Device States".
pub const SEND_W: f64 = 0.83;
/// The same radio while it receives or listens, W: (60.5 + 23.6) mA at 3.3 V (same source).
pub const LISTEN_W: f64 = 0.28;
/// Speed of a Raspberry-Pi-class core relative to one core of the measuring machine: an assumption, stated in every
/// table that uses it; the benchmark `weak` varies it.
pub const PI_SPEED: f64 = 0.05;

/// The constants in one sentence, for results.
#[must_use]
pub fn statement() -> String {
    format!(
        "Energy is estimated, not metered: {CORE_W} W per busy core above {IDLE_W} W idle (Raspberry Pi 3 B: F. Guerraz, \
         medium.com/@fguerraz, 3.95 W with four cores busy), Wi-Fi radio {SEND_W} W while it sends and {LISTEN_W} W while it \
         receives or waits (Microchip ATWILC3000A data sheet, 802.11n MCS 7), air time = UDP bytes / link rate, radio off in \
         local runs. \"active\" is CPU and radio; \"board\" adds the idle power over the latency. The paper's own constants \
         are not in its abstract, and only its ratios (40.6x faster, 96.2 % less energy) are quoted."
    )
}

/// Joules per inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Energy {
    /// CPU and radio, J.
    pub active_j: f64,
    /// The same and the idle board over the latency, J.
    pub board_j: f64,
}

/// What an inference of `cpu_s` seconds of the measuring machine's CPU took in all, on a device of `speed` (1: that
/// machine). `latency_s` is that of the device itself. `radio`: its link and the UDP bytes sent, if it used one.
#[must_use]
pub fn estimate(latency_s: f64, cpu_s: f64, speed: f64, radio: Option<(&Link, f64)>) -> Energy {
    let cpu = CORE_W * cpu_s / speed;
    let radio = radio.map_or(0.0, |(link, up)| {
        let sending = link.airtime_s(up).min(latency_s);
        SEND_W * sending + LISTEN_W * (latency_s - sending)
    });
    Energy { active_j: cpu + radio, board_j: cpu + radio + IDLE_W * latency_s }
}

/// Latency on a device of `speed` whose CPU time lies wholly on the critical path: what was measured here, with the CPU
/// time stretched.
#[must_use]
pub fn stretched_s(latency_s: f64, cpu_s: f64, speed: f64) -> f64 {
    latency_s + cpu_s * (1.0 / speed - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LINKS;

    #[test]
    fn energy_adds_up() {
        // 5 MB at 40 Mbit/s are one second of sending.
        let e = estimate(3.0, 0.1, 0.1, Some((&LINKS[0], 5e6)));
        assert!((e.active_j - (CORE_W + SEND_W + 2.0 * LISTEN_W)).abs() < 1e-9, "{e:?}");
        assert!((e.board_j - e.active_j - 3.0 * IDLE_W).abs() < 1e-9);
        assert_eq!(estimate(0.2, 0.2, 1.0, None).active_j, CORE_W * 0.2);
        assert!((stretched_s(1.0, 0.1, 0.05) - 2.9).abs() < 1e-12);
    }
}
