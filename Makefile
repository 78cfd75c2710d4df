# The few commands a person types. `make demo` and `make test` check for what they need and install it where they may.

SHELL := /bin/bash
CARGO ?= cargo
# Benchmarks and tests measure the library as it detects this CPU itself.
unexport OPENBLAS_CORETYPE
unexport OPENBLAS_L2_SIZE

.PHONY: build demo check test bench lint fmt deps doc fuzz audit dependencies sbom miri arm arm-deps

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
	$(CARGO) test --release --quiet -p twinmask-edge --features shuttle --lib shuttle_tests
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

# Each fuzzer for FUZZ_SECONDS; skipped, with the line to type, where there is no nightly toolchain. One alone:
# tests/fuzz/run.sh NAME.
FUZZ_SECONDS ?= 60
fuzz:
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh

# Licences, sources and bans of all dependencies (deny.toml), and known advisories where their database can be had.
audit:
	@cargo deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked --quiet
	cargo deny --locked --all-features --log-level error check licenses bans sources
	@if cargo deny fetch db >/dev/null 2>&1 || ls -d $${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs/advisory-db-* >/dev/null 2>&1; then \
	  cargo deny --locked --offline --log-level error check advisories; \
	else echo "advisories skipped: the database https://github.com/RustSec/advisory-db cannot be reached"; fi

# docs/dependencies.md anew, and a bill of materials (CycloneDX) for each shipped program.
dependencies: deps
	$(CARGO) run --release --quiet -p twinmask-tests --bin supply -- list
sbom: deps
	$(CARGO) run --release --quiet -p twinmask-tests --bin supply -- sbom target/sbom

# The safe numeric crates under miri; skipped where the nightly toolchain has it not. zstd is C, which miri cannot run.
miri:
	@if cargo +nightly miri --version >/dev/null 2>&1; then \
	  cargo +nightly miri test -p twinmask-ring -p twinmask-codec --lib && \
	  cargo +nightly miri test -p twinmask-wire --lib -- --skip payload && \
	  cargo +nightly miri test -p twinmask-masking --lib -- a_mask_is_used_once field_arithmetic; \
	else echo "make miri skipped: no miri (type: rustup component add --toolchain nightly miri)"; fi

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

include benches/alternatives/alternatives.mk
