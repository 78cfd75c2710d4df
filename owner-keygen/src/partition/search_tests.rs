//! What `--offload auto` decides.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use twinmask_layer::Geometry;
use twinmask_model::graph::{Element, Graph, Port};
use twinmask_model::ops::{Binary, Conv, Op, Window};
use twinmask_onnx::{ImportOptions, import_bytes};

use super::{Search, narrow};
use crate::predict::{Costs, DeviceProfile, Link};
use crate::zoo::{self, Arch};

/// Convolutions `kernels` one after the other, 8 channels each.
fn chain(kernels: &[u32]) -> Graph {
    let mut g = Graph::default();
    let mut at = g.add_input("x", vec![1, 8, 56, 56], Element::F32);
    for (i, &kernel) in kernels.iter().enumerate() {
        at = conv(&mut g, at, kernel, i);
    }
    g.outputs = vec![Port::f32(at)];
    g
}

fn conv(g: &mut Graph, x: u32, kernel: u32, i: usize) -> u32 {
    let w = g.add_constant(format!("w{i}"), vec![8, 8, kernel, kernel], vec![0.1; (64 * kernel * kernel) as usize]);
    let window = Window { kernel: [kernel; 2], stride: [1; 2], pad: [kernel / 2; 4], dilation: [1; 2] };
    g.add_node(format!("conv{i}"), Conv { window, groups: 1 }, vec![x, w], format!("y{i}")).unwrap()
}

/// All layers of `g` but depthwise ones.
fn candidates(g: &Graph) -> BTreeMap<usize, Geometry> {
    let layer = |(i, node): (usize, &twinmask_model::graph::Node)| {
        let shape = |k: usize| g.shape(node.inputs[k]);
        let geometry = match &node.op {
            Op::Conv(op) => Geometry::Conv(op.layer(shape(0), shape(1))?),
            Op::Dense(_) => {
                let [outputs, inputs] = *shape(1) else { return None };
                Geometry::Fc(twinmask_layer::Fc { rows: 1, inputs, outputs })
            }
            _ => return None,
        };
        (!matches!(geometry, Geometry::Conv(c) if c.is_depthwise())).then_some((i, geometry))
    };
    g.nodes.iter().enumerate().filter_map(layer).collect()
}

fn costs(macs_per_s: f64, mbit_s: f64) -> Costs {
    let device =
        DeviceProfile { macs_per_s, weight_bytes_per_s: 1e12, ns_per_element: 10.0, us_per_round: 0.0, answers: 2 };
    Costs { device, link: Link { mbit_s, rtt_ms: 1.0 } }
}

fn sent(g: &Graph, costs: &Costs) -> Vec<usize> {
    let mut candidates = candidates(g);
    narrow(costs, g, &mut candidates, 28);
    candidates.into_keys().collect()
}

#[test]
fn only_layers_that_pay_leave_the_device() {
    let g = chain(&[1, 7]);
    assert_eq!(sent(&g, &costs(1e6, 1000.0)), [0, 1], "a very slow device sends everything");
    assert_eq!(sent(&g, &costs(2e8, 1000.0)), [1], "the light layer stays");
    assert!(sent(&g, &costs(1e12, 1000.0)).is_empty(), "a fast device keeps everything");
    assert!(sent(&g, &costs(2e8, 1.0)).is_empty(), "a slow link too");
}

/// A round that another layer needs anyway costs a layer beside it nothing.
#[test]
fn a_round_is_shared() {
    let beside = |kernels: &[u32]| {
        let mut g = Graph::default();
        let x = g.add_input("x", vec![1, 8, 56, 56], Element::F32);
        let ys: Vec<u32> = kernels.iter().enumerate().map(|(i, &k)| conv(&mut g, x, k, i)).collect();
        let y = ys.into_iter().reduce(|a, b| g.add_node("sum", Binary::Add, vec![a, b], "s").unwrap()).unwrap();
        g.outputs = vec![Port::f32(y)];
        g
    };
    // A layer of 3x3 takes 1.8 ms here; outsourced 1 ms for the round, 0.7 up, 1.4 down and 0.03 at the edges.
    let costs = costs(1e9, 1000.0);
    assert!(sent(&beside(&[3]), &costs).is_empty());
    assert_eq!(sent(&beside(&[3, 3]), &costs), [] as [usize; 0]);
    assert_eq!(sent(&beside(&[3, 7]), &costs), [0, 1], "the upload and the round are there");
}

/// If this fails, `auto` is slower than a plan that it could have had.
#[test]
fn auto_is_never_slower_than_all_or_none() {
    let mut state = 11u64;
    let mut between = |low: f64, high: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low * (high / low).powf((state >> 11) as f64 / (1u64 << 53) as f64)
    };
    let mut mixed = 0;
    for arch in [Arch::LeNet, Arch::AlexNet, Arch::FacenetIrv1, Arch::MobileNetV2] {
        let mut file = Vec::new();
        zoo::write(arch, 1, &mut file).unwrap();
        let graph = import_bytes(&file, Path::new("zoo"), &ImportOptions::default()).unwrap().graph;
        let all = candidates(&graph);
        for _ in 0..12 {
            let device = DeviceProfile {
                macs_per_s: between(1e8, 1e11),
                weight_bytes_per_s: between(1e8, 2e10),
                ns_per_element: between(1.0, 1e3),
                us_per_round: between(1.0, 1e4),
                answers: 1,
            };
            let costs = Costs { device, link: Link { mbit_s: between(1.0, 1e4), rtt_ms: between(0.01, 30.0) } };
            let mut auto = all.clone();
            let predicted = narrow(&costs, &graph, &mut auto, 28);
            let search = Search::new(&costs, &graph, &all, 28);
            let ms = |sent: &dyn Fn(usize) -> bool| {
                search.ms(&search.groups.iter().map(|g| sent(g.nodes[0])).collect::<Vec<_>>())
            };
            let [chosen, sent, kept] = [ms(&|i| auto.contains_key(&i)), ms(&|_| true), ms(&|_| false)];
            assert_eq!([chosen, sent, kept], [predicted.auto_ms, predicted.all_ms, predicted.none_ms]);
            let best = sent.min(kept);
            assert!(chosen <= best, "{}: {chosen} ms, not {best} ms, for {costs:?}", arch.name());
            mixed += usize::from(!auto.is_empty() && auto.len() < all.len());
        }
    }
    assert!(mixed > 5, "only {mixed} plans were mixed: nothing was searched");
}
