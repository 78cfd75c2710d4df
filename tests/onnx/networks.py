"""Small whole networks with the blocks that people use."""

import numpy as np
from onnx import TensorProto

from builder import Net


def swish(n, x):
    return n.node("Mul", x, n.node("Sigmoid", x))


def gelu(n, x):
    """As exported without a Gelu operator."""
    e = n.node("Erf", n.node("Div", x, n.const(np.sqrt(2))))
    return n.node("Mul", n.node("Mul", x, n.node("Add", e, n.const(1.0))), n.const(0.5))


def gelu_tanh(n, x):
    inner = n.node("Add", x, n.node("Mul", n.node("Pow", x, n.const(3.0)), n.const(0.044715)))
    t = n.node("Tanh", n.node("Mul", inner, n.const(np.sqrt(2 / np.pi))))
    return n.node("Mul", n.node("Mul", x, n.const(0.5)), n.node("Add", t, n.const(1.0)))


def group_norm(n, x, groups, c, h, w):
    y = n.node("Reshape", x, n.ints(0, groups, -1))
    y = n.node("InstanceNormalization", y, n.const(np.ones(groups)), n.const(np.zeros(groups)), epsilon=1e-5)
    y = n.node("Reshape", y, n.ints(1, c, h, w))
    return n.node("Add", n.node("Mul", y, n.const(n.normal(c, 1, 1))), n.const(n.normal(c, 1, 1)))


