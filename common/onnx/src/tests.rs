//! The importer as a whole: folding, fusing, interface, hostile files.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rten_onnx::onnx::{DataLocation, DataType, ModelProto, StringStringEntryProto, TensorProto};
use twinmask_model::graph::{Element, Graph};
use twinmask_model::ops::{Op, Unary};
use twinmask_ring::prf::Key;

use super::test_models::{A, floats, ints, load, model, node, ops, typed_info, value_info};
use super::{ImportOptions, import, import_bytes};

/// Conv (2 -> 4 channels, 3x3), BatchNormalization, Relu, flattening by computed shapes, Gemm.
fn small() -> ModelProto {
    let ramp = |n: usize| (0..n).map(|i| i as f32 * 0.125 - 1.0).collect::<Vec<_>>();
    let weights = vec![
        floats("w", &[4, 2, 3, 3], ramp(72)),
        floats("gamma", &[4], vec![1.0, 2.0, 3.0, 4.0]),
        floats("beta", &[4], vec![0.5, 0.0, 0.0, 1.0]),
        floats("mean", &[4], vec![1.0, 0.0, 2.0, 0.0]),
        floats("var", &[4], vec![4.0, 1.0, 1.0, 0.25]),
        floats("fc", &[64, 3], ramp(192)),
        floats("fcb", &[3], vec![1.0, 2.0, 3.0]),
        ints("zero", &[], &[0]),
        ints("minus", &[1], &[-1]),
        ints("axis", &[1], &[0]),
    ];
    let nodes = vec![
        node("Conv", &["x", "w"], &["c"], vec![("pads", A::Is(vec![1; 4]))]),
        node("BatchNormalization", &["c", "gamma", "beta", "mean", "var"], &["b"], vec![("epsilon", A::F(0.0))]),
        node("Relu", &["b"], &["r"], vec![]),
        node("Dropout", &["r"], &["d"], vec![]),
        node("Shape", &["d"], &["s"], vec![]),
        node("Gather", &["s", "zero"], &["n"], vec![("axis", A::I(0))]),
        node("Unsqueeze", &["n", "axis"], &["n1"], vec![]),
        node("Concat", &["n1", "minus"], &["shape"], vec![("axis", A::I(0))]),
        node("Reshape", &["d", "shape"], &["f"], vec![]),
        node("MatMul", &["f", "fc"], &["m"], vec![]),
        node("Add", &["fcb", "m"], &["y"], vec![]),
        node("Sigmoid", &["m"], &["unused"], vec![]),
    ];
    model(13, &[0, 2, 4, 4], weights, nodes)
}

fn check_small(g: &Graph) {
    let (found, shape) = ops(g);
    assert!(matches!(found[..], [Op::Conv(_), Op::Unary(Unary::Relu), Op::Reshape(_), Op::Dense(_)]), "{found:?}");
    assert_eq!(shape, [1, 3]);
    assert_eq!((&*g.value(g.inputs[0].value).name, &*g.value(g.outputs[0].value).name), ("x", "y"));
    let conv = &g.nodes[0];
    let (w, b) = (&g.constants[&conv.inputs[1]], &g.constants[&conv.inputs[2]]);
    // gamma / sqrt(var) = 0.5, 2, 3, 8.
    assert_eq!((w[0], w[18], w[36], w[71]), (-0.5, 2.5, 10.5, 63.0));
    assert_eq!(b, &[0.0, 0.0, -6.0, 1.0]);
    let fc = &g.nodes[3];
    assert_eq!(g.shape(fc.inputs[1]), [3, 64]);
    assert_eq!(g.constants[&fc.inputs[1]][1], 3.0 * 0.125 - 1.0);
    assert_eq!(g.constants[&fc.inputs[2]], [1.0, 2.0, 3.0]);
    // Input, four activations, two weights, two biases: nothing dead is left.
    assert_eq!(g.values.len(), 9);
}

#[test]
fn folds_fuses_and_drops() {
    check_small(&load(&small()).unwrap());
}

