"""Quantizes an ONNX file to int8 (QDQ, static, per channel) with random calibration data: the speed does not depend on it.

    quantize.py MODEL.onnx OUT.onnx
"""

import os
import sys
import tempfile

import numpy
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class RandomInputs(CalibrationDataReader):
    def __init__(self, model, count=4):
        described = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0]
        shape = [size if isinstance(size, int) else 1 for size in described.shape]
        random = numpy.random.default_rng(1)
        self.inputs = iter([{described.name: random.uniform(-2, 2, shape).astype(numpy.float32)} for _ in range(count)])

    def get_next(self):
        return next(self.inputs, None)


def main():
    model, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        prepared = os.path.join(folder, "prepared.onnx")
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        part = out + ".part"
        quantize_static(
            prepared,
            part,
            RandomInputs(prepared),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        os.replace(part, out)


main()
