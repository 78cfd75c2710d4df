#!/usr/bin/env python3
"""What models of ARM cores (LLVM's, by llvm-mca) make of the inner loops of the kernels: benches/arm.sh prints it."""
import re
import subprocess
import sys

# Cores, and whether they have `smmla`.
CORES = {"cortex-a55": False, "neoverse-n1": False, "neoverse-n2": True, "neoverse-v2": True}
# By what is multiplied with and how often in a loop: the kernel, the ring's and the weights' bits, and what it computes,
# in multiply-accumulates: 16 output channels of 1, 2 or 4 pixels by 1 to 16 input channels.
LOOPS = {
    ("mla", 16): ("neon", "any", 16 * 4 * 1),
    ("sdot", 96): ("dotprod", "24, 8", 16 * 2 * 16),
    ("sdot", 64): ("dotprod", "25-32, 8", 16 * 1 * 16),
    ("sdot", 160): ("dotprod", "24, 16", 16 * 2 * 16),
    ("sdot", 112): ("dotprod", "25-32, 16", 16 * 1 * 16),
    ("smmla", 24): ("i8mm", "24, 8", 16 * 2 * 8),
    ("smmla", 16): ("i8mm", "25-32, 8", 16 * 1 * 8),
    ("smmla", 40): ("i8mm", "24, 16", 16 * 2 * 8),
    ("smmla", 32): ("i8mm", "25-32, 16", 16 * 1 * 8),
}
ITERATIONS = 200


def functions(objects):
    """Instructions of all functions: address, name, operands."""
    code = None
    for line in subprocess.run(
        ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", objects], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        if re.match(r"[0-9a-f]+ <.*>:", line):
            if code:
                yield code
            code = []
        elif (found := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*([^/]*)", line)) and code is not None:
            code.append((int(found[1], 16), found[2], found[3].strip()))
    if code:
        yield code


def loops(code):
    """Stretches that a jump back ends."""
    index = {address: i for i, (address, _, _) in enumerate(code)}
    for i, (_, name, operands) in enumerate(code):
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if name.startswith("b.") and target and index.get(int(target[1], 16), i) < i:
            yield code[index[int(target[1], 16)] : i + 1]


def cycles(loop, core):
    """Of one iteration."""
    body = "".join(f"{name} {re.sub(r'[0-9a-f]+ <.*', 'again', operands)}\n" for _, name, operands in loop)
    command = ["llvm-mca-19", "-mtriple=aarch64", "-mattr=+dotprod,+i8mm", f"-mcpu={core}", f"-iterations={ITERATIONS}"]
    found = subprocess.run(command, input=f"again:\n{body}", capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", found)[1]) / ITERATIONS


shortest = {}
for code in functions(sys.argv[1]):
    for loop in loops(code):
        for multiply in ("mla", "sdot", "smmla"):
            key = (multiply, sum(name == multiply for _, name, _ in loop))
            if key in LOOPS and len(loop) < len(shortest.get(key, range(10**6))):
                shortest[key] = loop
print("| kernel | ring, weights (bits) | instructions per MAC | " + " | ".join(CORES) + " |")
print("| --- | --- | ---: |" + " ---: |" * len(CORES))
for key, (kernel, bits, macs) in LOOPS.items():
    if loop := shortest.get(key):
        able = [core for core, has_smmla in CORES.items() if key[0] != "smmla" or has_smmla]
        rates = [f"{macs / cycles(loop, core):.1f}" if core in able else "-" for core in CORES]
        print(f"| {kernel} | {bits} | {len(loop) / macs:.3f} | {' | '.join(rates)} |")
