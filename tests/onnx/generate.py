"""Writes the torture set: small ONNX files, an input for each, and what onnxruntime computes from it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install onnx onnxruntime numpy
    /tmp/venv/bin/python tests/onnx/generate.py

Everything is seeded by the case's name: the same versions of the packages give the same bytes. `tests/torture.rs` reads
`manifest.json`: per file, either shape and position (in float32 elements) of input and outputs in `tensors.bin`, or the
reason that the importer must give for refusing it. The file names say operator, form and operator set.
"""

from pathlib import Path

import exporters
import networks
import operators
import refused
from builder import Collection

if __name__ == "__main__":
    collection = Collection(Path(__file__).parent)
    for module in (operators, exporters, networks, refused):
        module.build(collection)
    collection.finish()
    total = sum(f.stat().st_size for f in Path(__file__).parent.rglob("*") if f.suffix in {".onnx", ".bin", ".json", ".data"})
    no = sum("refused" in e for e in collection.entries)
    print(f"{len(collection.entries)} files, {no} of them to be refused; {total} bytes")