/// Another reader of the convolution's output forbids folding into it.
#[test]
fn fuses_only_what_nothing_else_reads() {
    let w = vec![floats("w", &[4, 2, 1, 1], vec![1.0; 8]), floats("s", &[4, 1, 1], vec![2.0; 4])];
    let nodes = |last| {
        vec![
            node("Conv", &["x", "w"], &["c"], vec![]),
            node("Mul", &["c", "s"], &["m"], vec![]),
            node("Add", &["m", last], &["y"], vec![]),
        ]
    };
    assert_eq!(load(&model(13, &[1, 2, 4, 4], w.clone(), nodes("c"))).unwrap().nodes.len(), 3);
    let g = load(&model(13, &[1, 2, 4, 4], w, nodes("s"))).unwrap();
    assert_eq!(g.nodes.len(), 1);
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], [2.0; 8]);
    assert_eq!(g.constants[&g.nodes[0].inputs[2]], [2.0; 4]);
}

#[test]
fn batch_normalization_of_a_grouped_transposed_convolution() {
    let w = (0..8).map(|i| i as f32).collect();
    let weights = vec![floats("w", &[4, 2, 1, 1], w), floats("s", &[1, 4, 1, 1], vec![1.0, 10.0, 100.0, 1000.0])];
    let nodes = vec![
        node("ConvTranspose", &["x", "w"], &["c"], vec![("group", A::I(2))]),
        node("Mul", &["c", "s"], &["y"], vec![]),
    ];
    let g = load(&model(13, &[1, 4, 2, 2], weights, nodes)).unwrap();
    assert_eq!(g.constants[&g.nodes[0].inputs[1]], [0.0, 10.0, 2.0, 30.0, 400.0, 5000.0, 600.0, 7000.0]);
}

#[test]
fn the_interface_is_checked() {
    let relu = || vec![node("Relu", &["x"], &["y"], vec![])];
    let open = model(13, &[0, 3, 0, 0], vec![], relu());
    assert!(load(&open).unwrap_err().to_string().contains("--input-size HxW"));
    let sized = ImportOptions { input_size: Some((5, 7)), ..Default::default() };
    let g = import_bytes(&open.write_buf().unwrap(), Path::new("m"), &sized).unwrap().graph;
    assert_eq!(g.shape(g.inputs[0].value), [1, 3, 5, 7]);
    for (shape, text) in [(&[2i64, 3, 4, 4][..], "batch of 2"), (&[1, 0, 4, 4], "dimensions [1]"), (&[], "no shape")] {
        let error = load(&model(13, shape, vec![], relu())).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("m.onnx"), "{error}");
    }
    let mut two = model(13, &[1, 3], vec![floats("w", &[1], vec![1.0])], relu());
    // A weight listed as an input is none; a second real one is one, read or not.
    two.graph.as_mut().unwrap().input.push(value_info("w", &[1]));
    load(&two).unwrap();
    two.graph.as_mut().unwrap().input.push(value_info("z", &[1]));
    let g = load(&two).unwrap();
    assert_eq!(g.inputs.iter().map(|i| &*g.value(i.value).name).collect::<Vec<_>>(), ["x", "z"]);
    two.graph.as_mut().unwrap().input.push(value_info("z", &[1]));
    assert!(load(&two).unwrap_err().to_string().contains("two inputs are named 'z'"));
    let mut none = model(13, &[1, 3], vec![], relu());
    none.graph.as_mut().unwrap().input.clear();
    assert!(load(&none).unwrap_err().to_string().contains("no input"));
    let constant = model(13, &[1, 3], vec![floats("y", &[1], vec![1.0])], vec![]);
    assert!(load(&constant).unwrap_err().to_string().contains("'y' is not computed"));
}

/// `x` (float) and `ids` (int64), both `[1, 4]`, to `y`.
fn with_ids(weights: Vec<TensorProto>, nodes: Vec<rten_onnx::onnx::NodeProto>) -> Result<Graph, super::ImportError> {
    let mut m = model(13, &[1, 4], weights, nodes);
    m.graph.as_mut().unwrap().input.push(typed_info("ids", &[1, 4], DataType::INT64));
    load(&m)
}

