#!/bin/bash
# Data-parallel training over MPI on this machine: the numbers of one process, resuming with another number of them, a
# process that is killed, and what is refused. Usage: scripts/check_mpi.sh. Exit code 77 and a line where there is no MPI.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh mpi || {
    echo "check_mpi: skipped, Open MPI cannot be had here"
    exit 77
}
make --no-print-directory all CC=gcc
make --no-print-directory all build/gcc/mpi_steps CC=gcc MPI=1

# Containers run everything as root; there may be fewer cores than processes.
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMP_WAIT_POLICY=passive
work=build/check_mpi
rm -rf "$work"
mkdir -p "$work"
status=0

start() { # PROCESSES PROGRAM ARGUMENT...
    local count=$1
    shift
    timeout 600 mpirun --oversubscribe --bind-to none -np "$count" "$@"
}

fail() {
    echo "check_mpi: FAILED: $*"
    status=1
}

# 40 images in batches of 7 end in one of 5, and four processes share it as 2, 1, 1, 1; 30 in batches of 4 in one of 2, of
# which two of four processes have none.
build/gcc/quantdrift synth --out "$work/data" --train 3 --val 2 --size 64 -q
for count in 2 4; do
    for model in resnet18 efficientnet_b0; do
        for batch in 4 7; do
            echo "check_mpi: double, $model, $count processes share batches of $batch"
            start "$count" build/gcc/mpi_steps "$work/data/train" "$model" "$batch" || fail "not the numbers of one process"
        done
    done
done

experiment=(run experiments/demo.json --data "$work/data" -q -t 1 --set models=resnet18 --set batch_size=8
    --set num_epochs=3 --set quantization.enabled=false --set sync_batchnorm=true)
first_losses() { sed -n '1s/.*"loss":\([^,]*\),.*/\1/p' "$@"; }

echo "check_mpi: float32, first loss"
build/gcc/quantdrift "${experiment[@]}" --out "$work/one" --step-log "$work/one.jsonl" > "$work/one.txt"
for count in 2 4; do
    start "$count" build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/$count" --step-log "$work/$count.jsonl" > "$work/$count.txt"
    [ "$(wc -l < "$work/$count.jsonl")" -eq "$(wc -l < "$work/one.jsonl")" ] || fail "other steps than one process takes"
    first_losses -s "$work/one.jsonl" "$work/$count.jsonl" | tr '\n' ' ' |
        awk -v n="$count" '{ d = ($1 - $2) / $1; d = d < 0 ? -d : d
            printf "%d processes: %s against %s, differs by %.1e\n", n, $2, $1, d; exit d < 1e-5 ? 0 : 1 }' ||
        fail "the first loss is another one"
done

echo "check_mpi: a process that is killed, then three of them instead of two"
start 2 build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/killed" --step-log "$work/killed.jsonl" > "$work/killed.txt" 2>&1 &
launcher=$!
steps_an_epoch=4
for _ in $(seq 600); do
    [ -s "$work/killed.jsonl" ] && [ "$(wc -l < "$work/killed.jsonl")" -gt "$steps_an_epoch" ] && break
    sleep 0.05
done
# The second process has the higher number. Stopped first, so that it does not finish before it is killed.
victim=$(pgrep -f "^build/gcc/quantdrift-mpi run .*$work/killed " | sort -n | tail -n 1)
kill -KILL "$victim"
code=0
wait "$launcher" || code=$?
[ "$code" -ne 0 ] || fail "the launcher's exit code is 0"
sed -n 's/^quantdrift: /&/p' "$work/killed.txt"
[ "$(grep -c '^quantdrift: training with 2 processes: process 2 .* is gone; run it again with --resume' "$work/killed.txt")" -eq 1 ] ||
    fail "not one sentence that process 2 is gone"
[ "$(grep -c '^quantdrift: ' "$work/killed.txt")" -eq 1 ] || fail "more than one sentence"
start 3 build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/killed" --step-log "$work/killed.jsonl" --resume > "$work/resumed.txt" ||
    fail "it does not resume"
grep -q '"state": "complete"' "$work/killed/manifest.json" || fail "the resumed run is not complete"
cut -d, -f1-3 "$work/one.jsonl" > "$work/steps_one.txt"
cut -d, -f1-3 "$work/killed.jsonl" | cmp -s - "$work/steps_one.txt" || fail "the resumed run took other steps"

echo "check_mpi: what is refused"
refused() { # PIECE PROCESSES PROGRAM ARGUMENT...
    local piece=$1
    shift
    if start "$@" > "$work/refused.txt" 2>&1; then fail "accepted: $*"; fi
    grep -q "^quantdrift: .*$piece" "$work/refused.txt" || fail "no sentence with '$piece': $*"
}
refused "built without MPI" 2 build/gcc/quantdrift "${experiment[@]}" --out "$work/none"
refused "choose one with --only" 2 build/gcc/quantdrift-mpi run experiments/causes.json --data "$work/data" -q
refused "has no image for some" 3 build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/none" --set batch_size=2
refused "quantization-aware training is for one" 2 build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/none" --set qat.num_epochs=1
refused "no_such_data" 2 build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/none" --data "$work/no_such_data"
# Two programs in one job, which see different things.
cp -r "$work/data" "$work/other"
rm "$(find "$work/other/val" -type f | sort | head -n 1)"
other=(-np 1 build/gcc/quantdrift-mpi "${experiment[@]}" --out "$work/none")
refused "process 2 of 2: data set .* is not what the first process reads" 1 build/gcc/quantdrift-mpi "${experiment[@]}" \
    --out "$work/none" : "${other[@]}" --data "$work/other"
refused "process 2 of 2: the experiment is not that of the first process" 1 build/gcc/quantdrift-mpi "${experiment[@]}" \
    --out "$work/none" : "${other[@]}" --set seed=43
[ ! -e "$work/none" ] || fail "a refused run left a folder"

[ $status -ne 0 ] || echo "check_mpi: passed"
exit $status
