use std::io::Write;
use std::path::Path;

use rand::SeedableRng;

use super::*;

fn toy() -> Images {
    let pixels = (0..3 * 2 * 2).map(|v| v as f32 / 12.0).collect();
    Images { pixels, labels: vec![4, 5, 6], shape: [1, 2, 2], norm: Norm { mean: &[0.5], std: &[0.25] } }
}

#[test]
fn missing_data_is_named() {
    let model = file(Path::new("/nowhere"), "models/x.onnx").map(drop);
    let text = model.expect_err("there is no such folder").to_string();
    assert!(text.contains("/nowhere/models/x.onnx") && text.contains("TWINMASK_DATA"), "{text}");
    for error in [cifar(Path::new("/nowhere"), Part::Test), mnist(Path::new("/nowhere"), Part::Train)] {
        let text = format!("{:#}", error.expect_err("there is no such folder"));
        assert!(text.contains("/nowhere/datasets/") && text.contains("TWINMASK_DATA"), "{text}");
    }
}

#[test]
fn wrong_data_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, bytes: &[u8]| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    let packed = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("packed");
        encoder.finish().expect("packed")
    };
    let text = |part| format!("{:#}", cifar(folder.path(), part).expect_err("wrong"));
    write("datasets/cifar10/test_first1000.bin", &[0; 3072]);
    assert!(text(Part::Test).contains("test_first1000.bin: not CIFAR-10"));
    write("datasets/cifar10/test_first1000.bin", &[10; 3073]);
    assert!(text(Part::Test).contains("not CIFAR-10"));
    write("datasets/cifar10/train_first4000.bin.gz", b"no gzip");
    assert!(text(Part::Train).contains("not a whole gzip file"));
    write("datasets/mnist/t10k-images-idx3-ubyte.gz", &packed(&[0; 99]));
    let text = format!("{:#}", mnist(folder.path(), Part::Test).expect_err("wrong"));
    assert!(text.contains("t10k-images-idx3-ubyte.gz: not a whole IDX file"), "{text}");
    write("models/x.onnx", &[0xff; 7]);
    assert!(format!("{:#}", Weights::read(folder.path(), "x").expect_err("wrong")).contains("x.onnx"));
}

#[test]
fn batches_are_seeded_and_hold_each_image_once() {
    let images = toy();
    let batches = |seed| images.batches(1, &mut StdRng::seed_from_u64(seed)).concat();
    assert_eq!(batches(3), batches(3));
    let mut all = batches(4);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn a_network_sees_normalised_pixels_and_they_come_back() {
    let images = toy();
    let (x, y) = images.batch(&[2, 0], None, &Device::flex());
    assert_eq!(x.dims(), [2, 1, 2, 2]);
    assert_eq!(y.into_data().iter::<i64>().collect::<Vec<_>>(), [6, 4]);
    let back = images.to_pixels(x).expect("pixels");
    let close = back.iter().zip(images.image(2).iter().chain(images.image(0))).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close, "{back:?}");
}

#[test]
fn relabelling_leaves_out_what_has_no_label() {
    let kept = toy().relabelled(|l| (l != 5).then_some(l % 2));
    assert_eq!(kept.labels, [0, 0]);
    assert_eq!(kept.image(1), toy().image(2));
}