#[test]
fn integers_come_in_and_go_out() {
    let two = || ints("two", &[], &[2]);
    let cast = |x: &str, y: &str, to| node("Cast", &[x], &[y], vec![("to", A::I(to))]);
    let g = with_ids(vec![], vec![cast("ids", "f", 1), node("Div", &["x", "f"], &["y"], vec![])]).unwrap();
    assert_eq!(g.inputs.iter().map(|i| i.element).collect::<Vec<_>>(), [Element::F32, Element::I64]);
    assert_eq!((g.nodes.len(), g.outputs[0].element, g.picture_shape()), (1, Element::F32, &[1, 4][..]));
    // Constants of integers beside integers; the result keeps the type through whatever moves it.
    let nodes = vec![
        node("Mul", &["ids", "two"], &["m"], vec![]),
        cast("m", "i", 6),
        node("Flatten", &["i"], &["y"], vec![("axis", A::I(0))]),
    ];
    let g = with_ids(vec![two()], nodes).unwrap();
    assert_eq!((g.outputs[0].element, g.constants.values().next().unwrap()), (Element::I32, &vec![2.0]));
    let g = with_ids(vec![], vec![node("ArgMax", &["x"], &["y"], vec![("axis", A::I(1))])]).unwrap();
    assert_eq!(g.outputs[0].element, Element::I64);
    let refused = |weights, nodes| with_ids(weights, nodes).unwrap_err().to_string();
    // Integers are divided otherwise than floats.
    let error = refused(vec![two()], vec![node("Div", &["ids", "two"], &["y"], vec![])]);
    assert!(error.contains("Div_node") && error.contains("holds integers") && error.contains("cast them"), "{error}");
    let error = refused(vec![ints("c", &[], &[(1 << 24) + 1])], vec![node("Add", &["ids", "c"], &["y"], vec![])]);
    assert!(error.contains("16777217"), "{error}");
    let error = refused(vec![two()], vec![node("Add", &["x", "two"], &["y"], vec![])]);
    assert!(error.contains("holds integers where floats are expected"), "{error}");
    let error = refused(vec![], vec![node("CastLike", &["x", "ids"], &["y"], vec![])]);
    assert!(error.contains("a cast of an activation to integers"), "{error}");
    let mut bytes = model(13, &[1, 4], vec![], vec![node("Relu", &["x"], &["y"], vec![])]);
    bytes.graph.as_mut().unwrap().input.push(typed_info("z", &[1, 4], DataType::UINT8));
    assert!(load(&bytes).unwrap_err().to_string().contains("one of int32 or int64"));
}

#[test]
fn unknown_things_are_named() {
    let error = load(&model(13, &[1, 3], vec![], vec![node("GRU", &["x"], &["y"], vec![])])).unwrap_err().to_string();
    assert!(error.contains("GRU_node") && error.contains("GlobalAveragePool"), "{error}");
    let mut foreign = model(13, &[1, 3], vec![], vec![node("Relu", &["x"], &["y"], vec![])]);
    foreign.graph.as_mut().unwrap().node[0].domain = Some("com.example".into());
    assert!(load(&foreign).unwrap_err().to_string().contains("com.example.Relu"));
    let form = model(13, &[1, 3], vec![], vec![node("Relu", &["x"], &["y"], vec![("slope", A::F(1.0))])]);
    assert!(load(&form).unwrap_err().to_string().contains("'slope'"));
    for bad in [f32::NAN, f32::INFINITY] {
        let m = model(
            13,
            &[1, 3],
            vec![floats("w", &[3], vec![1.0, bad, 0.0])],
            vec![node("Mul", &["x", "w"], &["y"], vec![])],
        );
        assert!(load(&m).unwrap_err().to_string().contains("tensor 'w'"));
    }
    let m = model(3, &[1, 3], vec![], vec![node("Relu", &["x"], &["y"], vec![])]);
    let imported = import_bytes(&m.write_buf().unwrap(), Path::new("m"), &ImportOptions::default()).unwrap();
    assert!(imported.opset == 3 && imported.warnings[0].contains('3') && imported.producer == "test");
}

