#!/bin/bash
# A whole run, small enough for a tool that makes everything fifty times slower: draws a data set, loads it by several
# threads into the cache, trains, observes, quantizes, reports. Usage: scripts/small_run.sh COMMAND…
#   COMMAND: the program, or what runs it, as in: scripts/small_run.sh valgrind build/gcc/quantdrift
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# One compute thread: OpenMP's runtime is not instrumented, and each of its barriers would look like a race.
export OMP_NUM_THREADS=1
"$@" synth --out "$work/data" --train 2 --val 1 --size 40 --quiet
"$@" run experiments/demo.json --data "$work/data" --out "$work/out" --threads 1 --set num_epochs=1 --set log_every=1 \
    --set image_size=32 --set batch_size=4 --set max_steps=2 --set loader_threads=4 --set cache_images=true \
    --set 'models=["efficientnet_b0"]' --set quantization.calibration_images=4 --set quantization.sqnr_images=2
"$@" report "$work/out" --no-plots
echo "small_run: passed"
