use super::*;
use crate::plan::{GroupParts, LayerParts, PlanParts};
use twinmask_codec::{GroupId, LayerId};
use twinmask_layer::{Conv, Fc};

/// Two sibling convolutions of a 2x4x4 tensor and a fully connected layer 48 -> 6: small enough to count by hand.
fn plan() -> Plan {
    let conv = |kernel, pad| Geometry::Conv(Conv::square([2, 3], 4, kernel, 1, pad));
    let fc = Geometry::Fc(Fc { rows: 1, inputs: 48, outputs: 6 });
    let layer = |name: &str, geometry, group, w_bits| LayerParts {
        name: name.into(),
        geometry,
        group: GroupId::new(group),
        w_bits,
        bound: 1000,
    };
    let ids = |layers: &[u32]| layers.iter().map(|&l| LayerId::new(l)).collect();
    let group = |len, k, layers: &[u32]| GroupParts { len, k, x_bits: 8, signed: false, layers: ids(layers) };
    let parts = PlanParts {
        layers: vec![layer("3x3", conv(3, 1), 0, 8), layer("1x1", conv(1, 0), 0, 8), layer("fc", fc, 1, 12)],
        groups: vec![group(32, 21, &[0, 1]), group(48, 32, &[2])],
        rounds: vec![vec![GroupId::new(0)], vec![GroupId::new(1)]],
    };
    Plan::new(parts).expect("valid")
}

#[test]
fn counted_by_hand() {
    let checks = Checks { samples: 2, freivalds: true, rows: 2 };
    let table = analyse(&plan(), Some(96 + 6 + 48), checks);
    let macs = 48 * 18 + 48 * 2 + 6 * 48;
    let [split, relay, one_time, unprotected] = table.schemes.as_slice() else { panic!("four columns") };

    assert_eq!(split.elements, Traffic { up: 80, down: 2 * 102, between: 0 });
    // 32 elements of 21 bits: 84 bytes; 48 of them: 126; 32-bit elements: 4 bytes.
    assert_eq!(split.bytes, Traffic { up: 84 + 192, down: 2 * (2 * 126 + 24), between: 0 });
    assert_eq!(relay.elements, Traffic { up: 80, down: 102, between: 102 });
    assert_eq!(relay.bytes, Traffic { up: 276, down: 276, between: 276 });
    assert_eq!((&split.edges, &relay.edges), (&vec![2 * macs; 2], &vec![2 * macs + 102; 2]));

    let freivalds = (64 + 144 + 6) + (64 + 144 + 6) + (96 + 18 + 2);
    let two_positions = 2 * 2 * (18 + 2 + 48);
    let flops = |checks| DeviceFlops { masking: 160, unmasking: 204, scaling: 502, non_linear: Some(150), checks };
    assert_eq!(split.device, flops(2 * two_positions + freivalds));
    assert_eq!(relay.device, flops(2 * two_positions + 3 * 2 * 2 + freivalds));
    let keys = Storage { masking: 32 + 126 + 126 + 24, freivalds: 8 * 68, rows: 2 * (18 + 2 + 2 * 48), per_request: 0 };
    assert_eq!((split.storage, relay.storage), (keys, keys));
    assert_eq!(split.storage_1000_requests, keys.for_requests(0));

    assert_eq!((one_time.device.masking, one_time.device.unmasking, one_time.device.checks), (80, 102, 0));
    assert_eq!((one_time.storage.per_request, one_time.storage_1000_requests), (3640, 3_640_000));
    assert_eq!(unprotected.bytes, Traffic { up: 320, down: 408, between: 0 });
    assert_eq!((unprotected.device.total(), unprotected.storage_1000_requests), (150, 0));

    let network = 2 * macs + 150;
    assert_eq!(table.network_flops, Some(network));
    assert_eq!(table.outsourced_percent, Some(100.0 * 2.0 * macs as f64 / network as f64));
    assert_eq!(unprotected.spared_percent, Some(100.0 * (1.0 - 150.0 / network as f64)));
}

#[test]
fn without_a_graph_there_are_no_shares() {
    let table = analyse(&plan(), None, Checks::default());
    assert_eq!((table.network_flops, table.outsourced_percent), (None, None));
    assert!(table.schemes.iter().all(|s| s.spared_percent.is_none() && s.device.non_linear.is_none()));
}
