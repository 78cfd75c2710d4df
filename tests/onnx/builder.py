"""Builds small ONNX networks node by node, and stores them with onnxruntime's results."""

import copy
import json
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

INTEGERS = {TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}
FLOATS = {TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}


def rng(name):
    """Randomness that depends on the case's name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


class Net:
    """A network being written. Tensors go by name; the first input is `x`."""

    def __init__(self, name, shape=(1, 3, 8, 8), opset=17, ir=None, dims=None, inits_as_inputs=False, input_type=TensorProto.FLOAT):
        self.name, self.shape, self.opset = name, tuple(shape), opset
        self.ir = ir or (10 if opset > 19 else 8)
        self.dims = list(shape) if dims is None else dims  # as declared: names stand for open sizes
        self.inits_as_inputs = inits_as_inputs
        self.rng = rng(name)
        self.nodes, self.inits, self.outputs, self.functions = [], [], [], []
        self.domains = {}
        self.input_type = input_type
        self.input_values = None
        self.more_inputs = []  # name, element type, values
        self.count = 0
        self.prefix = ""

    def fresh(self, stem):
        self.count += 1
        return f"{self.prefix}{stem}_{self.count}"

    def input(self, name, values, kind=TensorProto.FLOAT):
        """A further input, with what to run with."""
        self.more_inputs.append((name, kind, values))
        return name

    def const(self, value, dtype=np.float32, name=None):
        """An initializer."""
        name = name or self.fresh("c")
        self.inits.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def ints(self, *values):
        """A 1-D int64 initializer."""
        return self.const(list(values), np.int64)

    def constant(self, value, dtype=np.float32):
        """A Constant node."""
        return self.node("Constant", value=numpy_helper.from_array(np.array(value, dtype=dtype)))

    def normal(self, *dims, scale=1.0):
        return (self.rng.standard_normal(dims) * scale).astype(np.float32)

    def weights(self, *dims, fan_in=None):
        """Seeded weights of about unit gain."""
        fan_in = fan_in or int(np.prod(dims[1:]))
        return self.const(self.normal(*dims, scale=1.4 / np.sqrt(fan_in)))

    def node(self, op, *inputs, outputs=1, names=None, domain="", node_name=None, **attributes):
        """Appends a node; gives its output's name (or names)."""
        names = names if names is not None else [self.fresh(op.lower()) for _ in range(outputs)]
        names = [names] if isinstance(names, str) else names
        node = helper.make_node(op, inputs, names, name=node_name or f"{names[0]}_node", domain=domain, **attributes)
        self.nodes.append(node)
        if domain:
            self.domains.setdefault(domain, 1)
        return names[0] if len(names) == 1 else names

    def conv(self, x, c_in, c_out, k, bias=True, group=1, **attributes):
        """A convolution with square (2-D) kernel `k`, or of the kernel given as a tuple."""
        kernel = (k, k) if isinstance(k, int) else tuple(k)
        inputs = [x, self.weights(c_out, c_in // group, *kernel)]
        if bias:
            inputs.append(self.const(self.normal(c_out, scale=0.1)))
        if group != 1:
            attributes["group"] = group
        return self.node("Conv", *inputs, kernel_shape=kernel, **attributes)

    def same(self, x, c_in, c_out, k, **attributes):
        """A convolution that keeps the size (for stride 1)."""
        return self.conv(x, c_in, c_out, k, pads=[k // 2] * 4, **attributes)

    def stem(self, c_out=4):
        """The layer that most cases begin with, so that they have one to outsource."""
        kernel = (1,) * (len(self.shape) - 2)
        return self.conv("x", self.shape[1], c_out, kernel)

    def bn(self, x, c, node_name=None, **attributes):
        r = self.rng
        stats = [r.uniform(0.5, 1.5, c), r.normal(0, 0.3, c), r.normal(0, 0.3, c), r.uniform(0.5, 2, c)]
        return self.node("BatchNormalization", x, *[self.const(s) for s in stats], node_name=node_name, **attributes)

    def dense(self, x, c_in, c_out):
        """A Gemm as PyTorch writes it."""
        return self.node("Gemm", x, self.weights(c_out, c_in), self.const(self.normal(c_out, scale=0.1)), transB=1)

    def head(self, x, c, classes=5):
        """Global average, flatten, dense."""
        return self.dense(self.node("Flatten", self.node("GlobalAveragePool", x)), c, classes)

    def out(self, *names, types=None):
        self.outputs = [(n, (types or {}).get(n, TensorProto.FLOAT)) for n in names]
        return self

    def model(self):
        info = helper.make_tensor_value_info
        inputs = [info("x", self.input_type, self.dims)]
        inputs += [info(name, kind, values.shape) for name, kind, values in self.more_inputs]
        if self.inits_as_inputs:
            inputs += [info(t.name, t.data_type, list(t.dims)) for t in self.inits]
        outputs = [info(n, t, None) for n, t in self.outputs]
        graph = helper.make_graph(self.nodes, self.name, inputs, outputs, self.inits)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(d, v) for d, v in sorted(self.domains.items())]
        model = helper.make_model(graph, opset_imports=opsets, functions=self.functions, producer_name="twinmask-tests")
        model.ir_version = self.ir
        return model

    def values(self):
        """The inputs to run with, by name, in their order."""
        if self.input_values is not None:
            x = np.asarray(self.input_values).reshape(self.shape)
        else:
            x = rng(self.name + "/input").standard_normal(self.shape)
        return {"x": x.astype(INTEGERS.get(self.input_type, np.float32)), **{n: v for n, _, v in self.more_inputs}}


def single_precision(model):
    """A copy whose other floats are float32, of the same values: what onnxruntime is to compute as reference."""
    model = copy.deepcopy(model)

    def widen(tensor):
        if tensor.data_type in FLOATS:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), name))

    for tensor in model.graph.initializer:
        widen(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = TensorProto.FLOAT
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


class Collection:
    """The files in `folder`: `models/NAME.onnx`, `tensors.bin` (little-endian float32) and `manifest.json`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.models = self.folder / "models"
        self.models.mkdir(exist_ok=True)
        self.entries, self.tensors, self.position = [], [], 0

    def store(self, array):
        """Appends a tensor; gives where it is."""
        data = np.ascontiguousarray(array, dtype="<f4")
        entry = {"shape": list(data.shape), "offset": self.position}
        self.tensors.append(data.tobytes())
        self.position += data.size
        return entry

    def save(self, net, model=None, external=None):
        model = model or net.model()
        path = self.models / f"{net.name}.onnx"
        assert not any(e["name"] == net.name for e in self.entries), net.name
        if external:
            (self.models / external).unlink(missing_ok=True)
            onnx.save_model(model, path, save_as_external_data=True, location=external, size_threshold=0)
        else:
            path.write_bytes(model.SerializeToString(deterministic=True))
        return path

    def accepted(self, net, local=False, external=None):
        """A file that imports; `local` if it has no layer to outsource."""
        model = net.model()
        self.save(net, copy.deepcopy(model), external)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        reference = single_precision(model).SerializeToString(deterministic=True)
        session = onnxruntime.InferenceSession(reference, options, providers=["CPUExecutionProvider"])
        inputs = net.values()
        results = session.run(None, inputs)
        for result in results:
            assert np.isfinite(result).all(), f"{net.name}: the result is not finite"
            assert result.size == 1 or np.ptp(result) > 0, f"{net.name}: the result is constant"
        entry = {"name": net.name, "inputs": [self.store(x) for x in inputs.values()], "outputs": [self.store(r) for r in results]}
        if any(isinstance(d, str) for d in net.dims[2:]) and len(net.dims) == 4:
            entry["input_size"] = list(net.shape[2:])
        if local:
            entry["local"] = True
        self.entries.append(entry)

    def refused(self, net, reason, model=None):
        """A file that must be refused with an error in which `reason` occurs."""
        self.save(net, model)
        self.entries.append({"name": net.name, "refused": reason})

    def finish(self):
        (self.folder / "tensors.bin").write_bytes(b"".join(self.tensors))
        lines = ",\n".join(json.dumps(e) for e in self.entries)
        (self.folder / "manifest.json").write_text(f"[\n{lines}\n]\n")
        known = {f"{e['name']}.onnx" for e in self.entries}
        for path in self.models.glob("*.onnx"):
            if path.name not in known:
                path.unlink()