#[test]
fn all_float_types_are_read() {
    let typed = |data_type, raw: Vec<u8>| TensorProto {
        data_type: Some(data_type),
        raw_data: Some(std::cell::RefCell::new(raw)),
        ..floats("w", &[2], vec![])
    };
    let double = TensorProto { double_data: vec![1.5, -2.0], raw_data: None, ..typed(DataType::DOUBLE, vec![]) };
    let half = TensorProto { int32_data: vec![0x3e00, 0xc000], raw_data: None, ..typed(DataType::FLOAT16, vec![]) };
    let float = TensorProto { float_data: vec![1.5, -2.0], raw_data: None, ..typed(DataType::FLOAT, vec![]) };
    let raw_double = typed(DataType::DOUBLE, [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect());
    for t in [
        double,
        half,
        float,
        raw_double,
        typed(DataType::FLOAT16, vec![0, 0x3e, 0, 0xc0]),
        typed(DataType::BFLOAT16, vec![0xc0, 0x3f, 0, 0xc0]),
    ] {
        let g = load(&model(13, &[1, 2], vec![t], vec![node("Mul", &["x", "w"], &["y"], vec![])])).unwrap();
        assert_eq!(g.constants.values().next().unwrap(), &[1.5, -2.0]);
    }
    // Data that does not fill the dimensions, whatever they claim.
    for dims in [&[3i64][..], &[1 << 40, 1 << 40], &[-1], &[i64::MAX, 2]] {
        let t = TensorProto { dims: dims.to_vec(), ..floats("w", &[2], vec![1.0, 2.0]) };
        assert!(load(&model(13, &[1, 2], vec![t], vec![])).unwrap_err().to_string().contains("tensor 'w'"));
    }
}

#[test]
fn external_data_stays_in_the_folder() {
    let dir = std::env::temp_dir().join(format!("twinmask-external-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    let bytes: Vec<u8> = [0.0f32, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(dir.join("sub/w.bin"), &bytes).unwrap();
    std::fs::write(dir.with_extension("bin"), &bytes).unwrap();
    let outside = dir.with_extension("bin");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, dir.join("link.bin")).unwrap();
    let run = |location: &str, offset: &str| {
        let entry = |k: &str, v: &str| StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
        let w = TensorProto {
            raw_data: None,
            data_location: Some(DataLocation::EXTERNAL),
            external_data: vec![entry("location", location), entry("offset", offset), entry("length", "8")],
            ..floats("w", &[2], vec![])
        };
        let m = model(13, &[1, 2], vec![w], vec![node("Mul", &["x", "w"], &["y"], vec![])]);
        std::fs::write(dir.join("m.onnx"), m.write_buf().unwrap()).unwrap();
        import(&dir.join("m.onnx"), &ImportOptions::default()).map_err(|e| e.to_string())
    };
    let g = run("sub/w.bin", "4").unwrap().graph;
    assert_eq!(g.constants.values().next().unwrap(), &[3.0, 4.0]);
    assert!(run("sub/w.bin", "8").unwrap_err().contains("12 bytes"));
    let up = format!("../{}", outside.file_name().unwrap().to_str().unwrap());
    for (location, text) in
        [(&*up, "outside"), (outside.to_str().unwrap(), "outside"), ("none.bin", "cannot be read"), ("", "empty")]
    {
        let error = run(location, "0").unwrap_err();
        assert!(error.contains(text) && error.contains("'w'"), "{error}");
    }
    #[cfg(unix)]
    assert!(run("link.bin", "0").unwrap_err().contains("symbolic link"));
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::remove_file(&outside).unwrap();
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let bytes = small().write_buf().unwrap();
    let options = ImportOptions { memory_cap: 64 << 20, ..Default::default() };
    let run = |bytes: &[u8]| import_bytes(bytes, Path::new("m"), &options);
    check_small(&run(&bytes).unwrap().graph);
    for end in (0..bytes.len()).step_by(97) {
        run(&bytes[..end]).unwrap_err();
    }
    let mut random = Key::derive("test", &[b"mutations"]).stream(0);
    let mut refused = 0;
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random.next_u64() % 3 {
            let at = random.next_u64() as usize % bytes.len();
            damaged[at] = random.next_u64() as u8;
        }
        refused += usize::from(run(&damaged).is_err());
    }
    assert!((200..2000).contains(&refused), "{refused} of 2000 refused");
}

/// Wraps a body as a length-delimited field.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut n = body.len();
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend(body);
    out
}

