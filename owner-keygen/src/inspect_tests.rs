#![allow(clippy::unwrap_used)]

use std::path::Path;

use rten_onnx::onnx::{
    DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};
use twinmask_model::ring_plan::Profile;
use twinmask_onnx::{ImportOptions, import_bytes};

use super::*;
use crate::devices::{DeviceRequest, add_device};
use crate::models::{ModelRequest, Source, add_model};
use crate::partition::Offload;
use crate::store::Store;
use crate::zoo::{self, Arch};

/// What `inspect` reports of a zoo network, through the importer but without a file.
fn of_zoo(arch: Arch) -> NetworkReport {
    let mut file = Vec::new();
    zoo::write(arch, 1, &mut file).unwrap();
    let imported = import_bytes(&file, Path::new(arch.name()), &ImportOptions::default()).unwrap();
    drop(file);
    let parts = ImportRequest::default().divide(imported.graph).unwrap();
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
        import: ImportRequest::default(),
        preprocess: None,
        labels: vec![],
        threshold: None,
    };
    add_model(&mut store, request).unwrap();
    let sample_rows = Checks::default().rows as usize;
    let request = DeviceRequest { name: "cam".into(), model: "lenet".into(), all_weights: false, sample_rows };
    let dir = add_device(&mut store, &request).unwrap();
    let reports = inspect(&dir.join("models/lenet.twm"), None, &Costs::default(), false).unwrap();
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

/// If this fails, nobody can see which kernels a network gets on a machine, or a layer is shown with another's.
#[test]
fn kernels_of_an_edge_are_told_by_layer() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::init(&root.path().join("deployment")).unwrap();
    let request = ModelRequest {
        name: "lenet".into(),
        source: Source::Zoo(Arch::LeNet, 1),
        import: ImportRequest::default(),
        preprocess: None,
        labels: vec![],
        threshold: None,
    };
    add_model(&mut store, request).unwrap();
    let request = DeviceRequest { name: "cam".into(), model: "lenet".into(), all_weights: false, sample_rows: 1 };
    let device = add_device(&mut store, &request).unwrap();
    let deployment = root.path().join("deployment");
    let look = |path: &Path| inspect(path, None, &Costs::default(), true);
    for path in [&deployment, &deployment.join("edge-a/models/lenet-v1.twm")] {
        let reports = look(path).unwrap();
        assert!(reports[0].kernel_memory.is_some() && reports[0].layers.iter().all(|l| l.kernel.is_some()));
        let shown = text(&reports);
        assert!(shown.contains("| kernel") && shown.contains("bytes of transformed weights"), "{shown}");
    }
    let refused = look(&device.join("models/lenet.twm")).expect_err("a device has no weights").to_string();
    assert!(refused.contains("holds no edge's weights"), "{refused}");
}

/// If this fails, a bundle passes for signed, or its reader does not learn which file is to be mended.
#[test]
fn bundles_are_read_with_a_good_owner_pub_only() {
    let root = tempfile::tempdir().unwrap();
    let (bundle, owner) = (root.path().join("models/m.twm"), root.path().join("owner.pub"));
    std::fs::create_dir(root.path().join("models")).unwrap();
    std::fs::write(&bundle, "no bundle").unwrap();
    let refused = || inspect(&bundle, None, &Costs::default(), false).expect_err("no bundle").to_string();
    assert!(refused().contains("has no owner.pub in a folder above it"), "{}", refused());
    std::fs::write(&owner, "0g".repeat(32)).unwrap();
    assert!(refused().contains("owner.pub does not hold 64 hexadecimal"), "{}", refused());
    std::fs::write(&owner, "0f".repeat(32) + "\n").unwrap();
    assert!(refused().contains("m.twm: is no twinmask bundle"), "{}", refused());
}

/// A convolution `conv` and a fully connected layer `fc` on the mean of its channels, for pictures of any size.
fn of_any_size() -> ModelProto {
    let shape = |dims: &[i64]| {
        let dim = |&d: &i64| Dimension { dim_value: (d > 0).then_some(d), dim_param: (d == 0).then(|| "n".into()) };
        let shape = (!dims.is_empty()).then(|| TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor_type = Some(TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape });
        Some(TypeProto { tensor_type, sequence: None })
    };
    let value = |name: &str, dims: &[i64]| ValueInfoProto { name: Some(name.into()), r#type: shape(dims) };
    let weights = |name: &str, dims: [i64; 4], rank: usize| TensorProto {
        name: Some(name.into()),
        dims: dims[..rank].to_vec(),
        data_type: Some(DataType::FLOAT),
        float_data: vec![0.25; dims.iter().product::<i64>() as usize],
        ..Default::default()
    };
    let node = |op: &str, name: &str, inputs: &[&str], output: &str| NodeProto {
        name: Some(name.into()),
        op_type: Some(op.into()),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let graph = GraphProto {
        node: vec![
            node("Conv", "conv", &["x", "w"], "c"),
            node("GlobalAveragePool", "mean", &["c"], "m"),
            node("Flatten", "flat", &["m"], "f"),
            node("Gemm", "fc", &["f", "v"], "y"),
        ],
        initializer: vec![weights("w", [8, 3, 3, 3], 4), weights("v", [8, 5, 1, 1], 2)],
        input: vec![value("x", &[1, 3, 0, 0])],
        output: vec![value("y", &[])],
        value_info: vec![],
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(13) }],
        ..Default::default()
    }
}

#[test]
fn a_file_that_leaves_its_size_open_is_inspected_with_the_options_of_add_model() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("any.onnx");
    std::fs::write(&file, of_any_size().write_buf().unwrap()).unwrap();
    let look = |import: Option<ImportRequest>| inspect(&file, import.as_ref(), &Costs::default(), false);
    let text = look(None).unwrap_err().to_string();
    assert!(text.contains("any.onnx") && text.contains("pass --input-size HxW"), "{text}");
    let sized = |size| ImportRequest { input_size: Some(size), ..ImportRequest::default() };
    for (h, w) in [(5, 7), (32, 16)] {
        let report = &look(Some(sized((h, w)))).unwrap()[0];
        let (up, down) = (u64::from(3 * h * w), u64::from(8 * (h - 2) * (w - 2)));
        assert_eq!((report.elements, report.rounds, report.ring.as_str()), ((up + 8, down + 5), 2, "balanced"));
    }
    let only =
        ImportRequest { profile: Profile::Bits(12), offload: Offload::Named(vec!["fc".into()]), ..sized((5, 7)) };
    let report = &look(Some(only)).unwrap()[0];
    assert_eq!((report.ring.as_str(), report.layers.len(), report.layers[0].name.as_str()), ("12", 1, "fc"));
    assert!(report.layers[0].k <= 12);
}

/// If this fails, options that have no effect are taken for good.
#[test]
fn what_was_divided_already_takes_no_import_options() {
    let root = tempfile::tempdir().unwrap();
    Store::init(&root.path().join("d")).unwrap();
    let bundle = root.path().join("d/edge-a/models/net-v1.twm");
    for path in [root.path().join("d"), bundle] {
        let error = inspect(&path, Some(&ImportRequest::default()), &Costs::default(), false).unwrap_err();
        assert!(matches!(error, OwnerError::Usage(UsageError::Divided(_))), "{error}");
    }
    assert!(inspect(&root.path().join("d"), None, &Costs::default(), false).unwrap().is_empty());
}
