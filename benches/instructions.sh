#!/bin/bash
# Instructions of the device per inference, local against outsourced: benches/results/instructions.md, and every row in
# target/benches/instructions.jsonl.
#
# By callgrind, which does not know AVX-512, so that the device takes AVX2 code by itself; the edges run natively. What a run of
# three inputs executes more than a run of one is two inferences. Beside it onnxruntime in plaintext, which takes AVX2 there, too.
# Settings: NETWORKS, RING, MODES (environment).
set -euo pipefail
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

networks=${NETWORKS:-alexnet}
ring=${RING:-balanced}
modes=${MODES:-split relay}
python=${TWINMASK_BENCH_PYTHON:-target/bench-venv/bin/python}
programs=target/release
load=$(cut -d' ' -f1 /proc/loadavg)

command -v valgrind >/dev/null || { echo "valgrind is missing. Debian, Ubuntu: sudo apt-get install valgrind"; exit 1; }
work=$(mktemp -d)
edges=()
finish() {
  for pid in "${edges[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

# Waits for "listening on ADDR" in the file $1, written by the process $2, and prints ADDR.
address() {
  while kill -0 "$2" 2>/dev/null; do
    sed -n 's/^listening on //p;T;q' "$1" | grep . && return
    sleep 0.1
  done
  echo "no edge is listening" >&2
  return 1
}

# Writes the instructions of `device` with the arguments behind $1 to $work/$1.
count() {
  local name=$1
  shift
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$programs/device" "$@" 2>"$work/$name.log" >/dev/null \
    || { cat "$work/$name.log" >&2; return 1; }
  collected "$work/$name.log" >"$work/$name"
}

collected() { sed -n 's/^==[0-9]*== Collected : //p' "$1" | tr -d ' '; }

# Runs the two commands in the arrays `few` and `many` side by side, as they do not influence each other's counts; prints the
# difference of these.
difference() {
  "${few[@]}" & local running=$!
  "${many[@]}" && wait "$running" || { wait "$running" || true; return 1; }
  echo $(($(cat "$work/${many[1]}") - $(cat "$work/${few[1]}")))
}

rows=""
# The row of local inference by onnxruntime: counted while it makes two inferences, without its start and end.
plain() {
  local network=$1 model="$work/$1.onnx" n
  "$programs/owner-keygen" zoo "$network" --seed 1 --out "$model" >/dev/null
  coproc ORT { exec valgrind --tool=callgrind --callgrind-out-file=/dev/null --instr-atstart=no \
    "$python" benches/ort/serve.py "$model" --warmup 1 2>"$work/plain.log"; }
  local pid=$ORT_PID to=${ORT[1]} from=${ORT[0]}
  edges+=("$pid")
  read -r _ <&"$from"
  callgrind_control -i on "$pid" >/dev/null 2>&1
  for _ in 1 2; do echo >&"$to"; read -r _ <&"$from"; done
  callgrind_control -i off "$pid" >/dev/null 2>&1
  exec {to}>&-
  wait "$pid" || { cat "$work/plain.log" >&2; return 1; }
  unset 'edges[-1]'
  n=$(collected "$work/plain.log")
  rows+="$network|local: onnxruntime f32, one thread|$((n / 2))"$'\n'
  echo "$network: onnxruntime: $((n / 2)) instructions per inference"
}

# A row of the device: network, label, then the arguments before `infer`; the variable local_flag holds those after the inputs.
row() {
  local network=$1 label=$2 x="$work/input.npy" n
  shift 2
  few=(count few "$@" infer "$x" ${local_flag:-})
  many=(count many "$@" infer "$x" "$x" "$x" ${local_flag:-})
  n=$(difference)
  rows+="$network|$label|$((n / 2))"$'\n'
  echo "$network: $label: $((n / 2)) instructions per inference"
}

for network in $networks; do
  dir="$work/$network"
  "$programs/owner-keygen" init "$dir" >/dev/null
  "$programs/owner-keygen" add-model "$dir" --name bench --zoo "$network" --seed 1 --ring "$ring" >/dev/null
  "$programs/owner-keygen" add-device "$dir" --name strong --model bench --weights >/dev/null
  "$programs/owner-keygen" add-device "$dir" --name weak --model bench >/dev/null
  case "$network" in
    alexnet | resnet50 | vgg16) size="1 3 224 224" ;;
    alexnet227) size="1 3 227 227" ;;
    facenet-irv1) size="1 3 160 160" ;;
    facenet-nn1) size="1 3 220 220" ;;
    lenet) size="1 1 28 28" ;;
    *) echo "no input size known for $network" >&2; exit 1 ;;
  esac
  "$python" -c '
