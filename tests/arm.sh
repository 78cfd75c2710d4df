#!/usr/bin/env bash
# The device and every crate below it on 64-bit ARM, under qemu-user: their tests, then private inferences of the ARM
# device with edges of this machine. `tests/arm.sh deps` only looks for the tools, and installs them where it may;
# `tests/arm.sh cargo ARGUMENTS` builds something else.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Whether the compiler $1 has a standard library for the target and is new enough.
usable() {
  command -v "$1" >/dev/null && [ -d "$("$1" --print sysroot)/lib/rustlib/$target/lib" ] \
    && printf '%s\n' "$oldest" "$("$1" --version | cut -d' ' -f2)" | sort -CV
}
# rustup's standard library for the target if it is installed, else that of Debian's own compiler.
compiler() { if usable rustc; then echo rustc; elif usable /usr/bin/rustc; then echo /usr/bin/rustc; fi; }
complete() { [ -n "$(compiler)" ] && type aarch64-linux-gnu-gcc qemu-aarch64 >/dev/null 2>&1; }

install_from_debian() {
  command -v apt-get >/dev/null || return 1
  local as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  $as_root true 2>/dev/null || return 1
  echo "installing a compiler for ARM, and qemu-user"
  local packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
  $as_root dpkg --add-architecture arm64 && $as_root apt-get update -qq || return 1
  [ -n "$(compiler)" ] || packages+=(rustc-web libstd-rust-web-dev:arm64)
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

complete || install_from_debian || true
complete || {
  echo "type: rustup target add $target && sudo apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
  exit 1
}
[ "${1:-}" = deps ] && exit 0

# A libc of the architecture that is installed beside this machine's own goes before the cross compiler's.
qemu="qemu-aarch64 -cpu max"
[ -e /lib/ld-linux-aarch64.so.1 ] || qemu="$qemu -L /usr/aarch64-linux-gnu"
arm_cargo() {
  RUSTC=$(compiler) CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$qemu \
    ${CARGO:-cargo} "$1" --release --quiet --target $target --target-dir target/arm "${@:2}"
}

if [ "${1:-}" = cargo ]; then
  arm_cargo "${@:2}"
  exit
fi

# The kernels offered on an emulated CPU of the name $1 are $2, and portable ones.
offers() {
  TWINMASK_TEST_KERNELS=$2 qemu=${qemu/max/$1} \
    arm_cargo test -p twinmask-kernels --lib -- --exact linear::neon::tests::what_this_cpu_has
}
offers max "i8mm dotprod neon" # as in the tests below
offers cortex-a53 neon

packages=()
for crate in ring codec layer kernels masking wire transport model device; do packages+=(-p "twinmask-$crate"); done
# Tests with floods and deadlines would time the emulator; they run on this machine. So do those that start themselves
# as a process of their own, which this machine cannot.
arm_cargo test --lib --bins "${packages[@]}" --features twinmask-device/cli -- \
  --skip a_large_png_takes_the_memory_of_a_few_rows --skip a_read_only_folder_does_and_remembers_nothing
arm_cargo build -p twinmask-device --features cli

device=target/arm/device
printf '#!/bin/sh\nexec %s %s "$@"\n' "$qemu" "$PWD/target/arm/$target/release/device" >$device
chmod +x $device
TWINMASK_TEST_DEVICE=$PWD/$device ${CARGO:-cargo} test --release --quiet -p twinmask-tests --test equal
