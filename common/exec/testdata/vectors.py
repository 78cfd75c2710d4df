"""Writes vectors.json: each operator of the executor as onnxruntime computes it.

python3 -m venv venv && venv/bin/pip install onnx onnxruntime numpy && venv/bin/python vectors.py
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import helper, numpy_helper

rng = np.random.default_rng(2026)
cases = []


def tensor(*shape, low=-64, high=64):
    """Sixteenths: short in JSON, exact in f32."""
    return np.asarray(rng.integers(low, high, shape) / 16, dtype=np.float32)


def values(a):
    return [int(v) if v == int(v) else float(f"{v:.7g}") for v in a.astype(np.float64).ravel()]


def case(op, name, inputs, consts=(), opset=19, types=None, **attributes):
    """`op` is the executor's operator, as serde writes it; `name` and `attributes` are ONNX's. None: an absent operand. `types`:
    numpy's of the inputs, where they are not all float32 for ONNX."""
    types = types or [np.float32] * len(inputs)
    given = [f"x{i}" for i in range(len(inputs))]
    fixed = [f"c{i}" if c is not None else "" for i, c in enumerate(consts)]
    node = helper.make_node(name, given + fixed, ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(t)), x.shape)
         for n, t, x in zip(given, types, inputs)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(c, n) for n, c in zip(fixed, consts) if c is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    y = ort.InferenceSession(model.SerializeToString(), options).run(None, {n: x.astype(t) for n, t, x in zip(given, types, inputs)})[0]
    cases.append({
        "op": op,
        "inputs": [[list(x.shape), values(x)] for x in inputs],
        "output": [list(y.shape), values(y)],
    })


def scalar(v):
    return np.array(v, dtype=np.float32)


def ints(*v):
    return np.array(v, dtype=np.int64)


def window(kernel, stride=(1, 1), pad=(0, 0, 0, 0), dilation=(1, 1)):
    rust = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation}
    return rust, {"kernel_shape": kernel, "strides": stride, "pads": pad, "dilations": dilation}


def unary(rust, name, x=None, opset=20, **attributes):
    case({"Unary": rust}, name, [tensor(2, 9) if x is None else x], opset=opset, **attributes)


positive = tensor(2, 9, low=1)
unary("Relu", "Relu")
unary({"LeakyRelu": {"alpha": 0.125}}, "LeakyRelu", alpha=0.125)
unary({"Elu": {"alpha": 1.5}}, "Elu", alpha=1.5)
unary("Sigmoid", "Sigmoid", 8 * tensor(2, 9))
unary({"HardSigmoid": {"alpha": 0.25, "beta": 0.5}}, "HardSigmoid", alpha=0.25, beta=0.5)
unary("HardSwish", "HardSwish")
unary("Tanh", "Tanh")
unary({"Gelu": {"tanh": False}}, "Gelu", approximate="none")
unary({"Gelu": {"tanh": True}}, "Gelu", approximate="tanh")
unary("Erf", "Erf")
unary("Exp", "Exp")
unary("Log", "Log", positive)
unary("Sqrt", "Sqrt", positive)
unary("Abs", "Abs")
unary("Neg", "Neg")
unary("Reciprocal", "Reciprocal", positive)
unary("Softplus", "Softplus", 8 * tensor(2, 9))
case({"Unary": {"Clip": {"min": -1, "max": 2}}}, "Clip", [tensor(3, 5)], [scalar(-1), scalar(2)])

for a, b in [((2, 3, 4), (2, 3, 4)), ((1, 3, 2, 4), (3, 1, 1)), ((3, 1, 4), (2, 3, 5, 1)), ((4,), ()), ((2, 1), (1, 3))]:
    for name in ["Add", "Sub", "Mul", "Div", "Max", "Min"]:
        case({"Binary": name}, name, [tensor(*a), tensor(*b, low=1)])
case({"Binary": "Pow"}, "Pow", [tensor(3, 4, low=1), tensor(4)])
case({"Binary": "Pow"}, "Pow", [tensor(3, 4), scalar(2)])
case({"Binary": "PRelu"}, "PRelu", [tensor(1, 3, 2, 2), tensor(3, 1, 1)])