import sys, numpy
shape = [int(n) for n in sys.argv[2:]]
numpy.save(sys.argv[1], numpy.random.default_rng(1).uniform(-2, 2, shape).astype(numpy.float32))' "$work/input.npy" $size
  TWINMASK_LOG=warn "$programs/edge-b" --dir "$dir/edge-b" --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/b.txt" & edges+=($!)
  b=$(address "$work/b.txt" "${edges[0]}")
  peer=()
  [[ " $modes " != *" relay "* ]] || peer=(--peer "$b")
  TWINMASK_LOG=warn "$programs/edge-a" --dir "$dir/edge-a" --listen 127.0.0.1:0 --admin 127.0.0.1:0 "${peer[@]}" \
    >"$work/a.txt" & edges+=($!)
  a=$(address "$work/a.txt" "${edges[1]}")
  edges_at=(--edge-a "$a" --edge-b "$b" --timeout-s 600)
  plain "$network"
  local_flag=--local row "$network" "local: the same integer layers on the device" --dir "$dir/devices/strong" "${edges_at[@]}"
  for mode in $modes; do
    for integrity in none sample:16 freivalds sample:16+freivalds; do
      row "$network" "outsourced, $mode, $integrity" --dir "$dir/devices/weak" "${edges_at[@]}" --mode "$mode" --integrity "$integrity"
    done
  done
  for pid in "${edges[@]}"; do kill "$pid" && wait "$pid" || true; done
  edges=()
done

printf '%s' "$rows" | "$python" -c '
import json, pathlib, platform, sys, textwrap
command, ring, valgrind, load = sys.argv[1:]
rows, local = [], {}
for line in sys.stdin.read().splitlines():
    network, what, count = line.split("|")
    local.setdefault(network, int(count))
    rows.append({"network": network, "what": what, "instructions": int(count), "of_onnxruntime": int(count) / local[network]})
cpu = next(l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name"))
results, raw = pathlib.Path("benches/results"), pathlib.Path("target/benches")
results.mkdir(exist_ok=True)
raw.mkdir(parents=True, exist_ok=True)
machine = {"cpu": cpu, "system": platform.system() + " " + platform.release(), "valgrind": valgrind, "load": float(load)}
lines = [{"benchmark": "instructions", "command": command, "machine": machine}] + [{"rows": row} for row in rows]
(raw / "instructions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
text = ["# Instructions of the device per inference", "",
        textwrap.fill(
            f"Printed by `{command}` on {cpu}, {valgrind}; load before {load}. Ring {ring}. Counted by callgrind, without AVX-512 "
            "(the device chooses AVX2 there by itself): (run of three inputs - run of one) / 2; all threads of the device process, "
            "the operating system not counted. The edges ran natively. onnxruntime: half of two inferences, with the Python around "
            "them, without its start and end.", width=120, break_long_words=False, break_on_hyphens=False), "",
        "| network | what | million instructions | of onnxruntime |", "| --- | --- | ---: | ---: |"]
text += ["| {network} | {what} | {0:.1f} | {of_onnxruntime:.3f} |".format(r["instructions"] / 1e6, **r) for r in rows]
(results / "instructions.md").write_text("\n".join(text) + "\n")
print("\n".join(text[4:]))
' "NETWORKS=\"$networks\" RING=$ring MODES=\"$modes\" benches/instructions.sh" "$ring" "$(valgrind --version)" "$load"
