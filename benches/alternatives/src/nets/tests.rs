use burn::prelude::*;

use twinmask_benches::baseline::network::FloatNetwork;

use super::*;
use crate::export::{Graph, Value};

fn input(shape: [usize; 4]) -> Tensor<4> {
    Tensor::random(shape, burn::tensor::Distribution::Normal(0.0, 1.0), &Device::flex())
}

#[test]
fn the_obfuscator_has_the_published_size() {
    let net = Obfuscator::new(3, &Device::flex());
    let count = |as_published| {
        let (mut g, x) = Graph::new([3, 32, 32]);
        g.as_published = as_published;
        let y = net.describe(&mut g, &x);
        (y.shape(), g.parameters, g.macs)
    };
    let (shape, parameters, macs) = count(true);
    assert_eq!((shape, parameters), ([3, 32, 32], 324_518));
    assert_eq!((macs as f64 / 1e6).round(), 26.0, "the paper's 2.6e7, which counts multiply-accumulates");
    assert!(count(false).2 < macs);
}

#[test]
fn the_obfuscator_keeps_the_shape() {
    let on = Device::flex();
    assert_eq!(Obfuscator::new(3, &on).forward(input([2, 3, 32, 32])).dims(), [2, 3, 32, 32]);
    assert_eq!(Obfuscator::new(1, &on).forward(input([2, 1, 28, 28])).dims(), [2, 1, 28, 28]);
}

#[test]
fn classifiers_give_logits_and_describe_the_same_shape() {
    let on = Device::flex();
    let nets = [
        Classifier::ResNet(ResNet::new(1, 1, 8, 10, &on)),
        Classifier::Vgg(Vgg::new(1, 8, 10, &on)),
        Classifier::Cnn(Cnn::new([1, 28, 28], 10, &on)),
    ];
    for net in nets {
        assert_eq!(net.forward(input([2, 1, 28, 28])).dims(), [2, 10]);
        let (mut g, x) = Graph::new([1, 28, 28]);
        assert_eq!(net.describe(&mut g, &x).shape(), [10, 1, 1]);
        assert!(g.macs > 0 && g.parameters > 0);
    }
}

/// What `owner-keygen add-model` reads of the exported file is the network that was trained.
#[test]
fn exported_networks_are_imported_and_give_the_same() {
    let (on, folder) = (Device::flex(), tempfile::tempdir().expect("a folder"));
    let held = |name: &str,
                (mut graph, x): (Graph, Value),
                describe: &dyn Fn(&mut Graph, &Value) -> Value,
                y: Tensor<1>,
                input: &Tensor<4>| {
        let path = folder.path().join(format!("{name}.onnx"));
        let output = describe(&mut graph, &x);
        graph.write(&output, &path).expect("written");
        let network = FloatNetwork::load(&path).expect("imported");
        let input: Vec<f32> = input.to_data().iter::<f32>().collect();
        let found = network.infer(&mut network.rounds.values(), &input, &mut Default::default()).expect("computed");
        let expected: Vec<f32> = y.into_data().iter::<f32>().collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(1f32, |l, v| l.max(v.abs()));
        let off = found.iter().zip(&expected).map(|(f, e)| (f - e).abs() / largest).fold(0.0, f32::max);
        assert!(off < 1e-4, "{name}: {off}");
    };
    let digit = input([1, 1, 28, 28]);
    for (name, net) in [
        ("resnet", Classifier::ResNet(ResNet::new(1, 1, 8, 10, &on))),
        ("vgg", Classifier::Vgg(Vgg::new(1, 8, 10, &on))),
        ("cnn", Classifier::Cnn(Cnn::new([1, 28, 28], 10, &on))),
    ] {
        let y = net.forward(digit.clone()).flatten(0, 1);
        held(name, Graph::new([1, 28, 28]), &|g, x| net.describe(g, x), y, &digit);
    }
    let (net, image) = (Obfuscator::new(3, &on), input([1, 3, 32, 32]));
    let y = net.forward(image.clone()).flatten(0, 3);
    held("obfuscator", Graph::new([3, 32, 32]), &|g, x| net.describe(g, x), y, &image);
}

#[test]
fn a_decoder_reaches_the_images_size_from_any() {
    let on = Device::flex();
    for size in [1, 4, 7, 14, 28] {
        let rebuilt = Decoder::new(5, [1, 28, 28], 8, 2, &on).forward(input([2, 5, size, size]));
        assert_eq!(rebuilt.dims(), [2, 1, 28, 28]);
    }
}
