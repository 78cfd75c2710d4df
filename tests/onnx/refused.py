"""Files that must be refused, each with the reason that the error has to contain."""

import numpy as np
from onnx import TensorProto, helper

from builder import Net


def build(c):
    def refuse(name, reason, body, shape=(1, 3, 8, 8), opset=17, **options):
        net = Net(f"refused_{name}", shape, opset, **options)
        net.out(body(net))
        c.refused(net, reason)

    stem = lambda n: n.stem(4)
    # Operators that are not there.
    refuse("custom_operator", "operator 'my.company.Fancy' is not supported", lambda n: n.node("Fancy", "x", domain="my.company"))
    refuse("com_microsoft", "operator 'com.microsoft.FusedConv' is not supported", lambda n: n.node("FusedConv", "x", n.weights(4, 3, 1, 1), domain="com.microsoft", activation="Relu"))
    refuse("quantized", "operator 'QLinearConv' is not supported", lambda n: n.node("QLinearConv", "x", *[n.const(1.0)] * 7))
    refuse("dynamic_quantization", "operator 'DynamicQuantizeLinear' is not supported", lambda n: n.node("DynamicQuantizeLinear", "x", outputs=3)[0])
    refuse("recurrent", "operator 'LSTM' is not supported", lambda n: n.node("LSTM", "x", n.weights(1, 16, 8), n.weights(1, 16, 4), outputs=3, hidden_size=4)[0], (1, 1, 8))
    refuse("non_max_suppression", "operator 'NonMaxSuppression' is not supported", lambda n: n.node("NonMaxSuppression", "x", "x"))
    refuse("top_k", "operator 'TopK' is not supported", lambda n: n.node("TopK", stem(n), n.ints(1), outputs=2)[0])

    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    refuse("control_flow", "operator 'If' is not supported", lambda n: n.node("If", n.const(True, np.bool_), then_branch=branch, else_branch=branch))
    refuse("data_dependent_shape", "operator 'NonZero' is not supported", lambda n: n.node("NonZero", "x"))

    # Forms of known operators.
    refuse("conv_3d", "[1, channels, height, width]", lambda n: n.node("Conv", "x", n.weights(4, 3, 2, 2, 2)), (1, 3, 4, 4, 4))
    refuse("pooling_indices", "optional outputs such as pooling indices are not supported",
           lambda n: n.node("Identity", n.node("MaxPool", stem(n), kernel_shape=[2, 2], outputs=2)[1]))
    refuse("pad_wrap", "mode wrap", lambda n: n.node("Pad", stem(n), n.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="wrap"), opset=19)
    refuse("resize_cubic", "mode cubic", lambda n: n.node("Resize", stem(n), "", n.const([1, 1, 2, 2]), mode="cubic"))
    refuse("resize_antialias", "antialiasing", lambda n: n.node("Resize", stem(n), "", n.const([1, 1, 0.5, 0.5]), mode="linear", antialias=1), opset=18)
    refuse("resize_crop", "coordinate_transformation_mode tf_crop_and_resize",
           lambda n: n.node("Resize", stem(n), n.const([0, 0, 0, 0, 1, 1, 1, 1]), n.const([1, 1, 2, 2]), coordinate_transformation_mode="tf_crop_and_resize"))
    refuse("cast_to_integers", "a cast of an activation to element type 7", lambda n: n.node("Cast", stem(n), to=TensorProto.INT64))
    refuse("batchnorm_training", "only the inference form", lambda n: n.bn(stem(n), 4, training_mode=1), opset=15)
    refuse("dropout_training", "training mode", lambda n: n.node("Dropout", stem(n), n.const(0.5), n.const(True, np.bool_)))
    refuse("comparison_of_activations", "supported on constants only", lambda n: n.node("Greater", stem(n), n.const(0.0)))
    refuse("reshape_by_activation", "must be a constant", lambda n: n.node("Reshape", stem(n), stem(n)))
    refuse("unknown_attribute", "attribute 'wobble' is not known", lambda n: n.node("Relu", stem(n), wobble=1))
    refuse("upsample_antialias", "antialiasing", lambda n: n.node("Upsample", stem(n), scales=[1.0, 1.0, 2.0, 2.0], antialias=1), opset=7)

    # Shapes that do not fit.
    refuse("channels", "do not fit input", lambda n: n.node("Conv", "x", n.weights(4, 5, 3, 3)))
    refuse("groups", "do not fit input", lambda n: n.node("Conv", "x", n.weights(4, 3, 3, 3), group=2))
    refuse("bias", "bias [5] for 4 outputs", lambda n: n.node("Conv", "x", n.weights(4, 3, 3, 3), n.const(n.normal(5))))
    refuse("kernel_too_large", "does not fit input", lambda n: n.conv("x", 3, 4, 9))
    refuse("zero_stride", "impossible window", lambda n: n.conv("x", 3, 4, 3, strides=[0, 1]))
    refuse("negative_stride", "strides [-1, 1]", lambda n: n.conv("x", 3, 4, 3, strides=[-1, 1]))
    refuse("reshape", "cannot become", lambda n: n.node("Reshape", stem(n), n.ints(1, 7, -1)))
    refuse("reshape_overflow", "cannot become", lambda n: n.node("Reshape", stem(n), n.ints(2**31, 2**31, 4)))
    refuse("broadcast", "do not broadcast", lambda n: n.node("Add", stem(n), n.const(n.normal(7))))
    refuse("matmul_inner", "do not fit input", lambda n: n.node("MatMul", "x", n.weights(7, 4)))
    refuse("concat_sizes", "does not join", lambda n: n.node("Concat", stem(n), n.conv("x", 3, 4, 3), axis=1))
    refuse("axis", "axis 9", lambda n: n.node("Softmax", stem(n), axis=9))
    refuse("transpose", "no permutation", lambda n: n.node("Transpose", stem(n), perm=[0, 1, 1, 3]))
    refuse("split_sizes", "does not split", lambda n: n.node("Split", stem(n), n.ints(1, 1), outputs=2, axis=1)[0])
    refuse("gather_index", "index 7 of an axis of 4", lambda n: n.node("Gather", stem(n), n.ints(0, 7), axis=1))
    refuse("expand_too_large", "elements", lambda n: n.node("Expand", n.node("GlobalAveragePool", stem(n)), n.ints(1, 4, 65536, 65536)))
    refuse("resize_too_large", "elements", lambda n: n.node("Resize", stem(n), "", n.const([1, 1, 30000, 30000])))
    refuse("constant_of_shape_too_large", "elements", lambda n: n.node("Add", "x", n.node("ConstantOfShape", n.ints(65536, 65536))))
    refuse("constant_of_shape_overflow", "impossible dimensions", lambda n: n.node("Add", "x", n.node("ConstantOfShape", n.ints(2**40))))
    refuse("tile_overflow", "too large", lambda n: n.node("Tile", stem(n), n.ints(1, 2**31, 1, 1)))
    refuse("pad_negative_reflect", "negative padding", lambda n: n.node("Pad", stem(n), n.ints(0, 0, -1, 0, 0, 0, 0, 0), mode="reflect"))
    refuse("pad_negative_all", "leaves nothing", lambda n: n.node("Pad", stem(n), n.ints(0, 0, -4, 0, 0, 0, -4, 0)))
    refuse("group_normalization", "num_groups 3 for 4 channels", lambda n: n.node("GroupNormalization", stem(n), n.const(n.normal(3)), n.const(n.normal(3)), num_groups=3), opset=18)
    refuse("blocksize", "blocksize 3 does not divide", lambda n: n.node("DepthToSpace", stem(n), blocksize=3))
    refuse("pad_too_wide", "padding", lambda n: n.node("Pad", stem(n), n.ints(0, 0, 2**40, 0, 0, 0, 0, 0)))
    refuse("empty_slice", "leaves axis", lambda n: n.node("Slice", stem(n), n.ints(5), n.ints(5), n.ints(2)))

    # Inputs and outputs.
    refuse("batch_of_four", "a batch of 4", stem, (4, 3, 8, 8))
    refuse("open_size", "pass --input-size HxW", stem, dims=["N", 3, "H", "W"])
    refuse("open_channels", "leaves its dimensions [1] open", stem, dims=["N", "C", 8, 8])
    refuse("no_shape", "has no shape", stem, dims=[])
    refuse("independent_of_the_input", "not computed from the input", lambda n: n.node("Relu", n.const(n.normal(4))))
    refuse("not_finite", "it holds NaN", lambda n: n.node("Conv", "x", n.const(np.full((4, 3, 1, 1), np.nan))))
    refuse("computed_later", "is not computed by an earlier node", lambda n: n.node("Relu", "nowhere"))

    net = Net("refused_integer_input", (1, 3, 8, 8), input_type=TensorProto.UINT8)
    net.out(net.node("Cast", "x", to=TensorProto.FLOAT))
    c.refused(net, "export it with a float input")

    net = Net("refused_integer_division", (1, 6), input_type=TensorProto.INT64)
    net.out(net.node("Cast", net.node("Div", "x", net.const(2, np.int64)), to=TensorProto.FLOAT))
    c.refused(net, "its operand holds integers")

    net = Net("refused_open_sequence", (1, 6), dims=["N", "S"], input_type=TensorProto.INT64)
    net.out(net.node("Cast", "x", to=TensorProto.FLOAT))
    c.refused(net, "leaves its dimensions [1] open")

    net = Net("refused_recursive_function")
    node = helper.make_node("Loop1", ["a"], ["b"], domain="own")
    net.functions.append(helper.make_function("own", "Loop1", ["a"], ["b"], [node], [helper.make_opsetid("own", 1)]))
    net.domains["own"] = 1
    net.out(net.node("Loop1", "x", domain="own"))
    c.refused(net, "calls itself")

    def external(name, reason, location, offset=None, length=None):
        net = Net(f"refused_external_{name}", (1, 3, 8, 8))
        net.out(net.conv("x", 3, 4, 1, bias=False))
        model = net.model()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            if value is not None:
                tensor.external_data.add(key=key, value=str(value))
        c.refused(net, reason, model)

    external("parent_folder", "lies outside the model's folder", "../manifest.json")
    external("absolute", "lies outside the model's folder", "/etc/passwd")
    external("missing", "put it beside the model file", "nowhere.data")
    external("beyond_its_end", "bytes", "external_data.data", offset=1 << 40)
    external("offset_overflow", "bytes", "external_data.data", offset=(1 << 64) - 1)
    external("wrong_length", "external data of 7 bytes", "external_data.data", length=7)

    net = Net("refused_huge_tensor")
    net.out(net.stem())
    model = net.model()
    model.graph.initializer[0].dims[:] = [2**32 + 1, 2**32, 2**40, 2**60]
    c.refused(net, "impossible dimensions", model)

    net = Net("refused_negative_dimension")
    net.out(net.stem())
    model = net.model()
    model.graph.initializer[0].dims[:] = [-4, 3, 1, 1]
    c.refused(net, "impossible dimensions", model)

    net = Net("refused_huge_input", dims=["N", 3, 2**31 - 1, 2**31 - 1])
    net.out(net.stem())
    c.refused(net, "too large")
