# The other ways to offload a network privately (docs/alternatives.md): a package of its own, so that nobody who builds
# or tests twinmask compiles what trains networks. Results: benches/results/alternatives/. Each goes on where it stopped.

ALTERNATIVES := benches/alternatives/target/release/alternatives

.PHONY: alternatives alternatives-full alternatives-smoke alternatives-build alternatives-check

alternatives-build: bench-build
	$(CARGO) build --release --locked --quiet --manifest-path benches/alternatives/Cargo.toml

# At most 100 minutes on two cores.
alternatives: alternatives-build
	$(ALTERNATIVES) run --budget normal
	$(ALTERNATIVES) compare

# As the publications, without limit: days.
alternatives-full: alternatives-build
	$(ALTERNATIVES) run --budget full
	$(ALTERNATIVES) compare

# Everything once, too short to learn much: under three minutes, once built. Results go to target/.
alternatives-smoke: alternatives-build
	rm -rf benches/alternatives/target/runs/smoke-1
	$(ALTERNATIVES) run --budget smoke --out benches/alternatives/target/smoke

alternatives-check: deps
	cd benches/alternatives && $(CARGO) fmt --check
	cd benches/alternatives && $(CARGO) clippy --release --locked --all-targets --quiet -- -D warnings
	cd benches/alternatives && $(CARGO) test --release --locked --quiet
