"""Local inference by onnxruntime, one run per line on standard input; each is answered with a line of JSON.

First line printed: {"ready": version, "input": shape}. Then {"ms": latency, "cpu_ms": CPU time of the process} per run.
"""

import argparse
import json
import sys
import time

import numpy
import onnxruntime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=3)
    arguments = parser.parse_args()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    described = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in described.shape]
    values = {described.name: numpy.random.default_rng(1).uniform(-2, 2, shape).astype(numpy.float32)}
    for _ in range(arguments.warmup):
        session.run(None, values)
    print(json.dumps({"ready": onnxruntime.__version__, "input": shape}), flush=True)
    for _ in sys.stdin:
        begun, cpu = time.perf_counter(), time.process_time()
        session.run(None, values)
        ms, cpu_ms = (time.perf_counter() - begun) * 1e3, (time.process_time() - cpu) * 1e3
        print(json.dumps({"ms": ms, "cpu_ms": cpu_ms}), flush=True)


main()
