#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::issue::{DeviceRequest, ModelRequest, Source, add_device, add_model};
use crate::onnx::import_bytes;
use crate::zoo::{self, Arch};

/// What `inspect` reports of a zoo network, through the importer but without a file.
fn of_zoo(arch: Arch) -> NetworkReport {
    let mut file = Vec::new();
    zoo::write(arch, 1, &mut file).unwrap();
    let imported = import_bytes(&file, Path::new(arch.name()), &ImportOptions::default()).unwrap();
    drop(file);
    let parts = partition(imported.graph, Profile::Balanced, &Offload::All).unwrap();
    report(arch.name(), 0, None, "balanced".into(), &parts.plan, Some(&parts.graph))
}

/// If this fails, the share of outsourced FLOPs fell below what is promised, or the formulas moved.
#[test]
fn nearly_all_flops_are_outsourced() {
    for (arch, least) in
        [(Arch::AlexNet, 99.8), (Arch::AlexNet227, 99.6), (Arch::FacenetIrv1, 99.5), (Arch::ResNet50, 99.0)]
    {
        let r = of_zoo(arch);
        println!("{}", text(&[NetworkReport { layers: vec![], ..r.clone() }]));
        assert!(r.outsourced_percent.unwrap() >= least, "{}: {:?} %", arch.name(), r.outsourced_percent);
    }
}