convs = [  # x, output channels, groups, window
    ((1, 3, 7, 6), 4, 1, window((3, 3), pad=(1, 1, 1, 1))),
    ((1, 3, 9, 8), 2, 1, window((5, 3), (2, 3), (2, 0, 1, 2))),
    ((1, 4, 6, 6), 4, 4, window((3, 3), (1, 1), (1, 1, 1, 1))),
    ((1, 4, 7, 7), 4, 4, window((3, 3), (2, 2), (1, 1, 1, 1))),
    ((1, 4, 8, 8), 8, 4, window((3, 3), (2, 2), (0, 0, 1, 1))),
    ((1, 6, 5, 5), 4, 2, window((1, 1))),
    ((1, 9, 4, 5), 2, 1, window((1, 1), (2, 2))),
    ((1, 2, 9, 9), 2, 1, window((3, 3), (1, 2), (2, 2, 2, 2), (2, 2))),
    ((1, 1, 3, 3), 1, 1, window((7, 7), (1, 1), (3, 3, 3, 3))),
]
for x, outputs, groups, (rust, onnx) in convs:
    inputs = [tensor(*x), tensor(outputs, x[1] // groups, *onnx["kernel_shape"], low=-8, high=9), tensor(outputs)]
    case({"Conv": {"window": rust, "groups": groups}}, "Conv", inputs, group=groups, **onnx)
rust = window((1, 3), (1, 2), (0, 1, 0, 1))[0]
case({"Conv": {"window": rust, "groups": 2}}, "Conv", [tensor(1, 4, 9), tensor(2, 2, 3)],
     group=2, kernel_shape=[3], strides=[2], pads=[1, 1])

transposed = [
    ((1, 3, 4, 5), 2, 1, (0, 0), window((2, 2), (2, 2))),
    ((1, 4, 3, 4), 2, 2, (1, 1), window((3, 3), (2, 2), (1, 1, 1, 1))),
    ((1, 2, 5, 4), 3, 1, (0, 1), window((3, 2), (1, 3), (2, 0, 1, 1), (2, 1))),
]
for x, outputs, groups, added, (rust, onnx) in transposed:
    inputs = [tensor(*x), tensor(x[1], outputs, *onnx["kernel_shape"], low=-8, high=9), tensor(outputs * groups)]
    op = {"ConvTranspose": {"window": rust, "output_padding": added, "groups": groups}}
    case(op, "ConvTranspose", inputs, group=groups, output_padding=added, **onnx)

case({"Dense": None}, "Gemm", [tensor(3, 37), tensor(5, 37), tensor(5)], transB=1)
for a, b in [((3, 4), (4, 5)), ((2, 3, 4), (4, 2)), ((2, 1, 3, 9), (5, 9, 1)), ((1, 2, 2, 17), (3, 1, 17, 4))]:
    case({"MatMul": None}, "MatMul", [tensor(*a), tensor(*b)])

pools = [  # x, window, ceil
    ((1, 1, 7, 9), window((3, 3), (2, 2)), 0),
    ((1, 1, 8, 8), window((3, 3), (2, 2)), 1),
    ((1, 1, 7, 6), window((3, 3), (2, 2), (1, 1, 1, 1)), 0),
    ((1, 1, 7, 6), window((3, 3), (2, 2), (1, 1, 1, 1)), 1),
    ((1, 1, 6, 6), window((2, 2), (2, 2)), 0),
    ((1, 1, 5, 6), window((3, 3), (1, 1), (1, 1, 1, 1)), 0),
    ((1, 1, 9, 8), window((2, 3), (1, 3), (0, 1, 0, 0)), 1),
    ((1, 1, 9, 9), window((2, 3), (2, 1), (1, 2, 1, 2), (2, 2)), 0),
    ((1, 3, 4, 4), window((4, 4)), 0),
]
for x, (rust, onnx), ceil in pools:
    case({"Pool": {"window": rust, "kind": "Max", "ceil": ceil == 1}}, "MaxPool", [tensor(*x)], ceil_mode=ceil, **onnx)
    for include in [0, 1]:
        op = {"Pool": {"window": rust, "kind": {"Average": {"count_include_pad": include == 1}}, "ceil": ceil == 1}}
        case(op, "AveragePool", [tensor(*x)], ceil_mode=ceil, count_include_pad=include, **onnx)
rust = window((1, 3), (1, 2), (0, 1, 0, 1))[0]
case({"Pool": {"window": rust, "kind": "Max", "ceil": False}}, "MaxPool", [tensor(1, 2, 9)], kernel_shape=[3], strides=[2], pads=[1, 1])

for name in ["Mean", "Sum", "Max", "Min", "L2"]:
    for axes, keep in [((2, 3), 1), ((1,), 0), ((0, 2), 0), ((0, 1, 2, 3), 0), ((3,), 1)]:
        op = {"Reduce": {"kind": name, "axes": axes, "keep_dims": keep == 1}}
        case(op, f"Reduce{name}", [tensor(2, 3, 2, 9)], [ints(*axes)], opset=18, keepdims=keep)

for axis, keep, last in [(1, 1, 0), (1, 0, 1), (2, 1, 1), (0, 0, 0)]:
    op = {"ArgMax": {"axis": axis, "keep_dims": keep == 1, "last": last == 1}}
    case(op, "ArgMax", [tensor(2, 9, 4, low=0, high=4)], axis=axis, keepdims=keep, select_last_index=last)

for axis in range(3):
    case({"Softmax": {"axis": axis, "log": False}}, "Softmax", [16 * tensor(2, 5, 3)], axis=axis)
    case({"Softmax": {"axis": axis, "log": True}}, "LogSoftmax", [16 * tensor(2, 5, 3)], axis=axis)

case({"Normalize": {"axes": [1, 2], "epsilon": 0.01}}, "LayerNormalization", [tensor(2, 3, 5)],
     [np.ones((3, 5), np.float32)], axis=1, epsilon=0.01)
case({"Normalize": {"axes": [2, 3], "epsilon": 0.01}}, "InstanceNormalization", [tensor(1, 3, 4, 5)],
     [np.ones(3, np.float32), np.zeros(3, np.float32)], epsilon=0.01)

for size, alpha, beta, bias in [(5, 1e-1, 0.75, 1.0), (3, 0.5, 0.5, 2.0), (1, 1.0, 1.0, 0.5)]:
    op = {"Lrn": {"size": size, "alpha": alpha, "beta": beta, "bias": bias}}
    case(op, "LRN", [tensor(1, 7, 2, 3)], size=size, alpha=alpha, beta=beta, bias=bias)

case({"Concat": {"axis": 1}}, "Concat", [tensor(2, 1, 3), tensor(2, 4, 3), tensor(2, 2, 3)], axis=1)
case({"Concat": {"axis": 2}}, "Concat", [tensor(2, 2, 3), tensor(2, 2, 1)], axis=2)
case({"Reshape": {"shape": [3, 8]}}, "Reshape", [tensor(2, 3, 4)], [ints(3, 8)])
for perm in [(0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3), (0, 1, 2, 3), (2, 0, 3, 1)]:
    case({"Transpose": {"perm": perm}}, "Transpose", [tensor(2, 3, 2, 4)], perm=perm)

for mode, name in [({"Constant": 1.5}, "constant"), ("Reflect", "reflect"), ("Edge", "edge")]:
    for before, after in [((0, 0, 1, 2), (0, 0, 2, 0)), ((0, 1, 0, 3), (1, 1, 3, 3))]:
        op = {"Pad": {"before": before, "after": after, "mode": mode}}
        case(op, "Pad", [tensor(2, 2, 4, 5)], [ints(*before, *after), scalar(1.5)], mode=name)

for start, step, size in [((0, 1, 0), (1, 1, 1), (2, 2, 5)), ((1, 3, 4), (-1, -2, -3), (2, 2, 2)), ((0, 0, 1), (1, 3, 2), (1, 2, 2))]:
    end = [s + d * n for s, d, n in zip(start, step, size)]
    end = [e if e >= 0 else -100 for e in end]
    op = {"Slice": {"start": start, "step": step, "size": size}}
    case(op, "Slice", [tensor(2, 4, 5)], [ints(*start), ints(*end), ints(0, 1, 2), ints(*step)])

case({"Expand": {"shape": [2, 3, 4]}}, "Expand", [tensor(3, 1)], [ints(2, 3, 4)])

modes = ["HalfPixel", "PytorchHalfPixel", "AlignCorners", "Asymmetric"]
snake = {"HalfPixel": "half_pixel", "PytorchHalfPixel": "pytorch_half_pixel", "AlignCorners": "align_corners",
         "Asymmetric": "asymmetric", "RoundPreferFloor": "round_prefer_floor", "RoundPreferCeil": "round_prefer_ceil",
         "Floor": "floor", "Ceil": "ceil"}
for coordinates in modes:
    for scale in [(1, 1, 2, 3), (1, 1, 0.5, 0.75), (1, 1, 1.5, 0.2)]:
        x = tensor(1, 1, 4, 5)
        shape = [int(np.floor(n * s)) for n, s in zip(x.shape, scale)]
        common = {"coordinates": coordinates, "scale": scale, "shape": shape}
        consts = [None, np.array(scale, dtype=np.float32)]
        how = {"coordinate_transformation_mode": snake[coordinates]}
        case({"Resize": {"mode": "Linear", **common}}, "Resize", [x], consts, mode="linear", **how)
        for rounding in ["RoundPreferFloor", "RoundPreferCeil", "Floor", "Ceil"]:
            op = {"Resize": {"mode": {"Nearest": rounding}, **common}}
            case(op, "Resize", [x], consts, mode="nearest", nearest_mode=snake[rounding], **how)

for c, a, b in [((2, 3, 4), (2, 3, 4), (2, 3, 4)), ((3, 1), (1, 4), ()), ((1,), (2, 3), (2, 1)), ((4,), (2, 1, 4), (3, 1))]:
    flags = np.asarray(rng.integers(0, 2, c), dtype=np.float32)
    case({"Where": None}, "Where", [flags, tensor(*a), tensor(*b)], types=[bool, np.float32, np.float32])

for x, axis, i in [((7, 3), 0, (4,)), ((2, 5, 3), 1, (2, 2)), ((2, 3, 4), 2, ()), ((1, 4), 1, (1, 3))]:
    at = np.asarray(rng.integers(-x[axis], x[axis], i), dtype=np.float32)
    case({"Gather": {"axis": axis}}, "Gather", [tensor(*x), at], types=[np.float32, np.int64], axis=axis)

lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
Path(__file__).with_name("vectors.json").write_text(f"[\n{lines}\n]\n")
