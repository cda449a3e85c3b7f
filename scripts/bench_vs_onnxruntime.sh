#!/bin/bash
# Float and INT8 inference here beside ONNX Runtime on the models exported from the same checkpoints, interleaved:
# batch 1, 224 px, 2 threads. Prints a table and writes results/bench/onnxruntime.csv; options behind -- go to
# scripts/bench_vs_onnxruntime.mjs (--pairs 5, --runs 100, --threads 2, --size 224, --csv FILE).
# Usage: scripts/bench_vs_onnxruntime.sh [RESNET18_CHECKPOINT EFFICIENTNET_B0_CHECKPOINT DATA] [-- OPTION...]
# Without checkpoints: those of `make run` on the embedded data set. Run it with nothing else running. Exit code 1 when
# a target is missed; 77 and a line where ONNX Runtime cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

checkpoints=(results/demo/checkpoints/resnet18_last.safetensors results/demo/checkpoints/efficientnet_b0_last.safetensors)
data=data/synth
if [ $# -ge 3 ] && [ "$1" != -- ]; then
    checkpoints=("$1" "$2")
    data=$3
    shift 3
fi
if [ $# -gt 0 ]; then
    [ "$1" = -- ] || {
        echo "usage: scripts/bench_vs_onnxruntime.sh [RESNET18_CHECKPOINT EFFICIENTNET_B0_CHECKPOINT DATA] [-- OPTION...]" >&2
        exit 2
    }
    shift
fi
for checkpoint in "${checkpoints[@]}"; do
    [ -e "$checkpoint" ] || {
        echo "bench_vs_onnxruntime: skipped, there is no $checkpoint; 'make run' makes it" >&2
        exit 77
    }
done
modules=$(scripts/get_onnxruntime.sh) || exit $?

make --no-print-directory all CC=gcc
exec node scripts/bench_vs_onnxruntime.mjs --quantdrift build/gcc/quantdrift --modules "$modules" --data "$data" \
    --work build/bench_onnxruntime --csv results/bench/onnxruntime.csv \
    --resnet18 "${checkpoints[0]}" --efficientnet_b0 "${checkpoints[1]}" "$@"
