"""Every operator form: attributes, operator sets, ranks, element types."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from builder import Net, rng

STEM = 4  # channels behind the layer that most cases begin with


def case(c, name, body, shape=(1, 3, 8, 8), opset=17, local=False, types=None, stem=True, **options):
    """A network whose output is what `body(net, x)` gives; x is the stem's result or the input."""
    net = Net(name, shape, opset, **options)
    x = net.stem(STEM) if stem else "x"
    result = body(net, x)
    result = [result] if isinstance(result, str) else list(result)
    net.out(*result, types={n: types for n in result} if types else None)
    c.accepted(net, local=local)


def convolutions(c):
    def conv(name, k, c_in=3, c_out=4, shape=(1, 3, 11, 9), opset=17, local=False, bias=True, **attributes):
        body = lambda n, x: n.conv(x, c_in, c_out, k, bias=bias, **attributes)
        case(c, f"conv_{name}", body, shape, opset, local, stem=False)

    conv("plain", 3)
    conv("without_bias", 3, bias=False)
    conv("pads_strides", 3, pads=[1, 2, 0, 1], strides=[2, 3])
    conv("dilations", 3, dilations=[2, 3], pads=[2, 3, 2, 3])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        conv(f"auto_pad_{mode.lower()}", (4, 3), auto_pad=mode, strides=[2, 2])
        conv(f"auto_pad_{mode.lower()}_1d", (4,), shape=(1, 3, 19), auto_pad=mode, strides=[3], opset=11)
    conv("auto_pad_notset", 3, auto_pad="NOTSET", pads=[1, 1, 1, 1])
    conv("groups", 3, c_in=6, c_out=9, shape=(1, 6, 7, 7), group=3)
    conv("depthwise_local", 3, c_in=6, c_out=6, shape=(1, 6, 7, 7), group=6, local=True)
    conv("depthwise_multiplier", 3, c_in=6, c_out=12, shape=(1, 6, 7, 7), group=6, local=True)
    conv("1d", (5,), shape=(1, 3, 30), pads=[2, 1], strides=[2])
    conv("1d_dilated_groups", (3,), c_in=4, c_out=4, shape=(1, 4, 30), dilations=[4], group=2)
    conv("1x7", (1, 7), pads=[0, 3, 0, 3])
    conv("kernel_of_whole_input", (11, 9))
    for opset in (7, 11, 22):
        conv(f"opset{opset}", 3, opset=opset)

    def transposed(name, k, shape=(1, 3, 5, 6), group=1, bias=True, c_out=4, **attributes):
        def body(n, x):
            w = n.weights(shape[1], c_out // group, *k, fan_in=shape[1] * k[0])
            b = [n.const(n.normal(c_out, scale=0.1))] if bias else []
            y = n.node("ConvTranspose", x, w, *b, group=group, **attributes)
            return n.conv(y, c_out, 3, (1,) * len(k))

        case(c, f"convtranspose_{name}", body, shape, stem=False)

    transposed("plain", (3, 3))
    transposed("strides", (2, 2), strides=[2, 2], bias=False)
    transposed("pads_output_padding", (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    transposed("groups", (3, 2), shape=(1, 4, 5, 5), group=2, c_out=6)
    transposed("dilations", (3, 3), dilations=[2, 2])
    transposed("asymmetric", (4, 3), strides=[3, 2], pads=[0, 1, 2, 0])
    transposed("output_shape", (3, 3), strides=[2, 2], output_shape=[10, 12])
    transposed("same_upper", (3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    transposed("same_lower", (3, 3), strides=[2, 2], auto_pad="SAME_LOWER")
    transposed("valid", (3, 3), strides=[2, 2], auto_pad="VALID")
    transposed("1d", (4,), shape=(1, 3, 9), strides=[2], pads=[1, 1])


def pools(c):
    def pool(name, op, shape=(1, 3, 9, 10), opset=17, **attributes):
        case(c, f"{op.lower()}_{name}", lambda n, x: n.node(op, x, **attributes), shape, opset)

    for op in ("MaxPool", "AveragePool"):
        pool("plain", op, kernel_shape=[2, 3])
        pool("opset7", op, opset=7, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        pool("ceil", op, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        pool("ceil_pads", op, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1)
        pool("ceil_partial_dropped", op, shape=(1, 3, 5, 5), kernel_shape=[1, 1], strides=[3, 3], ceil_mode=1)
        pool("same_upper", op, kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")
        pool("same_lower", op, kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_LOWER")
        pool("valid", op, kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID")
        pool("1d", op, shape=(1, 3, 21), kernel_shape=[4], strides=[3], pads=[1, 2])
        pool("opset22", op, opset=22, kernel_shape=[3, 3], pads=[1, 0, 1, 0])
    pool("dilations", "MaxPool", kernel_shape=[3, 2], dilations=[2, 3])
    pool("dilations", "AveragePool", opset=19, kernel_shape=[3, 2], dilations=[2, 3])
    pool("storage_order", "MaxPool", opset=8, kernel_shape=[2, 2], storage_order=1)
    pool("include_pad", "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    pool("include_pad_same", "AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", count_include_pad=1)
    pool("include_pad_ceil", "AveragePool", opset=19, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1)
    pool("plain", "GlobalAveragePool")
    pool("plain", "GlobalMaxPool")
    pool("1d", "GlobalAveragePool", shape=(1, 3, 12))


def unary(c):
    def one(name, op, before=None, opset=17, **attributes):
        def body(n, x):
            for step in [before] if before else []:
                x = step(n, x)
            return n.node(op, x, **attributes)

        case(c, name, body, (1, 3, 5, 6), opset)

    positive = lambda n, x: n.node("Add", n.node("Abs", x), n.const(0.5))
    for op in ("Abs", "Elu", "Exp", "LeakyRelu", "Neg", "Relu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus",
               "Softsign", "Erf", "Celu"):
        one(op.lower(), op)
    for op in ("Log", "Sqrt", "Reciprocal"):
        one(op.lower(), op, positive)
    # Bounded results have to be about as large as their inputs: errors are measured relative to the result.
    one("tanh", "Tanh", lambda n, x: n.node("Mul", x, n.const(0.5)))
    one("elu_alpha", "Elu", alpha=0.3, opset=7)
    one("celu_alpha", "Celu", alpha=2.5)
    one("selu_values", "Selu", alpha=1.2, gamma=0.7, opset=7)
    one("leakyrelu_alpha", "LeakyRelu", alpha=0.2, opset=16)
    one("hardsigmoid_values", "HardSigmoid", alpha=1 / 6, beta=0.5)
    one("mish", "Mish", opset=18)
    one("gelu", "Gelu", opset=20)
    one("gelu_tanh", "Gelu", opset=20, approximate="tanh")
    one("relu_opset22", "Relu", opset=22)

    def clip(name, opset, *bounds, **attributes):
        body = lambda n, x: n.node("Clip", x, *[b if b == "" else n.const(b) for b in bounds], **attributes)
        case(c, f"clip_{name}", body, (1, 3, 5, 6), opset)

    clip("relu6_opset7", 7, min=0.0, max=6.0)
    clip("max_only_opset10", 10, max=0.8)
    clip("opset11", 11, -0.8, 1.5)
    clip("max_only_opset12", 12, "", 0.4)
    clip("min_only_opset13", 13, -0.1)
    clip("no_bounds_opset13", 13)


def binary(c):
    def two(name, op, right, left=None, opset=17, stem_shape=(1, 3, 5, 6)):
        def body(n, x):
            y = right(n, x)
            return n.node(op, left(n, x) if left else x, y)

        case(c, name, body, stem_shape, opset)

    other = lambda n, x: n.conv("x", 3, STEM, 1)
    positive = lambda n, x: n.node("Add", n.node("Abs", n.conv("x", 3, STEM, 1)), n.const(1.0))
    for op in ("Add", "Sub", "Mul", "Max", "Min"):
        two(f"{op.lower()}_activations", op, other)
        two(f"{op.lower()}_scalar", op, lambda n, x: n.const(0.7))
        two(f"{op.lower()}_constant_first", op, lambda n, x: x, left=lambda n, x: n.const(n.normal(STEM, 1, 1)))
        two(f"{op.lower()}_row", op, lambda n, x: n.const(n.normal(6)), opset=7 if op not in ("Max", "Min") else 8)
        two(f"{op.lower()}_channels", op, lambda n, x: n.const(n.normal(1, STEM, 1, 1)))
    two("div_activations", "Div", positive)
    two("div_channels", "Div", lambda n, x: n.const(np.abs(n.normal(1, STEM, 1, 1)) + 0.5))
    two("div_constant_first", "Div", positive, left=lambda n, x: n.const([[2.0]]))
    two("mul_broadcast_both_ways", "Mul", lambda n, x: n.node("ReduceMean", x, axes=[2], keepdims=1),
        left=lambda n, x: n.node("ReduceMax", x, axes=[3], keepdims=1))
    two("add_larger_constant", "Add", lambda n, x: n.const(n.normal(1, 2, 1, STEM, 5, 6)))
    two("pow_square", "Pow", lambda n, x: n.const(2.0))
    two("pow_integer_exponent", "Pow", lambda n, x: n.const(3, np.int64))
    two("pow_half", "Pow", lambda n, x: n.const(0.5), left=positive, opset=7)
    two("prelu_shared", "PRelu", lambda n, x: n.const([0.25]))
    two("prelu_channels", "PRelu", lambda n, x: n.const(n.normal(STEM, 1, 1)), opset=9)
    two("prelu_channels_opset7", "PRelu", lambda n, x: n.const(n.normal(STEM, 1, 1)), opset=7)
    for op in ("Sum", "Max", "Min", "Mean"):
        many = lambda n, x, op=op: n.node(op, x, n.conv("x", 3, STEM, 1), n.const(n.normal(STEM, 1, 1)))
        case(c, f"{op.lower()}_three", many, (1, 3, 5, 6), 13)
        case(c, f"{op.lower()}_one", lambda n, x, op=op: n.node(op, x), (1, 3, 5, 6), 13)


def products(c):
    flat = (1, 12)

    def gemm(name, opset=17, transposed=False, bias=None, shape=flat, **attributes):
        def body(n, x):
            w = n.weights(7, 12) if transposed else n.weights(12, 7, fan_in=12)
            extra = [] if bias is None else [n.const(n.normal(*bias))]
            return n.node("Gemm", x, w, *extra, **attributes, **({"transB": 1} if transposed else {}))

        case(c, f"gemm_{name}", body, shape, opset, stem=False)

    gemm("transb", transposed=True, bias=(7,))
    gemm("plain_opset7", 7, bias=(7,))
    gemm("opset9", 9, bias=(1, 7))
    gemm("without_bias", 11)
    gemm("scalar_bias", bias=(1,))
    gemm("alpha_beta", transposed=True, bias=(7,), alpha=0.5, beta=2.0)
    case(c, "gemm_transa", lambda n, x: n.node("Gemm", n.node("Reshape", x, n.ints(12, 1)), n.weights(12, 7), transA=1), flat, stem=False)
    case(c, "gemm_activations", lambda n, x: n.node("Gemm", n.dense(x, 12, 6), n.node("Reshape", n.dense(x, 12, 18), n.ints(3, 6)),
         n.const(n.normal(1, 3)), alpha=0.5, beta=0.25, transB=1), flat, stem=False)
    case(c, "gemm_matrix_bias", lambda n, x: n.node("Gemm", n.node("Reshape", x, n.ints(3, 4)), n.weights(4, 5), n.const(n.normal(3, 5))), flat, stem=False)
    case(c, "matmul_add", lambda n, x: n.node("Add", n.node("MatMul", x, n.weights(12, 5, fan_in=12)), n.const(n.normal(5))), flat, stem=False)
    case(c, "matmul_sequence", lambda n, x: n.node("Add", n.const(n.normal(5)), n.node("MatMul", x, n.weights(8, 5, fan_in=8))), (1, 6, 8), stem=False)
    case(c, "matmul_vector", lambda n, x: n.node("Squeeze", n.node("MatMul", x, n.weights(12, 3, fan_in=12)), n.ints(0)), flat, stem=False)
    case(c, "matmul_constant_left", lambda n, x: n.node("MatMul", n.const(n.normal(4, 6)), n.node("MatMul", x, n.weights(8, 5, fan_in=8))), (1, 6, 8), stem=False)
    case(c, "matmul_batched_constant", lambda n, x: n.node("MatMul", x, n.const(n.normal(1, STEM, 6, 3))), (1, 3, 5, 6))
    case(c, "matmul_activations", lambda n, x: n.node("MatMul", x, n.node("Transpose", x, perm=[0, 1, 3, 2])), (1, 3, 5, 6))


def normalizations(c):
    for opset in (7, 9, 14, 15):
        case(c, f"batchnorm_opset{opset}", lambda n, x: n.bn(x, STEM, epsilon=1e-3, momentum=0.9), (1, 3, 5, 6), opset)
    case(c, "batchnorm_spatial_opset8", lambda n, x: n.bn(x, STEM, spatial=1), (1, 3, 5, 6), 8)
    case(c, "batchnorm_after_relu", lambda n, x: n.same(n.bn(n.node("Relu", x), STEM), STEM, 3, 3))
    case(c, "batchnorm_of_input", lambda n, x: n.same(n.bn(x, 3), 3, 4, 3), stem=False)
    case(c, "batchnorm_read_twice", lambda n, x: n.node("Add", x, n.bn(x, STEM)))
    case(c, "batchnorm_flat", lambda n, x: n.bn(n.dense(x, 10, 6), 6), (1, 10), stem=False)
    case(c, "batchnorm_1d", lambda n, x: n.bn(x, STEM), (1, 3, 9))
    for opset in (7, 22):
        case(c, f"instancenorm_opset{opset}", lambda n, x: n.node("InstanceNormalization", x, n.const(n.normal(STEM)), n.const(n.normal(STEM)), epsilon=1e-3), opset=opset)
    case(c, "layernorm_last", lambda n, x: n.node("LayerNormalization", x, n.const(n.normal(8)), n.const(n.normal(8))))
    case(c, "layernorm_axis", lambda n, x: n.node("LayerNormalization", x, n.const(n.normal(STEM, 8, 8)), axis=1, epsilon=1e-3, stash_type=1))
    case(c, "groupnorm_opset18", lambda n, x: n.node("GroupNormalization", x, n.const([0.5, 1.5]), n.const([0.1, -0.2]), num_groups=2), opset=18)
    case(c, "groupnorm_opset21", lambda n, x: n.node("GroupNormalization", x, n.const(n.normal(STEM)), n.const(n.normal(STEM)), num_groups=2, epsilon=1e-3), opset=21)
    for opset in (7, 13):
        case(c, f"lrn_opset{opset}", lambda n, x: n.node("LRN", x, size=3, alpha=0.3, beta=0.6, bias=1.5), opset=opset)
    case(c, "lpnorm_l2", lambda n, x: n.node("LpNormalization", x, axis=1, p=2))
    case(c, "lpnorm_l1", lambda n, x: n.node("LpNormalization", x, axis=-1, p=1))
    for op in ("Softmax", "LogSoftmax"):
        low = op.lower()
        case(c, f"{low}_opset7_all_axes", lambda n, x: n.node(op, x), (1, 3, 3, 4), 7)
        case(c, f"{low}_opset11_axis2", lambda n, x: n.node(op, x, axis=2), (1, 3, 3, 4), 11)
        case(c, f"{low}_opset13_last", lambda n, x: n.node(op, x), (1, 3, 3, 4), 13)
        case(c, f"{low}_opset13_axis1", lambda n, x: n.node(op, x, axis=1), (1, 3, 3, 4), 13)


def reductions(c):
    shape = (1, 3, 5, 6)
    for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"):
        low = op.lower()
        by_attribute = 12 if op == "ReduceSum" else 17
        case(c, f"{low}_attribute", lambda n, x: n.node(op, x, axes=[2, -1], keepdims=0), shape, by_attribute)
        case(c, f"{low}_operand", lambda n, x: n.node(op, x, n.ints(1), keepdims=1), shape, 18)
        case(c, f"{low}_opset7", lambda n, x: n.node(op, x, axes=[3]), shape, 7)
    case(c, "reducelogsum", lambda n, x: n.node("ReduceLogSum", n.node("Exp", x), n.ints(1, 2)), shape, 18)
    case(c, "reducemean_all", lambda n, x: n.conv(n.node("Mul", "x", n.node("ReduceMean", x)), 3, 2, 1), shape, 13)
    case(c, "reducesum_noop", lambda n, x: n.node("ReduceSum", x, n.const([], np.int64), noop_with_empty_axes=1), shape, 13)
    ints = dict(shape=(1, 3, 4, 5), types=TensorProto.INT64)
    case(c, "argmax_channels", lambda n, x: n.node("ArgMax", x, axis=1), **ints)
    case(c, "argmax_flat", lambda n, x: n.node("ArgMax", x, axis=-1, keepdims=0), **ints)
    case(c, "argmax_last_index", lambda n, x: n.node("ArgMax", n.node("Relu", x), axis=1, select_last_index=1), opset=13, **ints)
    case(c, "argmin", lambda n, x: n.node("ArgMin", x, axis=1, keepdims=0), opset=11, **ints)


def shapes(c):
    for opset in (7, 13, 14):
        case(c, f"reshape_zero_and_open_opset{opset}", lambda n, x: n.node("Reshape", x, n.ints(0, 2, -1, 8)), opset=opset)
    case(c, "reshape_allowzero", lambda n, x: n.node("Reshape", x, n.ints(1, -1), allowzero=1), opset=14)
    for axis in (0, 1, 2, -1, 4):
        body = lambda n, x: n.node("Flatten", x, axis=axis)
        case(c, f"flatten_axis{axis}".replace("-", "_minus"), body, opset=11 if axis >= 0 else 13)
    case(c, "squeeze_opset11", lambda n, x: n.node("Squeeze", n.node("GlobalAveragePool", x), axes=[2, 3]), opset=11)
    case(c, "squeeze_opset13", lambda n, x: n.node("Squeeze", n.node("GlobalAveragePool", x), n.ints(-1, -2)), opset=13)
    case(c, "squeeze_all", lambda n, x: n.node("Squeeze", x), opset=13)
    case(c, "unsqueeze_opset11", lambda n, x: n.node("Unsqueeze", x, axes=[0, 3]), opset=11)
    case(c, "unsqueeze_opset13", lambda n, x: n.node("Unsqueeze", x, n.ints(-1)), opset=13)
    case(c, "transpose_perm", lambda n, x: n.node("Transpose", x, perm=[0, 2, 3, 1]))
    case(c, "transpose_reverse", lambda n, x: n.node("Transpose", x))
    case(c, "concat_axis1", lambda n, x: n.node("Concat", x, n.node("Relu", x), "x", axis=1))
    case(c, "concat_negative_axis", lambda n, x: n.node("Concat", x, x, axis=-2), opset=11)
    case(c, "concat_constant", lambda n, x: n.node("Concat", n.const(n.normal(1, STEM, 1, 8)), x, axis=2))
    case(c, "slice_opset9", lambda n, x: n.node("Slice", x, starts=[1, 0], ends=[3, -1], axes=[1, 3]), opset=9)
    case(c, "slice_opset10", lambda n, x: n.node("Slice", x, n.ints(0, 1), n.ints(1, 3)), opset=10)
    case(c, "slice_steps", lambda n, x: n.node("Slice", x, n.ints(0, 1), n.ints(2**63 - 1, 2**63 - 1), n.ints(2, 3), n.ints(2, 3)), opset=13)
    case(c, "slice_backwards", lambda n, x: n.node("Slice", x, n.ints(-1), n.ints(-(2**63)), n.ints(1), n.ints(-1)), opset=13)
    case(c, "split_opset7", lambda n, x: n.node("Split", x, outputs=2, axis=1, split=[1, 3]), opset=7)
    case(c, "split_equal_opset11", lambda n, x: n.node("Split", x, outputs=2, axis=-1), opset=11)
    case(c, "split_opset13", lambda n, x: n.node("Split", x, n.ints(3, 5), outputs=2, axis=2), opset=13)
    case(c, "split_uneven_opset18", lambda n, x: n.node("Split", x, outputs=3, axis=2, num_outputs=3), opset=18)
    case(c, "expand", lambda n, x: n.node("Expand", n.node("GlobalAveragePool", x), n.ints(1, 1, 5, 6)))
    case(c, "tile", lambda n, x: n.node("Tile", x, n.ints(1, 2, 1, 3)), (1, 3, 4, 3))
    for mode in ("DCR", "CRD"):
        case(c, f"depthtospace_{mode.lower()}", lambda n, x: n.node("DepthToSpace", n.conv(x, 4, 8, 1), blocksize=2, mode=mode), opset=11)
    case(c, "depthtospace_opset7", lambda n, x: n.node("DepthToSpace", x, blocksize=2), opset=7)
    case(c, "spacetodepth", lambda n, x: n.node("SpaceToDepth", x, blocksize=4))
    case(c, "gather_one", lambda n, x: n.node("Gather", x, n.const(2, np.int64), axis=1))
    case(c, "gather_even", lambda n, x: n.node("Gather", x, n.ints(0, 2), axis=1))
    case(c, "gather_permutation", lambda n, x: n.node("Gather", x, n.ints(2, 0, 3, 1, -1), axis=1))
    case(c, "gather_matrix", lambda n, x: n.node("Gather", x, n.const([[0, 1], [5, 5]], np.int64), axis=3))
    case(c, "cast_to_float", lambda n, x: n.node("Cast", x, to=TensorProto.FLOAT), opset=9)
    case(c, "identity", lambda n, x: n.node("Identity", n.node("Identity", x)))
    for opset, extra in ((7, {"ratio": 0.3}), (10, {}), (13, {})):
        case(c, f"dropout_opset{opset}", lambda n, x: n.node("Dropout", x, **extra), opset=opset)
    case(c, "dropout_operands", lambda n, x: n.node("Dropout", x, n.const(0.4), n.const(False, np.bool_)), opset=12)


def indexing(c):
    def ids(name, body, values, **options):
        net = Net(name, np.shape(values), input_type=TensorProto.INT64, **options)
        net.input_values = values
        net.out(body(net))
        c.accepted(net)

    table = lambda n: n.const(n.normal(11, 8), name="table")
    words = [[3, 10, 0, 3, 7, 1]]
    ids("gather_ids_matmul", lambda n: n.node("MatMul", n.node("Gather", table(n), "x"), n.weights(8, 5, fan_in=8)), words)
    ids("gather_ids_negative_opset11", lambda n: n.node("MatMul", n.node("Gather", table(n), "x", axis=-2), n.weights(8, 5, fan_in=8)),
        [[-1, -11, 10, 0]], opset=11)

    # Rows of an activation, by indices that come beside it.
    net = Net("gather_activation_rows", (1, 5, 6))
    at = net.input("at", np.array([[4, -5, 2]], np.int32), TensorProto.INT32)
    net.out(net.node("Gather", net.node("MatMul", "x", net.weights(6, 4, fan_in=6)), at, axis=1))
    c.accepted(net)
    case(c, "gather_best_row", lambda n, x: n.node("Gather", x, n.node("ArgMax", n.node("ReduceMean", x, axes=[0, 1, 3], keepdims=0), axis=0, keepdims=0), axis=2))

    causal = lambda n: n.const(np.tril(np.ones((6, 6))), np.bool_)
    case(c, "where_causal_mask", lambda n, x: n.node("Softmax", n.node("Where", causal(n), x, n.const(-1e9)), axis=-1), (1, 3, 6, 6))
    case(c, "where_broadcast", lambda n, x: n.node("Where", n.const([[True], [False], [True]], np.bool_), n.const(n.normal(4)), n.node("ReduceMax", x, axes=[2], keepdims=1)), (1, 3, 5, 4), opset=9)
    net = Net("where_mask_input", (1, 6))
    mask = net.input("mask", np.array([[1, 1, 0, 1, 0, 3]], np.int64), TensorProto.INT64)
    flags = net.node("Cast", mask, to=TensorProto.BOOL)
    net.out(net.dense(net.node("Where", flags, "x", net.const(0.25)), 6, 4))
    c.accepted(net)


def padding(c):
    for mode in ("constant", "reflect", "edge"):
        case(c, f"pad_{mode}_opset7", lambda n, x: n.node("Pad", x, pads=[0, 0, 1, 2, 0, 0, 2, 1], mode=mode), opset=7)
        case(c, f"pad_{mode}_opset13", lambda n, x: n.node("Pad", x, n.ints(0, 0, 1, 2, 0, 0, 2, 1), mode=mode), opset=13)
    case(c, "pad_value_opset7", lambda n, x: n.node("Pad", x, pads=[0, 1, 0, 0, 0, 0, 0, 0], value=-2.5), opset=7)
    case(c, "pad_value_opset11", lambda n, x: n.node("Pad", x, n.ints(0, 1, 0, 0, 0, 0, 0, 0), n.const(1.5)), opset=11)
    case(c, "pad_axes_opset18", lambda n, x: n.node("Pad", x, n.ints(1, 2, 3, 4), "", n.ints(-1, 2)), opset=18)
    case(c, "pad_negative", lambda n, x: n.node("Pad", x, n.ints(0, 0, -1, 2, 0, 0, -2, -3)), opset=13)
    case(c, "pad_nothing", lambda n, x: n.node("Pad", x, n.ints(*[0] * 8)), opset=13)


def resizing(c):
    def resize(name, opset=13, scales=None, sizes=None, **attributes):
        def body(n, x):
            if opset == 10:
                return n.node("Resize", x, n.const(scales), **attributes)
            roi = n.const([], np.float32) if opset == 11 else ""
            if sizes:
                return n.node("Resize", x, roi, n.const([], np.float32) if opset == 11 else "", n.ints(*sizes), **attributes)
            return n.node("Resize", x, roi, n.const(scales), **attributes)

        case(c, f"resize_{name}", body, (1, 3, 5, 6), opset)

    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        for mode in ("nearest", "linear"):
            how = dict(mode=mode, coordinate_transformation_mode=coordinates)
            resize(f"{mode}_{coordinates}_up", scales=[1, 1, 2, 1.5], **how)
            resize(f"{mode}_{coordinates}_to", sizes=[1, STEM, 3, 9], **how)
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        resize(f"nearest_{rounding}", scales=[1, 1, 1.7, 0.6], mode="nearest", nearest_mode=rounding, coordinate_transformation_mode="half_pixel")
    resize("opset10_nearest", 10, scales=[1, 1, 2, 2], mode="nearest")
    resize("opset10_linear", 10, scales=[1, 1, 2, 2], mode="linear")
    resize("opset11", 11, sizes=[1, STEM, 10, 12], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
    resize("axes_opset18", 18, scales=[2, 2], axes=[2, 3], mode="linear")
    resize("opset19", 19, scales=[1, 1, 3, 2], mode="nearest")
    case(c, "upsample_opset7", lambda n, x: n.node("Upsample", x, scales=[1.0, 1.0, 2.0, 3.0], mode="nearest"), (1, 3, 5, 6), 7)
    case(c, "upsample_opset9", lambda n, x: n.node("Upsample", x, n.const([1, 1, 2, 2]), mode="linear"), (1, 3, 5, 6), 9)


def element_types(c):
    def typed(name, kind, dtype, opset=17):
        """A network wholly in another float type, its Constant and Cast too."""
        net = Net(name, (1, 3, 6, 6), opset)
        net.input_type = kind
        w = numpy_helper.from_array(net.normal(4, 3, 3, 3, scale=0.3).astype(dtype), "w")
        net.inits.append(w)
        net.const(net.normal(4), dtype, name="b")
        y = net.node("Conv", "x", "w", "b")
        y = net.node("Mul", y, net.constant(1.5, dtype))
        y = net.node("Cast", y, to=TensorProto.FLOAT)
        net.out(net.node("Relu", y))
        c.accepted(net)

    typed("float16_network", TensorProto.FLOAT16, np.float16)
    typed("double_network", TensorProto.DOUBLE, np.float64)

    net = Net("float16_weights_cast", (1, 3, 6, 6))
    w = net.const(net.normal(4, 3, 3, 3, scale=0.3), np.float16)
    net.out(net.node("Conv", "x", net.node("Cast", w, to=TensorProto.FLOAT)))
    c.accepted(net)

    net = Net("float16_typed_data", (1, 3, 6, 6))
    values = net.normal(4, 3, 1, 1).astype(np.float16)
    net.inits.append(helper.make_tensor("h", TensorProto.FLOAT16, values.shape, values.flatten().tolist()))
    net.out(net.node("Conv", "x", net.node("Cast", "h", to=TensorProto.FLOAT)))
    c.accepted(net)

    net = Net("typed_data", (1, 3, 6, 6))
    values = net.normal(4, 3, 1, 1)
    net.inits.append(helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.flatten().tolist()))
    net.inits.append(helper.make_tensor("shape", TensorProto.INT64, [2], [0, -1]))
    net.out(net.node("Reshape", net.node("Conv", "x", "w"), "shape"))
    c.accepted(net)

    net = Net("two_inputs")
    second = net.input("second", rng("two_inputs/second").standard_normal((1, 4, 8, 8)).astype(np.float32))
    net.out(net.node("Add", net.stem(), second))
    c.accepted(net)

    # Integers beside floats, one of them through to an output.
    net = Net("integer_inputs", (1, 6))
    mask = net.input("mask", np.array([[1, 1, 0, 1, 0, 0]], np.int32), TensorProto.INT32)
    ids = net.input("ids", np.array([[3, 16777216, -5, 0, 2, 1]], np.int64), TensorProto.INT64)
    hidden = net.node("Mul", "x", net.node("Cast", mask, to=TensorProto.FLOAT))
    more = net.node("Add", net.node("Mul", ids, net.const(-1, np.int64)), net.ints(1, 0, 2, 3, 4, 5))
    net.out(net.dense(hidden, 6, 4), more, types={more: TensorProto.INT64})
    c.accepted(net)

    net = Net("external_data", (1, 3, 8, 8))
    net.out(net.head(net.node("Relu", net.same("x", 3, 6, 3)), 6))
    c.accepted(net, external="external_data.data")


def local_only(c):
    """Nothing to outsource: importing works, dividing does not."""
    case(c, "local_softmax", lambda n, x: n.node("Softmax", x, axis=1), (1, 10), local=True, stem=False)
    case(c, "local_pool_relu", lambda n, x: n.node("MaxPool", n.node("Relu", x), kernel_shape=[2, 2]), local=True, stem=False)
    case(c, "local_activations_product", lambda n, x: n.node("MatMul", x, n.node("Transpose", x, perm=[0, 1, 3, 2])), (1, 2, 4, 4), local=True, stem=False)


def build(c):
    for part in (convolutions, pools, unary, binary, products, normalizations, reductions, shapes, indexing, padding, resizing, element_types, local_only):
        part(c)
