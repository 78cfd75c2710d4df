#!/usr/bin/env bash
# Fuzzes each target for FUZZ_SECONDS (60): `make fuzz`. With names as arguments, those targets alone.
#
# Begins with the seeds that the targets make for themselves, with what was kept in regressions/ and with what earlier
# runs on this machine have found (target/fuzz/found/). What breaks something is left in target/fuzz/broken/: cut it to
# what matters by `cargo +nightly fuzz tmin`, mend, and keep it in regressions/TARGET/.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-60}
# `make test` has built the release; on a machine that has not, dev is built sooner.
profile=${FUZZ_SEEDS_PROFILE:-release}
target=$(cd ../.. && pwd)/target/fuzz
skipped() { echo "make fuzz skipped: $1"; exit 0; }

cargo +nightly --version >/dev/null 2>&1 || skipped "no nightly toolchain (type: rustup toolchain install nightly)"
command -v c++ >/dev/null || skipped "no C++ compiler for libFuzzer (type: apt-get install g++)"
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked --quiet

targets=$(cd ../.. && cargo run --profile "$profile" --quiet --package twinmask-targets --bin seeds -- "$target/seeds")
fuzz=(--fuzz-dir . --target-dir "$target")
cargo +nightly fuzz build "${fuzz[@]}"
failed=""
while read -r name longest; do
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  mkdir -p "$target/found/$name" "$target/broken/$name"
  kept=(); [ ! -d "regressions/$name" ] || kept=("regressions/$name")
  log="$target/$name.log"
  # Logs are not tested here, and slow; a picture of 64 megapixels takes 600 MB.
  if cargo +nightly fuzz run "${fuzz[@]}" "$name" "$target/found/$name" "$target/seeds/$name" "${kept[@]}" -- \
    -artifact_prefix="$target/broken/$name/" -max_len="$longest" -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=3000 -print_final_stats=1 </dev/null >"$log" 2>&1; then
    stats=$(sed -nE 's/^stat::(number_of_executed_units|peak_rss_mb): *//p' "$log" | paste -sd' ')
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
    echo "$name: ${stats% *} executions, $coverage, peak ${stats#* } MB"
  else
    tail -n 40 "$log"
    failed="$failed $name"
  fi
done <<<"$targets"
[ -z "$failed" ] || { echo "broken:$failed; see $target/broken"; exit 1; }
