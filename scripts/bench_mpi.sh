#!/bin/bash
# Training speed of the same cores as threads of one process and as processes of one thread each, in turns.
# Usage: scripts/bench_mpi.sh DATA [SIZE [STEPS [ROUNDS]]]   prints one line a round and the medians, images a second.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: scripts/bench_mpi.sh DATA [SIZE [STEPS [ROUNDS]]]" >&2; exit 2; }
data=$1 size=${2:-128} steps=${3:-12} rounds=${4:-3} cores=$(nproc)

scripts/setup.sh mpi
make --no-print-directory all CC=gcc MPI=1
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=build/bench_mpi
rm -rf "$work"
mkdir -p "$work"

rate() { # MODEL LAUNCHER... : images a second of one short training
    local model=$1
    shift
    rm -rf "$work/run"
    "$@" build/gcc/quantdrift-mpi run experiments/imagewoof_divergence.json --data "$data" --out "$work/run" -q \
        --set "models=$model" --set "image_size=$size" --set "max_steps=$steps" --set quantization.enabled=false \
        --set "sync_batchnorm=$sync" > /dev/null
    sed -n 's/.*"train_images_per_s": *\([0-9.]*\).*/\1/p' "$work"/run/*_results.json
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for model in resnet18 efficientnet_b0; do
    for ((round = 1; round <= rounds; round++)); do
        sync=false
        rate "$model" env >> "$work/$model.one"
        rate "$model" mpirun -np "$cores" --bind-to core >> "$work/$model.own"
        sync=true
        rate "$model" mpirun -np "$cores" --bind-to core >> "$work/$model.shared"
        echo "$model, round $round: 1 process of $cores threads $(tail -n 1 "$work/$model.one"), $cores processes" \
            "$(tail -n 1 "$work/$model.own"), with shared statistics $(tail -n 1 "$work/$model.shared")"
    done
    echo "$model, medians: $(median < "$work/$model.one"), $(median < "$work/$model.own"), $(median < "$work/$model.shared")"
done