#[test]
fn hostile_nesting_and_sizes_are_refused() {
    let run = |bytes: &[u8]| {
        import_bytes(bytes, Path::new("m"), &ImportOptions::default()).map(|_| ()).unwrap_err().to_string()
    };
    let mut graph = Vec::new();
    for _ in 0..5000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(run(&field(7, &graph)).contains("nested"));
    assert!(run(&field(7, &[10, 0].repeat((1 << 20) + 1))).contains("parts"));
    assert!(run(&[58, 255, 255, 255, 255, 255, 255, 255, 255, 127]).contains("ends in the middle"));
    // Empty tensors of many rows, which loops could run over.
    let empty = |name| ints(name, &[1 << 30, 1 << 30, 0], &[]);
    let nodes =
        vec![node("Concat", &["a", "b"], &["c"], vec![("axis", A::I(2))]), node("Relu", &["x"], &["y"], vec![])];
    let error = load(&model(13, &[1, 2], vec![empty("a"), empty("b")], nodes)).unwrap_err().to_string();
    assert!(error.contains("tensor 'a'"), "{error}");
    let empty = TensorProto { dims: vec![1, 0, 3], ..floats("w", &[0], vec![]) };
    let error =
        load(&model(13, &[1, 2], vec![empty], vec![node("Add", &["x", "w"], &["y"], vec![])])).unwrap_err().to_string();
    assert!(error.contains("'w' is empty"), "{error}");
    // Constants that blow up: 1 -> [2^14, 2^14, 2] -> ...
    let nodes = vec![node("ConstantOfShape", &["s"], &["c"], vec![]), node("Mul", &["x", "c"], &["y"], vec![])];
    let m = model(13, &[1, 2], vec![ints("s", &[3], &[1 << 14, 1 << 14, 2])], nodes);
    assert!(load(&m).unwrap_err().to_string().contains("elements"));
    let tight = ImportOptions { memory_cap: 1 << 16, ..Default::default() };
    let nodes = vec![node("ConstantOfShape", &["s"], &["c"], vec![]), node("Mul", &["x", "c"], &["y"], vec![])];
    let m = model(13, &[1, 2], vec![ints("s", &[1], &[1 << 16])], nodes).write_buf().unwrap();
    assert!(import_bytes(&m, Path::new("m"), &tight).unwrap_err().to_string().contains("memory cap"));
}