def convolutional(c):
    n = Net("net_mobilenet", (1, 3, 12, 12), 13)
    relu6 = lambda y: n.node("Clip", y, n.const(0.0), n.const(6.0))
    y = relu6(n.bn(n.same("x", 3, 8, 3, strides=[2, 2], bias=False), 8))
    z = relu6(n.bn(n.conv(y, 8, 16, 1, bias=False), 16))
    z = relu6(n.bn(n.same(z, 16, 16, 3, group=16, bias=False), 16))
    y = n.node("Add", y, n.bn(n.conv(z, 16, 8, 1, bias=False), 8))
    n.out(n.head(y, 8))
    c.accepted(n)

    n = Net("net_mobilenet_v3", (1, 3, 12, 12), 14)
    y = n.node("HardSwish", n.bn(n.same("x", 3, 8, 3, strides=[2, 2], bias=False), 8))
    s = n.node("Relu", n.conv(n.node("GlobalAveragePool", y), 8, 4, 1))
    y = n.node("Mul", y, n.node("HardSigmoid", n.conv(s, 4, 8, 1), alpha=1 / 6, beta=0.5))
    six = n.node("Clip", n.node("Add", y, n.const(3.0)), n.const(0.0), n.const(6.0))
    y = n.node("Div", n.node("Mul", y, six), n.const(6.0))
    n.out(n.head(y, 8))
    c.accepted(n)

    n = Net("net_resnet_block", (1, 3, 10, 10), 11)
    y = n.node("Relu", n.bn(n.same("x", 3, 6, 3, bias=False), 6))
    y = n.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    z = n.node("Relu", n.bn(n.same(y, 6, 8, 3, strides=[2, 2], bias=False), 8))
    z = n.bn(n.same(z, 8, 8, 3, bias=False), 8)
    y = n.node("Relu", n.node("Add", z, n.bn(n.conv(y, 6, 8, 1, strides=[2, 2], bias=False), 8)))
    n.out(n.head(y, 8))
    c.accepted(n)

    n = Net("net_inception_block", (1, 3, 9, 9), 12)
    y = n.node("Relu", n.same("x", 3, 6, 3))
    a = n.node("Relu", n.conv(y, 6, 3, 1))
    b = n.node("Relu", n.same(n.node("Relu", n.conv(y, 6, 3, 1)), 3, 4, 3))
    d = n.conv(n.node("Relu", n.conv(y, 6, 2, 1)), 2, 3, (1, 7), pads=[0, 3, 0, 3])
    d = n.node("Relu", n.conv(d, 3, 3, (7, 1), pads=[3, 0, 3, 0]))
    p = n.conv(n.node("MaxPool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 6, 2, 1)
    joined = n.node("Concat", a, b, d, p, axis=1)
    scaled = n.node("Mul", n.conv(joined, 12, 6, 1), n.const(0.17))
    n.out(n.head(n.node("Relu", n.node("Add", y, scaled)), 6))
    c.accepted(n)

    n = Net("net_squeeze_excite", (1, 3, 8, 8), 13)
    y = swish(n, n.same("x", 3, 8, 3))
    s = n.node("ReduceMean", y, axes=[2, 3], keepdims=1)
    y = n.node("Mul", n.node("Sigmoid", n.conv(swish(n, n.conv(s, 8, 2, 1)), 2, 8, 1)), y)
    n.out(n.head(n.conv(y, 8, 6, 1), 6))
    c.accepted(n)

    n = Net("net_squeeze_excite_dense", (1, 3, 8, 8), 11)
    y = n.node("Relu", n.same("x", 3, 8, 3))
    s = n.node("Reshape", n.node("GlobalAveragePool", y), n.ints(1, 8))
    s = n.node("Sigmoid", n.dense(n.node("Relu", n.dense(s, 8, 4)), 4, 8))
    n.out(n.node("Mul", y, n.node("Reshape", s, n.ints(1, 8, 1, 1))))
    c.accepted(n)

    n = Net("net_shufflenet", (1, 3, 8, 8), 12)
    y = n.node("Relu", n.same("x", 3, 8, 3))
    a, b = n.node("Split", y, outputs=2, axis=1, split=[4, 4])
    b = n.node("Relu", n.conv(n.same(n.node("Relu", n.conv(b, 4, 4, 1)), 4, 4, 3, group=4), 4, 4, 1))
    y = n.node("Concat", a, b, axis=1)
    y = n.node("Transpose", n.node("Reshape", y, n.ints(1, 2, 4, 8, 8)), perm=[0, 2, 1, 3, 4])
    n.out(n.head(n.same(n.node("Reshape", y, n.ints(1, 8, 8, 8)), 8, 6, 3, group=2), 6))
    c.accepted(n)

    n = Net("net_unet", (1, 3, 16, 16), 13)
    a = n.node("Relu", n.same("x", 3, 4, 3))
    b = n.node("Relu", n.same(n.node("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 4, 8, 3))
    d = n.node("Relu", n.same(n.node("MaxPool", b, kernel_shape=[2, 2], strides=[2, 2]), 8, 8, 3))
    up = n.node("ConvTranspose", d, n.weights(8, 4, 2, 2, fan_in=8), n.const(n.normal(4)), strides=[2, 2], kernel_shape=[2, 2])
    y = n.node("Relu", n.same(n.node("Concat", up, b, axis=1), 12, 4, 3))
    up = n.node("Resize", y, "", n.const([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="align_corners")
    y = n.conv(n.node("Relu", n.same(n.node("Concat", up, a, axis=1), 8, 4, 3)), 4, 2, 1)
    n.out(n.node("Sigmoid", y))
    c.accepted(n)

    n = Net("net_group_norm", (1, 3, 6, 6), 13)
    y = n.node("Relu", group_norm(n, n.same("x", 3, 8, 3), 4, 8, 6, 6))
    n.out(n.head(y, 8))
    c.accepted(n)

    n = Net("net_dilated_pyramid", (1, 3, 12, 12), 13)
    y = n.node("Relu", n.same("x", 3, 6, 3))
    branches = [n.conv(y, 6, 4, 3, dilations=[d, d], pads=[d] * 4) for d in (1, 2, 4)]
    pooled = n.node("Resize", n.conv(n.node("GlobalAveragePool", y), 6, 4, 1), "", "", n.ints(1, 4, 12, 12), mode="linear")
    n.out(n.conv(n.node("Relu", n.node("Concat", *branches, pooled, axis=1)), 16, 3, 1))
    c.accepted(n)

    n = Net("net_dense_block", (1, 3, 8, 8), 9)
    y = n.same("x", 3, 6, 3)
    for size in (6, 10, 14):
        z = n.same(n.node("Relu", n.bn(y, size)), size, 4, 3, bias=False)
        y = n.node("Concat", y, z, axis=1)
    n.out(n.head(n.node("AveragePool", n.node("Relu", n.bn(y, 18)), kernel_shape=[2, 2], strides=[2, 2]), 18))
    c.accepted(n)

    n = Net("net_pixel_shuffle", (1, 3, 6, 6), 13)
    y = n.node("PRelu", n.same("x", 3, 8, 3), n.const(n.normal(8, 1, 1)))
    n.out(n.node("DepthToSpace", n.same(y, 8, 12, 3), blocksize=2, mode="CRD"))
    c.accepted(n)

    n = Net("net_yolo_head", (1, 3, 8, 8), 12)
    y = n.node("LeakyRelu", n.bn(n.same("x", 3, 8, 3, bias=False), 8), alpha=0.1)
    focus = [n.node("Slice", y, n.ints(i, j), n.ints(8, 8), n.ints(2, 3), n.ints(2, 2)) for j in (0, 1) for i in (0, 1)]
    y = n.conv(n.node("Concat", *focus, axis=1), 32, 14, 1)
    y = n.node("Transpose", n.node("Reshape", y, n.ints(1, 2, 7, 4, 4)), perm=[0, 1, 3, 4, 2])
    y = n.node("Sigmoid", y)
    xy = n.node("Slice", y, n.ints(0), n.ints(2), n.ints(4))
    wh = n.node("Slice", y, n.ints(2), n.ints(4), n.ints(4))
    rest = n.node("Slice", y, n.ints(4), n.ints(100), n.ints(4))
    xy = n.node("Mul", n.node("Add", n.node("Sub", n.node("Mul", xy, n.const(2.0)), n.const(0.5)), n.const(n.normal(1, 1, 4, 4, 2))), n.const(8.0))
    wh = n.node("Mul", n.node("Pow", n.node("Mul", wh, n.const(2.0)), n.const(2.0)), n.const(n.normal(1, 2, 1, 1, 2)))
    n.out(n.node("Reshape", n.node("Concat", xy, wh, rest, axis=-1), n.ints(1, -1, 7)))
    c.accepted(n)

    n = Net("net_wave", (1, 2, 40), 13)
    y = n.node("Relu", n.bn(n.conv("x", 2, 6, (5,), pads=[2, 2], strides=[2]), 6))
    y = n.node("MaxPool", y, kernel_shape=[2], strides=[2])
    y = n.node("Tanh", n.conv(y, 6, 6, (3,), dilations=[2]))
    n.out(n.dense(n.node("Flatten", y), 36, 4))
    c.accepted(n)


def faces(c):
    n = Net("net_prelu_face", (1, 3, 10, 10), 9)
    slope = lambda k: n.const(n.normal(k, 1, 1, scale=0.3))
    y = n.node("PRelu", n.bn(n.same("x", 3, 8, 3, strides=[2, 2], bias=False), 8), slope(8))
    z = n.node("PRelu", n.bn(n.conv(y, 8, 12, 1, bias=False), 12), slope(12))
    z = n.node("PRelu", n.bn(n.same(z, 12, 12, 3, group=12, bias=False), 12), slope(12))
    y = n.node("Add", n.bn(n.conv(z, 12, 8, 1, bias=False), 8), y)
    y = n.bn(n.conv(y, 8, 8, 5, group=8, bias=False), 8)
    y = n.bn(n.node("Flatten", n.conv(y, 8, 16, 1, bias=False)), 16)
    n.out(n.node("Div", y, n.node("ReduceL2", y, axes=[1], keepdims=1)))
    c.accepted(n)

    n = Net("net_maxout", (1, 3, 8, 8), 13)
    a, b = n.node("Split", n.same("x", 3, 12, 3), n.ints(6, 6), outputs=2, axis=1)
    y = n.node("MaxPool", n.node("Max", a, b), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    y = n.dense(n.node("Flatten", n.node("LRN", y, size=5)), 96, 16)
    y = n.node("ReduceMax", n.node("Reshape", y, n.ints(1, 2, 8)), axes=[1], keepdims=0)
    n.out(n.node("LpNormalization", y, axis=1, p=2))
    c.accepted(n)

    n = Net("net_l2_embedding", (1, 3, 8, 8), 13)
    y = n.dense(n.node("Flatten", n.node("Relu", n.same("x", 3, 4, 3, strides=[2, 2]))), 64, 16)
    square = n.node("ReduceSum", n.node("Mul", y, y), n.ints(1), keepdims=1)
    n.out(n.node("Mul", y, n.node("Reciprocal", n.node("Sqrt", n.node("Max", square, n.const(1e-10))))))
    c.accepted(n)

    n = Net("net_argmax_segmentation", (1, 3, 6, 6), 13)
    y = n.node("Relu", n.same("x", 3, 6, 3))
    y = n.node("ArgMax", n.conv(y, 6, 4, 1), axis=1, keepdims=0)
    n.out(y, types={y: TensorProto.INT64})
    c.accepted(n)


def transformers(c):
    def attention(n, x, tokens, width, heads, split=True):
        def lin(i, o):
            return n.node("Add", n.const(n.normal(o, scale=0.1)), n.node("MatMul", x, n.weights(i, o, fan_in=i)))

        if split:
            qkv = n.node("Reshape", lin(width, 3 * width), n.ints(1, tokens, 3, heads, width // heads))
            qkv = n.node("Transpose", qkv, perm=[2, 0, 3, 1, 4])
            q, k, v = [n.node("Gather", qkv, n.const(i, np.int64), axis=0) for i in range(3)]
        else:
            parts = [n.node("Reshape", lin(width, width), n.ints(0, 0, heads, -1)) for _ in range(3)]
            q, k, v = [n.node("Transpose", p, perm=[0, 2, 1, 3]) for p in parts]
        scores = n.node("Mul", n.node("MatMul", q, n.node("Transpose", k, perm=[0, 1, 3, 2])), n.const((width // heads) ** -0.5))
        y = n.node("MatMul", n.node("Softmax", scores, axis=-1), v)
        y = n.node("Reshape", n.node("Transpose", y, perm=[0, 2, 1, 3]), n.ints(0, 0, -1))
        return n.node("Add", n.node("MatMul", y, n.weights(width, width)), n.const(n.normal(width, scale=0.1)))

    def old_layernorm(n, x, width):
        centred = n.node("Sub", x, n.node("ReduceMean", x, axes=[-1]))
        variance = n.node("ReduceMean", n.node("Pow", centred, n.const(2.0)), axes=[-1])
        y = n.node("Div", centred, n.node("Sqrt", n.node("Add", variance, n.const(1e-5))))
        return n.node("Add", n.node("Mul", y, n.const(n.normal(width))), n.const(n.normal(width)))

    def block(n, x, tokens, width, norm, activation, split):
        x = n.node("Add", x, attention(n, norm(x), tokens, width, 2, split))
        y = n.node("Add", n.node("MatMul", norm(x), n.weights(width, 2 * width, fan_in=width)), n.const(n.normal(2 * width)))
        return n.node("Add", x, n.node("MatMul", activation(n, y), n.weights(2 * width, width, fan_in=2 * width)))

    n = Net("net_transformer", (1, 6, 8), 17)
    norm = lambda x: n.node("LayerNormalization", x, n.const(n.normal(8)), n.const(n.normal(8)), axis=-1)
    n.out(block(n, "x", 6, 8, norm, gelu, False))
    c.accepted(n)

    n = Net("net_transformer_opset12", (1, 6, 8), 12)
    n.out(block(n, "x", 6, 8, lambda x: old_layernorm(n, x, 8), gelu_tanh, True))
    c.accepted(n)

    n = Net("net_vision_transformer", (1, 3, 8, 8), 20)
    # Scales about 1, as trained networks have them.
    norm = lambda x: n.node("LayerNormalization", x, n.const(n.rng.uniform(0.5, 1.5, 8)), n.const(n.normal(8, scale=0.2)), axis=-1, epsilon=1e-6)
    y = n.conv("x", 3, 8, 4, strides=[4, 4])
    y = n.node("Transpose", n.node("Reshape", y, n.ints(1, 8, 4)), perm=[0, 2, 1])
    token = n.node("Expand", n.const(n.normal(1, 1, 8)), n.node("Concat", n.node("Shape", "x", start=0, end=1), n.ints(1, 8), axis=0))
    y = n.node("Add", n.node("Concat", token, y, axis=1), n.const(n.normal(1, 5, 8)))
    y = block(n, y, 5, 8, norm, lambda n, x: n.node("Gelu", x), True)
    n.out(n.dense(n.node("Gather", norm(y), n.const(0, np.int64), axis=1), 8, 5))
    c.accepted(n)

    n = Net("net_convnext_block", (1, 3, 6, 6), 17)
    x = n.same("x", 3, 8, 3)
    y = n.node("Transpose", n.conv(x, 8, 8, 7, group=8, pads=[3] * 4), perm=[0, 2, 3, 1])
    y = n.node("LayerNormalization", y, n.const(n.normal(8)), n.const(n.normal(8)), epsilon=1e-6)
    y = n.node("Add", n.node("MatMul", y, n.weights(8, 16, fan_in=8)), n.const(n.normal(16)))
    y = n.node("Add", n.node("MatMul", gelu(n, y), n.weights(16, 8, fan_in=16)), n.const(n.normal(8)))
    y = n.node("Transpose", n.node("Mul", n.const(n.normal(8)), y), perm=[0, 3, 1, 2])
    n.out(n.head(n.node("Add", x, y), 8))
    c.accepted(n)

    n = Net("net_mixer", (1, 6, 8), 17)
    y = n.node("Transpose", "x", perm=[0, 2, 1])
    y = n.node("Transpose", n.node("MatMul", y, n.weights(6, 6)), perm=[0, 2, 1])
    y = n.node("Add", "x", y)
    n.out(n.node("Squeeze", n.node("ReduceMean", swish(n, n.node("MatMul", y, n.weights(8, 8))), axes=[1]), n.ints(1)))
    c.accepted(n)


def build(c):
    for part in (convolutional, faces, transformers):
        part(c)
