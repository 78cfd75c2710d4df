# The few commands a person types. `make demo` and `make test` check for what they need and install it where they may.

SHELL := /bin/bash
CARGO ?= cargo
# Benchmarks and tests measure the library as it detects this CPU itself.
unexport OPENBLAS_CORETYPE
unexport OPENBLAS_L2_SIZE

.PHONY: build demo check test bench lint fmt deps doc fuzz arm arm-deps

build: deps
	$(CARGO) build --release -p twinmask-owner-keygen -p twinmask-edge-a -p twinmask-edge-b -p twinmask-device \
	  --features twinmask-device/cli

demo: build
	target/release/device demo

# Unit tests of libraries and programs: no OpenBLAS, no other host, nothing installed. Under two minutes when built before.
check:
	$(CARGO) test --workspace --lib --bins --quiet --features twinmask-device/cli \
	  $(addprefix --exclude twinmask-,openblas edge-a edge-b tests benches)

test: build
	@rm -f target/skipped-tests.txt
	$(CARGO) test --release --workspace --quiet
	@if [ -s target/skipped-tests.txt ]; then \
	  echo "$$(sort -u target/skipped-tests.txt | wc -l) tests skipped, because the data folder (TWINMASK_DATA) is not there:"; \
	  sort -u target/skipped-tests.txt; \
	else echo "no test was skipped"; fi

lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --quiet

fmt:
	$(CARGO) fmt --all

# Coverage-guided fuzzing; needs a nightly toolchain and `cargo install cargo-fuzz`.
FUZZ_SECONDS ?= 60
fuzz:
	@cargo fuzz --version >/dev/null 2>&1 || { echo "type: cargo install cargo-fuzz && rustup toolchain install nightly"; exit 1; }
	for target in onnx bundle frame; do \
	  (cd tests/fuzz && cargo +nightly fuzz run --fuzz-dir . $$target -- -max_total_time=$(FUZZ_SECONDS)) || exit 1; \
	done

# The device on 64-bit ARM, under qemu-user: its tests, and private inferences with edges of this machine.
arm: build
	@tests/arm.sh

# The tools for that; fails where they are neither there nor can be installed.
arm-deps:
	@tests/arm.sh deps

doc:
	$(CARGO) doc --workspace --no-deps

# A C compiler, pkg-config and OpenBLAS: installed by apt where that is possible, else the line to type is printed.
deps:
	@missing=""; \
	command -v cc >/dev/null || missing="$$missing gcc"; \
	command -v pkg-config >/dev/null || missing="$$missing pkg-config"; \
	pkg-config --exists openblas 2>/dev/null || missing="$$missing libopenblas-dev"; \
	[ -z "$$missing" ] && exit 0; \
	if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
	  as_root=""; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	  echo "installing$$missing"; \
	  $$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq $$missing >/dev/null; \
	else \
	  echo "missing:$$missing. Type one of these, then make again:"; \
	  echo "  Debian, Ubuntu: sudo apt-get install gcc pkg-config libopenblas-dev"; \
	  echo "  Fedora:         sudo dnf install gcc pkgconf-pkg-config openblas-devel"; \
	  echo "  macOS:          brew install pkgconf openblas && export PKG_CONFIG_PATH=\"\$$(brew --prefix openblas)/lib/pkgconfig\""; \
	  exit 1; \
	fi

# All benchmarks in sequence (over an hour); one at a time: make bench-linear, bench-loopback, bench-links, ...
bench: bench-kernels bench-linear bench-loopback bench-encodings bench-links bench-weak bench-instructions bench-timing

include benches/bench.mk