/// f(a; alpha = 0.5) = LeakyRelu(a + a; alpha), g(a) = f(f(a; 0.25)).
#[test]
fn local_functions_are_inlined() {
    let text = |n: u8, s: &str| field(n, s.as_bytes());
    let node = |op: &str, domain: &str, ins: &[&str], out: &str, attribute: &[u8]| {
        let inputs: Vec<u8> = ins.iter().flat_map(|i| text(1, i)).collect();
        let attribute = if attribute.is_empty() { vec![] } else { field(5, attribute) };
        [inputs, text(2, out), text(4, op), text(7, domain), attribute].concat()
    };
    let alpha = |v: f32| [text(1, "alpha"), vec![0x15], v.to_le_bytes().to_vec()].concat();
    let reference = [text(1, "alpha"), vec![21 << 3 & 127 | 128 | 2, 1, 5], b"alpha".to_vec()].concat();
    let add = node("Add", "", &["a", "a"], "t", &[]);
    let leaky = node("LeakyRelu", "", &["t"], "r", &reference);
    let function = |name: &str, nodes: &[&[u8]], defaults: Option<&[u8]>| {
        let nodes: Vec<u8> = nodes.iter().flat_map(|n| field(7, n)).collect();
        let defaults = defaults.map_or(vec![], |d| field(11, d));
        [text(1, name), text(4, "a"), text(5, "r"), nodes, text(10, "local"), defaults].concat()
    };
    let f = function("f", &[&add, &leaky], Some(&alpha(0.5)));
    let g =
        function("g", &[&node("f", "local", &["a"], "t", &alpha(0.25)), &node("f", "local", &["t"], "r", &[])], None);
    let endless = function("h", &[&node("h", "local", &["a"], "r", &[])], None);
    let file = |op: &str| {
        let mut m = model(13, &[1, 2], vec![], vec![super::test_models::node(op, &["x"], &["y"], vec![])]);
        m.graph.as_mut().unwrap().node[0].domain = Some("local".into());
        let functions = [&f, &g, &endless].map(|f| [&[25 << 3 & 127 | 128 | 2, 1], &field(0, f)[1..]].concat());
        [m.write_buf().unwrap(), functions.concat()].concat()
    };
    let run = |op| import_bytes(&file(op), Path::new("m"), &ImportOptions::default());
    let alphas: Vec<f32> = run("g")
        .unwrap()
        .graph
        .nodes
        .iter()
        .filter_map(|n| if let Op::Unary(Unary::LeakyRelu { alpha }) = n.op { Some(alpha) } else { None })
        .collect();
    assert_eq!(alphas, [0.25, 0.5]);
    assert!(run("h").unwrap_err().to_string().contains("calls itself"));
}

/// If this fails, a small file makes the importer take as much memory as its nodes are many.
#[test]
fn a_constant_is_there_once_however_many_nodes_use_it() {
    const SIDE: i64 = 64;
    const USES: usize = 60;
    let w = || floats("w", &[SIDE, SIDE], (0..SIDE * SIDE).map(|i| i as f32).collect());
    let matrix = 4 * (SIDE * SIDE) as u64;
    // The file's matrix and its transpose, and the tensors between the nodes.
    let options = ImportOptions { memory_cap: 2 * matrix + 4 * (USES as u64 + 1) * SIDE as u64, ..Default::default() };
    let build = |op: &str, aliased: bool| {
        let mut nodes = Vec::new();
        for i in 0..USES {
            let (name, mut used) = (|i: usize| if i == USES { "y".into() } else { format!("x{i}") }, "w".to_owned());
            let input = if i == 0 { "x".to_owned() } else { name(i) };
            if aliased {
                used = format!("w{i}");
                nodes.push(node("Identity", &["w"], &[&used], vec![]));
            }
            nodes.push(node(op, &[&input, &used], &[&name(i + 1)], vec![]));
        }
        let bytes = model(13, &[1, SIDE], vec![w()], nodes).write_buf().unwrap();
        // Sums are as large as the matrix.
        let sums = if op == "Add" { USES as u64 * matrix } else { 0 };
        let options = ImportOptions { memory_cap: options.memory_cap + sums, ..options.clone() };
        import_bytes(&bytes, Path::new("m.onnx"), &options).unwrap().graph
    };
    for (op, aliased) in [("MatMul", false), ("MatMul", true), ("Gemm", false), ("Add", true)] {
        let graph = build(op, aliased);
        assert_eq!((graph.nodes.len(), graph.constants.len()), (USES, 1), "{op}");
        let data = &graph.constants[&graph.nodes[USES - 1].inputs[1]];
        assert_eq!(data[1], if op == "Add" { 1.0 } else { SIDE as f32 }, "{op}");
    }
}
