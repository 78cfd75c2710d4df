"""The patterns that exporters emit around the layers of a network."""

import numpy as np
from onnx import AttributeProto, TensorProto, helper

from builder import Net


def reference(name, to, kind):
    """An attribute within a function that is the function's attribute `to`."""
    return AttributeProto(name=name, ref_attr_name=to, type=kind)


def torchscript(c):
    """PyTorch's first exporter."""
    net = Net("torchscript_constants_identity", opset=13)
    net.prefix = "/features/features.0/"
    y = net.same("x", 3, 6, 3)
    shared = net.const(net.normal(6, 1, 1))
    y = net.node("Mul", y, net.node("Identity", shared))
    y = net.node("Add", y, net.constant(0.25))
    y = net.node("Div", net.node("Add", y, net.node("Identity", net.node("Identity", shared))), net.constant(2.0))
    net.out(net.node("Identity", y))
    c.accepted(net)

    def flatten(name, opset, dims=None):
        net = Net(name, opset=opset, dims=dims)
        y = net.node("GlobalAveragePool", net.node("Relu", net.same("x", 3, 6, 3)))
        batch = net.node("Gather", net.node("Shape", y), net.constant(0, np.int64), axis=0)
        if opset < 13:
            parts = [net.node("Unsqueeze", v, axes=[0]) for v in (batch, net.constant(-1, np.int64))]
        else:
            parts = [net.node("Unsqueeze", v, net.constant([0], np.int64)) for v in (batch, net.constant(-1, np.int64))]
        y = net.node("Reshape", y, net.node("Concat", *parts, axis=0))
        net.out(net.dense(y, 6, 5))
        c.accepted(net)

    flatten("torchscript_flatten_opset11", 11)
    flatten("torchscript_flatten_dynamic_batch", 13, ["batch", 3, 8, 8])
    flatten("torchscript_flatten_open_size", 17, ["N", 3, "height", "width"])

    net = Net("torchscript_upsample_by_shape", opset=11, dims=["N", 3, "H", "W"])
    y = net.same("x", 3, 4, 3, strides=[2, 2])
    shape = net.node("Shape", "x")
    size = net.node("Slice", shape, net.constant([2], np.int64), net.constant([4], np.int64), net.constant([0], np.int64))
    front = net.node("Slice", net.node("Shape", y), net.constant([0], np.int64), net.constant([2], np.int64), net.constant([0], np.int64))
    sizes = net.node("Concat", front, net.node("Cast", size, to=TensorProto.INT64), axis=0)
    none = net.constant(np.zeros(0, np.float32))
    net.out(net.node("Resize", y, none, none, sizes, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"))
    c.accepted(net)

    net = Net("torchscript_pad_by_shape_arithmetic", (1, 3, 7, 9), opset=11)
    shape = net.node("Shape", "x")
    extra = []
    for axis in (2, 3):
        n = net.node("Gather", shape, net.constant(axis, np.int64))
        up = net.node("Mul", net.node("Div", net.node("Add", n, net.constant(3, np.int64)), net.constant(4, np.int64)), net.constant(4, np.int64))
        extra.append(net.node("Unsqueeze", net.node("Sub", up, n), axes=[0]))
    zeros = net.node("ConstantOfShape", net.constant([6], np.int64), value=helper.make_tensor("v", TensorProto.INT64, [1], [0]))
    pads = net.node("Concat", zeros, *extra, axis=0)
    net.out(net.conv(net.node("Pad", "x", pads, net.constant(0.0)), 3, 4, 4, strides=[4, 4]))
    c.accepted(net)

    net = Net("torchscript_view_chunk", opset=13)
    y = net.same("x", 3, 8, 3)
    a, b = net.node("Split", y, outputs=2, axis=1)
    dims = [net.node("Unsqueeze", net.node("Gather", net.node("Shape", a), net.constant(i, np.int64)), net.constant([0], np.int64)) for i in (0, 1)]
    flat = net.node("Reshape", net.node("Mul", a, net.node("Sigmoid", b)), net.node("Concat", *dims, net.constant([-1], np.int64), axis=0))
    net.out(net.node("Transpose", flat, perm=[0, 2, 1]))
    c.accepted(net)

    net = Net("torchscript_expand_where", opset=13)
    y = net.node("GlobalAveragePool", net.same("x", 3, 4, 3))
    wanted = net.constant([-1, 4, 8, 8], np.int64)
    minus = net.node("Mul", net.node("ConstantOfShape", net.constant([4], np.int64), value=helper.make_tensor("v", TensorProto.INT64, [1], [1])), net.constant(-1, np.int64))
    ones = net.node("ConstantOfShape", net.constant([4], np.int64), value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    net.out(net.node("Expand", y, net.node("Where", net.node("Equal", wanted, minus), ones, wanted)))
    c.accepted(net)

    net = Net("torchscript_linear_of_3d", (1, 6, 8), opset=13)
    w = net.node("Transpose", net.weights(5, 8), perm=[1, 0])
    net.out(net.node("Add", net.node("MatMul", "x", w), net.const(net.normal(5))))
    c.accepted(net)

    net = Net("torchscript_normalize", (1, 12), opset=11)
    y = net.dense("x", 12, 8)
    norm = net.node("Clip", net.node("ReduceL2", y, axes=[1], keepdims=1), net.constant(1e-12))
    net.out(net.node("Div", y, net.node("Expand", norm, net.node("Shape", y))))
    c.accepted(net)

    net = Net("torchscript_if_folded_squeeze", opset=13)
    y = net.node("ReduceMean", net.same("x", 3, 4, 3), axes=[2, 3], keepdims=0)
    net.out(net.node("Unsqueeze", net.node("Squeeze", y, net.constant([0], np.int64)), net.constant([0], np.int64)))
    c.accepted(net)


def dynamo(c):
    """PyTorch's second exporter: local functions, opset 18 and later."""
    net = Net("dynamo_functions", opset=18)
    domain = "pkg.onnxscript.torch_lib"
    opsets = [helper.make_opsetid("", 18)]
    make = helper.make_node
    alpha = make("Constant", [], ["alpha"])
    alpha.attribute.append(reference("value_float", "alpha", AttributeProto.FLOAT))
    addition = [alpha, make("CastLike", ["alpha", "other"], ["same"]), make("Mul", ["other", "same"], ["scaled"]), make("Add", ["self", "scaled"], ["out"])]
    net.functions.append(helper.make_function(domain, "aten_add", ["self", "other"], ["out"], addition, opsets, ["alpha"]))
    silu = [make("Sigmoid", ["self"], ["gate"]), make("Mul", ["self", "gate"], ["out"])]
    net.functions.append(helper.make_function(domain, "aten_silu", ["self"], ["out"], silu, opsets))
    net.domains[domain] = 1
    inner = [make("aten_silu", ["self"], ["a"], domain=domain), make("aten_add", ["a", "self"], ["out"], domain=domain, alpha=0.5)]
    both = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]
    net.functions.append(helper.make_function(domain, "torch_nn_Block_1", ["self"], ["out"], inner, both))
    y = net.node("torch_nn_Block_1", net.same("x", 3, 4, 3), domain=domain)
    y = net.node("torch_nn_Block_1", net.same(y, 4, 4, 3), domain=domain)
    net.out(y)
    c.accepted(net)

    net = Net("dynamo_function_with_attributes", opset=18)
    conv = make("Conv", ["input", "weight", "bias"], ["out"])
    for key in ("strides", "pads"):
        conv.attribute.append(reference(key, key, AttributeProto.INTS))
    net.functions.append(helper.make_function(domain, "aten_conv2d", ["input", "weight", "bias"], ["out"], [conv], opsets, ["strides", "pads"]))
    net.domains[domain] = 1
    net.out(net.node("aten_conv2d", "x", net.weights(4, 3, 3, 3), net.const(net.normal(4)), domain=domain, strides=[2, 2], pads=[1, 1, 1, 1]))
    c.accepted(net)

    net = Net("dynamo_opset18_mean_view", opset=18, dims=["s0", 3, 8, 8])
    y = net.node("Relu", net.conv("x", 3, 6, 3, pads=[1, 1, 1, 1], auto_pad="NOTSET", dilations=[1, 1], strides=[1, 1]))
    y = net.node("ReduceMean", y, net.const([-1, -2], np.int64, name="val_2"), keepdims=1, noop_with_empty_axes=0)
    first = net.node("Shape", "x", start=0, end=1)
    y = net.node("Reshape", y, net.node("Concat", first, net.constant([-1], np.int64), axis=0), allowzero=1)
    net.out(net.dense(y, 6, 5))
    c.accepted(net)

    net = Net("dynamo_opset20_attention_scale", (1, 6, 8), opset=20)
    q, k = (net.node("MatMul", "x", net.weights(8, 8)) for _ in range(2))
    scale = net.node("Sqrt", net.node("Sqrt", net.constant(8.0)))
    q, k = net.node("Div", q, scale), net.node("Div", net.node("Transpose", k, perm=[0, 2, 1]), scale)
    net.out(net.node("Softmax", net.node("MatMul", q, k), axis=-1))
    c.accepted(net)

    net = Net("dynamo_opset18_split_chunk", (1, 6, 8), opset=18)
    y = net.node("Add", net.node("MatMul", "x", net.weights(8, 12)), net.const(net.normal(12)))
    a, b = net.node("Split", y, outputs=2, axis=-1, num_outputs=2)
    net.out(net.node("Mul", a, net.node("Gelu", b) if net.opset >= 20 else net.node("Sigmoid", b)))
    c.accepted(net)


def tensorflow(c):
    """Converters of NHWC networks."""
    def nhwc(net, x, f):
        y = f(net.node("Transpose", x, perm=[0, 3, 1, 2]))
        return net.node("Transpose", y, perm=[0, 2, 3, 1])

    net = Net("tf_nhwc_input", (1, 9, 9, 3), opset=13)
    y = nhwc(net, "x", lambda y: net.conv(y, 3, 6, 3, bias=False, auto_pad="SAME_UPPER", strides=[2, 2]))
    y = net.node("Add", y, net.const(net.normal(6)))
    y = nhwc(net, net.node("Relu", y), lambda y: net.conv(y, 6, 6, 3, bias=False, group=6, auto_pad="SAME_UPPER"))
    y = net.node("Min", net.node("Max", net.node("Add", y, net.const(net.normal(1, 1, 1, 6))), net.const(0.0)), net.const(6.0))
    y = nhwc(net, y, lambda y: net.conv(y, 6, 8, 1, bias=False))
    y = net.node("ReduceMean", y, axes=[1, 2], keepdims=0)
    net.out(net.node("Softmax", net.node("Add", net.node("MatMul", y, net.weights(8, 5)), net.const(net.normal(5)))))
    c.accepted(net)

    net = Net("tf_pad_valid_conv", (1, 3, 9, 9), opset=10)
    y = net.node("Pad", "x", pads=[0, 0, 0, 0, 0, 0, 1, 1])
    y = net.conv(y, 3, 6, 3, bias=False, auto_pad="VALID", strides=[2, 2])
    y = net.node("Add", y, net.const(net.normal(1, 6, 1, 1)))
    net.out(net.node("Relu", net.bn(y, 6, epsilon=1e-3)))
    c.accepted(net)

    net = Net("tf_pad_nhwc_conv", (1, 9, 9, 3), opset=13)
    y = net.node("Pad", "x", net.ints(0, 1, 1, 0, 0, 1, 1, 0))
    net.out(nhwc(net, y, lambda y: net.conv(y, 3, 4, 3, strides=[2, 2])))
    c.accepted(net)

    net = Net("tf_squeezed_logits", (1, 3, 8, 8), opset=13)
    y = net.node("AveragePool", net.node("Relu", net.same("x", 3, 6, 3)), kernel_shape=[8, 8])
    y = net.node("Squeeze", net.conv(y, 6, 5, 1), net.ints(2, 3))
    net.out(net.node("Softmax", net.node("Reshape", y, net.ints(-1, 5))))
    c.accepted(net)

    net = Net("tf_conv1d_as_2d", (1, 12, 3), opset=13)
    y = net.node("Transpose", "x", perm=[0, 2, 1])
    y = net.node("Unsqueeze", y, net.ints(2))
    y = net.conv(y, 3, 4, (1, 3), bias=False, auto_pad="SAME_UPPER")
    net.out(net.node("Transpose", net.node("Squeeze", y, net.ints(2)), perm=[0, 2, 1]))
    c.accepted(net)

    net = Net("tf_batchnorm_as_arithmetic", opset=13)
    y = net.same("x", 3, 6, 3, bias=False)
    y = net.node("Add", net.node("Mul", y, net.const(net.normal(6, 1, 1))), net.const(net.normal(6, 1, 1)))
    y = net.node("Sub", net.node("Div", y, net.const([[[1.7]]])), net.const(net.normal(1, 6, 1, 1)))
    net.out(y)
    c.accepted(net)

    net = Net("tf_flatten_by_strided_slice", (1, 6, 6, 3), opset=12)
    y = nhwc(net, "x", lambda y: net.conv(y, 3, 2, 3))
    shape = net.node("Cast", net.node("Shape", y), to=TensorProto.INT32)
    batch = net.node("Slice", shape, net.ints(0), net.ints(1), net.ints(0))
    rest = net.node("ReduceProd", net.node("Slice", shape, net.ints(1), net.ints(4), net.ints(0)), axes=[0], keepdims=1)
    y = net.node("Reshape", y, net.node("Cast", net.node("Concat", batch, rest, axis=0), to=TensorProto.INT64))
    net.out(net.node("Add", net.node("MatMul", y, net.weights(32, 5, fan_in=32)), net.const(net.normal(5))))
    c.accepted(net)

    net = Net("tf_input_normalisation", (1, 8, 8, 3), opset=13)
    y = net.node("Sub", net.node("Mul", "x", net.const(1 / 127.5)), net.const([1.0, 0.9, 1.1]))
    net.out(nhwc(net, y, lambda y: net.conv(y, 3, 4, 3)))
    c.accepted(net)


def model_zoo(c):
    """Older files: initializers as inputs, ir version 3, opsets 7 to 9."""
    old = dict(ir=3, inits_as_inputs=True)
    net = Net("zoo_alexnet_like", (1, 3, 19, 19), 7, **old)
    y = net.node("Relu", net.conv("x", 3, 8, 5, strides=[2, 2], pads=[1, 1, 1, 1]))
    y = net.node("MaxPool", net.node("LRN", y, size=5, alpha=1e-4, beta=0.75, bias=1.0), kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 0, 0])
    y = net.node("Relu", net.same(y, 8, 8, 3, group=2))
    y = net.node("Reshape", y, net.ints(1, 128))
    y = net.node("Dropout", net.node("Relu", net.dense(y, 128, 10)), outputs=2, ratio=0.5)[0]
    net.out(net.node("Softmax", net.dense(y, 10, 5)))
    c.accepted(net)

    net = Net("zoo_squeezenet_like", (1, 3, 10, 10), 7, **old)
    y = net.node("Relu", net.conv("x", 3, 6, 3))
    s = net.node("Relu", net.conv(y, 6, 2, 1))
    y = net.node("Concat", net.node("Relu", net.conv(s, 2, 4, 1)), net.node("Relu", net.same(s, 2, 4, 3)), axis=1)
    y = net.node("Dropout", y, outputs=2, ratio=0.5)[0]
    y = net.node("GlobalAveragePool", net.node("Relu", net.conv(y, 8, 5, 1)))
    net.out(net.node("Softmax", net.node("Reshape", y, net.ints(0, -1))))
    c.accepted(net)

    net = Net("zoo_mxnet_resnet", (1, 3, 8, 8), 8, **old)
    y = net.bn("x", 3, epsilon=2e-5, momentum=0.9, spatial=1)
    y = net.same(y, 3, 6, 3, bias=False)
    z = net.node("Relu", net.bn(y, 6, epsilon=2e-5))
    z = net.same(z, 6, 6, 3, bias=False)
    y = net.node("Add", z, y)
    y = net.node("Flatten", net.node("GlobalAveragePool", net.bn(y, 6)))
    net.out(net.node("Gemm", y, net.weights(5, 6), net.const(net.normal(5)), alpha=1.0, beta=1.0, transA=0, transB=1))
    c.accepted(net)

    net = Net("zoo_caffe_embedding", (1, 3, 8, 8), 8, **old)
    y = net.node("PRelu", net.conv(net.node("Mul", net.node("Sub", "x", net.const([0.5])), net.const([0.0078125 * 64])), 3, 4, 3, strides=[2, 2]), net.const(net.normal(4, 1, 1)))
    y = net.node("Dropout", net.bn(y, 4), ratio=0.4)
    y = net.node("Gemm", net.node("Flatten", y), net.weights(6, 36), net.const(net.normal(6)), transB=1)
    net.out(net.bn(net.node("Unsqueeze", y, axes=[2]), 6, epsilon=2e-5))
    c.accepted(net)

    net = Net("zoo_cntk_mnist", (1, 1, 12, 12), 8)
    y = net.conv(net.node("Div", "x", net.const([255.0 / 64])), 1, 4, 5, bias=False, auto_pad="SAME_UPPER", dilations=[1, 1], strides=[1, 1])
    y = net.node("Relu", net.node("Add", y, net.const(net.normal(4, 1, 1))))
    y = net.node("MaxPool", y, kernel_shape=[3, 3], strides=[3, 3], auto_pad="NOTSET", pads=[0, 0, 0, 0])
    y = net.node("Reshape", y, net.ints(1, 64))
    w = net.node("Reshape", net.const(net.normal(4, 4, 4, 5, scale=0.1)), net.ints(64, 5))
    net.out(net.node("Add", net.node("MatMul", y, w), net.const(net.normal(1, 5))))
    c.accepted(net)

    net = Net("zoo_keras_opset9_softmax", (1, 8), 9)
    net.out(net.node("Softmax", net.node("Add", net.node("MatMul", "x", net.weights(8, 5)), net.const(net.normal(5))), axis=1))
    c.accepted(net)

    net = Net("zoo_unused_initializers_and_outputs", (1, 3, 8, 8), 9, **old)
    net.const(net.normal(3), name="num_batches_tracked")
    y = net.same("x", 3, 4, 3)
    pooled = net.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    net.node("Relu", y)
    net.out(pooled, y)
    c.accepted(net)


def build(c):
    for part in (torchscript, dynamo, tensorflow, model_zoo):
        part(c)
