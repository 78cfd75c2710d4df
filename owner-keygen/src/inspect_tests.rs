#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::issue::{DeviceRequest, ModelRequest, Source, add_device, add_model};
use crate::zoo::{self, Arch};
use twinmask_onnx::import_bytes;

/// What `inspect` reports of a zoo network, through the importer but without a file.
fn of_zoo(arch: Arch) -> NetworkReport {
    let mut file = Vec::new();
    zoo::write(arch, 1, &mut file).unwrap();
    let imported = import_bytes(&file, Path::new(arch.name()), &ImportOptions::default()).unwrap();
    drop(file);
    let parts = partition(imported.graph, Profile::Balanced, &Offload::All).unwrap();
    report(arch.name(), 0, None, "balanced".into(), &parts.plan, Some(&parts.graph))
}

/// What networks are asked for, in percent of their own FLOPs. The paper's AlexNet has two LRN layers that stay on the
/// device, 6.7 of its 9.1 million local FLOPs, and comes to 99.60 %.
const LEAST: [(Arch, f64); 4] =
    [(Arch::AlexNet, 99.8), (Arch::AlexNet227, 99.6), (Arch::FacenetIrv1, 99.5), (Arch::ResNet50, 99.0)];

/// If this fails, the share of outsourced FLOPs fell below what is promised, or the formulas moved.
#[test]
fn nearly_all_flops_are_outsourced() {
    for (arch, least) in LEAST {
        let r = of_zoo(arch);
        assert!(r.outsourced_percent.unwrap() >= least, "{}: {:?} %", arch.name(), r.outsourced_percent);
        let [split, relay, one_time, unprotected] = r.analysis.schemes.as_slice() else { panic!("four columns") };
        let spared = [split, relay, one_time, unprotected].map(|s| s.spared_percent.unwrap());
        // Both modes check and one-time keys do not; all of them mask.
        let [split_or_relay, one_time, unprotected] = [spared[0].max(spared[1]), spared[2], spared[3]];
        assert!(split_or_relay < one_time && one_time < unprotected, "{}: {spared:?}", arch.name());
        assert!(spared[0] > 97.5 && spared[1] > 97.5, "{}: {spared:?}", arch.name());
        if arch == Arch::AlexNet227 {
            the_papers_alexnet(&r);
        }
        if arch == Arch::AlexNet {
            // The budget of key material on a device.
            let s = &split.storage;
            assert!(s.masking <= 2_500_000 && s.freivalds <= 500_000 && s.rows <= 3_000_000, "{s:?}");
        }
    }
}

/// 20.49 GB of one-time keys are 20.49 MiB per request, times 1,000 (docs/theory.md).
fn the_papers_alexnet(r: &NetworkReport) {
    assert_eq!(r.elements, (415_035, 659_272));
    let one_time = r.analysis.schemes.iter().find(|s| s.name == "one-time").unwrap();
    assert_eq!(one_time.storage.per_request, 1_074_307 * 20);
    assert_eq!(one_time.storage_1000_requests, 21_486_140_000);
    assert_eq!(format!("{:.2}", one_time.storage.per_request as f64 / f64::from(1 << 20)), "20.49");
}

/// If this fails, the storage that the table predicts is not what a device gets.
#[test]
fn stored_keys_are_those_of_the_formula() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::init(&root.path().join("deployment")).unwrap();
    let request = ModelRequest {
        name: "lenet".into(),
        source: Source::Zoo(Arch::LeNet, 1),
        profile: Profile::Balanced,
        offload: Offload::All,
        input_size: None,
        preprocess: None,
        labels: vec![],
        threshold: None,
    };
    add_model(&mut store, request).unwrap();
    let sample_rows = Checks::default().rows as usize;
    let request = DeviceRequest { name: "cam".into(), model: "lenet".into(), all_weights: false, sample_rows };
    let dir = add_device(&mut store, &request).unwrap();
    let reports = inspect(&dir.join("models/lenet.twm"), &Costs::default()).unwrap();
    let keys = reports[0].keys.as_ref().unwrap();
    let formula = reports[0].analysis.schemes[0].storage;
    let stored = [keys.masking, keys.freivalds, keys.sample_rows].map(|bytes| bytes as u64);
    assert_eq!(stored, [formula.masking, formula.freivalds, formula.rows]);
    assert_eq!(formula.per_request, 0);
    let shown = text(&reports);
    assert!(shown.contains("stored bytes: 1,000 requests") && shown.contains("one-time"), "{shown}");
    let json = serde_json::to_value(&reports[0]).unwrap();
    assert_eq!(json["analysis"]["schemes"][2]["storage"]["per_request"], (4_964 + 15_230) * 20);
}
