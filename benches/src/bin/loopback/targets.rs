//! What the project asks of these numbers.

use twinmask_benches::report::Report;

use crate::rows::Row;
use crate::throughput;

/// Network, threads of each edge, largest ratio to onnxruntime f32: online, relay, balanced, Freivalds.
const RATIOS: [(&str, usize, f64); 4] =
    [("alexnet", 1, 1.15), ("alexnet", 2, 0.90), ("facenet-irv1", 1, 3.0), ("facenet-irv1", 2, 3.0)];
/// Largest part of local onnxruntime's CPU time that the device may take for AlexNet.
const DEVICE_CPU: f64 = 0.30;
/// Largest part of the bytes to the device that edge A may send in relay.
const EDGE_A_SHARE: f64 = 0.01;
/// Largest ratio of the edges' CPU time per inference, eight devices to one.
const THROUGHPUT: f64 = 0.85;

fn line(what: String, found: f64, most: f64) -> Vec<String> {
    let met = if found <= most { "yes" } else { "no" };
    vec![what, format!("{found:.3}"), format!("{most:.2}"), met.to_owned()]
}

/// Adds the table of targets, as far as their rows have been measured.
pub(crate) fn check(report: &mut Report, rows: &[Row], throughput: &[throughput::Row]) {
    let plain = |r: &&Row| r.case.kernel == "auto" && r.case.ring == "balanced" && r.case.extra.is_empty();
    let asked = |r: &&Row| plain(r) && r.case.integrity == "freivalds" && r.case.mode == "relay";
    let mut lines = Vec::new();
    for (network, threads, most) in RATIOS {
        let row = rows.iter().filter(asked).find(|r| r.network == network && r.case.threads == threads);
        let what = format!("{network}, relay, balanced, freivalds, {threads} threads: ms / onnxruntime f32");
        lines.extend(row.map(|r| line(what, r.ratio_f32, most)));
    }
    for row in rows.iter().filter(asked).filter(|r| r.network == "alexnet") {
        let what = format!("alexnet, relay, freivalds, {} threads: device CPU / onnxruntime CPU", row.case.threads);
        lines.push(line(what, row.cpu_ratio, DEVICE_CPU));
    }
    lines.extend(throughput.iter().map(|r| {
        line(format!("{}, {}: edge CPU per inference, eight devices / one", r.network, r.mode), r.ratio, THROUGHPUT)
    }));
    let relayed: Vec<&Row> = rows.iter().filter(|r| r.case.mode == "relay").collect();
    if !relayed.is_empty() {
        let fallbacks: u64 = relayed.iter().map(|r| r.fallbacks + u64::from(r.mode != "relay")).sum();
        lines.push(line("all relay rows: fallbacks".to_owned(), fallbacks as f64, 0.0));
        let most = relayed.iter().map(|r| r.edge_a_share_of_down).fold(0.0, f64::max);
        lines.push(line("all relay rows: edge A's part of the bytes to the device".to_owned(), most, EDGE_A_SHARE));
    }
    if !lines.is_empty() {
        report.table("Targets", &["what", "found", "at most", "met"], &lines);
    }
}
