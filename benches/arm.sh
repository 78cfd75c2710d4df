#!/bin/bash
# Instructions per multiply-accumulate of whole layers on 64-bit ARM, emulated: benches/results/arm.md. What three runs
# of a layer execute more than one does is two runs; packing and loading the program do not count. Then what models of
# cores make of the inner loops.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v llvm-mca-19 >/dev/null || { echo "llvm-mca-19 is missing. Debian: sudo apt-get install llvm-19"; exit 1; }
tests/arm.sh cargo build -p twinmask-kernels --lib --example layer
folder=target/arm/aarch64-unknown-linux-gnu/release
plugin=target/arm/libinsn.so
cc -shared -fPIC -O1 -o $plugin benches/insn.c
libraries=()
[ -e /lib/ld-linux-aarch64.so.1 ] || libraries=(-L /usr/aarch64-linux-gnu)

# Runs the layer with the arguments of `layer`; prints the instructions.
count() {
  qemu-aarch64 -cpu "$cpu" "${libraries[@]}" -plugin $plugin $folder/examples/layer "$@" \
    2>&1 >target/arm/layer.txt | tail -1
}
# Instructions per multiply-accumulate of kernel $1 with a ring of $2 bits and weights of $3 bits; the shape is the rest.
per_mac() {
  local once thrice
  once=$(count "$1" "$2" "$3" 1 "${@:4}")
  thrice=$(count "$1" "$2" "$3" 3 "${@:4}")
  awk -v more=$((thrice - once)) '{ printf " %.3f |", more / 2 / $2 }' target/arm/layer.txt
}

result=benches/results/arm.md
{
  cat <<EOF
# Kernels on 64-bit ARM, instructions

Printed by \`make bench-arm\`; $(rustc --version | cut -d' ' -f1,2), commit $(git describe --always --dirty=+). No ARM processor was at hand.

## Whole layers

Instructions per multiply-accumulate, laying out the input included, counted by a plugin of qemu-user
$(qemu-aarch64 --version | sed -n 's/^qemu-aarch64 version \([^ ]*\).*/\1/p') (\`-cpu max\`; \`dotprod-f4\`, what \`winograd4\` is without i8mm: \`-cpu cortex-a76\`).

| kernel | ring, weights (bits) | 64 to 64, 3x3, 28x28 | 128 to 128, 3x3, 28x28 | 64 to 256, 1x1, 28x28 | 256 to 64, 1x1, 28x28 | 3 to 64, 7x7, 56x56 |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
EOF
  for widths in "24 8" "28 8" "32 8" "24 12" "32 12"; do
    for kernel in neon dotprod i8mm dotprod-f4 i8mm-f4; do
      [[ $kernel = *-f4 ]] && [ "$widths" != "28 8" ] && continue
      cpu=max
      [ $kernel = dotprod-f4 ] && cpu=cortex-a76
      printf '| %s | %s |' $kernel "${widths/ /, }"
      for shape in "64 28 64 3" "128 28 128 3" "64 28 256 1" "256 28 64 1" "3 56 64 7"; do
        if [[ $kernel = *-f4 ]] && [ "${shape##* }" != 3 ]; then printf ' - |'; continue; fi
        # shellcheck disable=SC2086
        per_mac ${kernel/*-f4/winograd4} $widths $shape
      done
      echo
    done
  done
  cat <<EOF

## Inner loops

Multiply-accumulates per cycle with all data in the first-level cache, as LLVM's models of these cores have it
($(llvm-mca-19 --version | sed -n 's/.*\(LLVM version.*\)/\1/p')). 32-bit floats make at most 8 on Neoverse N1 and N2, 16 on V2.

EOF
  python3 benches/arm-loops.py $folder/libtwinmask_kernels.rlib
} >$result.new
mv $result.new $result
cat $result
