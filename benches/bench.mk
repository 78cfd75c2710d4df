# The benchmarks; the Makefile includes this. Run them on an idle machine: they are interleaved, but a busy neighbour shows.
# Results: benches/results/*.md with their plots (SVG); every row in full in target/benches/*.jsonl, which is not checked in.

BENCH_PYTHON := target/bench-venv/bin/python

.PHONY: bench-build bench-venv bench-kernels bench-linear bench-loopback bench-encodings bench-links bench-weak bench-instructions bench-timing bench-hostile bench-arm

bench-build: build
	$(CARGO) build --release -p twinmask-benches

# onnxruntime from PyPI, in a folder of its own; no PyTorch.
bench-venv: $(BENCH_PYTHON)

$(BENCH_PYTHON):
	rm -rf target/bench-venv
	python3 -m venv target/bench-venv
	target/bench-venv/bin/python -m pip install --quiet onnxruntime numpy onnx || { rm -rf target/bench-venv; exit 1; }

bench-kernels: deps
	$(CARGO) bench -p twinmask-benches --bench kernels

bench-linear: bench-build bench-venv
	target/release/linear

bench-loopback: bench-build bench-venv
	target/release/loopback

bench-encodings: bench-build
	target/release/encodings

bench-links: bench-build bench-venv
	target/release/links

bench-weak: bench-build bench-venv
	target/release/weak

bench-instructions: bench-build bench-venv
	benches/instructions.sh

# What times tell of the data; says so of each loop above dudect's bound.
bench-timing: bench-build
	target/release/timing

# What hostile devices, and those that are only there, cost an edge and other devices; about 20 minutes.
bench-hostile: bench-build
	target/release/hostile

# Instructions of the kernels on 64-bit ARM, emulated, and what models of cores make of them; a minute.
bench-arm: arm-deps
	benches/arm.sh
