#!/bin/bash
# Resident memory stays flat while a run trains, logs, quantizes and writes a checkpoint every 100 steps.
# Usage: flat_memory.sh PROGRAM [STEPS]   (default: 2000; a multiple of 100)
set -euo pipefail
program=$(realpath "$1")
steps=${2:-2000}
# Growth that is no leak: the results of logged epochs, which stay in memory (about 170 KiB each here, so 3.4 MiB in 20),
# fragments of the heap, and pages that the kernel makes large ones of. A leak of one image (48 KiB) a step would be 90 MiB.
allowed_kib=8192
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$program" synth --out data --train 40 --val 4 --size 64 --quiet
"$program" run /dev/stdin --quiet > /dev/null <<JSON &
{
  "models": ["efficientnet_b0"], "data_dir": "data", "output_dir": "out", "image_size": 64, "batch_size": 4,
  "num_epochs": $((steps / 100)), "log_every": 1, "keep_checkpoints": "last", "threads": 1,
  "quantization": {"calibration_images": 16, "eval_images": 20, "sqnr_images": 4}
}
JSON
child=$!
first=0 last=0 rows=0
# Measured when an epoch's row has just come: the same point of every epoch.
while kill -0 "$child" 2> /dev/null; do
    now=$(wc -l 2> /dev/null < out/metrics.csv || echo 0)
    if [ "$now" -gt "$rows" ]; then
        rows=$now
        rss=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$child/status" 2> /dev/null || true)
        # Header, epoch 0, epoch 1: the first 100 steps are over.
        if [ "$now" -ge 3 ] && [ -n "$rss" ]; then
            [ "$first" -gt 0 ] || first=$rss
            last=$rss
            [ "$rss" -le $((first + allowed_kib)) ] || { echo "epoch $((now - 2)): $rss KiB, after the first 100 steps it was $first"; kill "$child"; exit 1; }
        fi
    fi
    sleep 0.05
done
wait "$child"
[ "$first" -gt 0 ] || { echo "the run ended before it was looked at"; exit 1; }
echo "$steps steps: $first KiB after the first 100, $last KiB at the end"
