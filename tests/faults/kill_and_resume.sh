#!/bin/bash
# A run that is killed (-9) at random moments and resumed each time ends with the files of one that was left alone, byte
# for byte apart from timing, log and manifest. Usage: kill_and_resume.sh PROGRAM [KILLS]   (default: 50)
# When a run is complete before all kills are spent, it is compared, and the next kills go to a new one.
set -euo pipefail
program=$(realpath "$1")
kills=${2:-50}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
RANDOM=42

"$program" synth --out data --train 4 --val 2 --size 32 --quiet
cat > experiment.json <<'JSON'
{
  "models": ["efficientnet_b0"], "data_dir": "data", "image_size": 32, "batch_size": 8, "num_epochs": 2, "log_every": 2,
  "threads": 1, "quantization": {"calibration_images": 8, "eval_images": 10, "sqnr_images": 4}
}
JSON

run() { # OUT; takes the place of its shell, so that a signal to that reaches it
    exec "$program" run experiment.json --resume --quiet --out "$1" --step-log "$1.jsonl"
}

# Everything but how long it took, and when.
compare() { # OUT
    for out in whole "$1"; do
        sed '/^  "timing": {/,/^  }/d' "$out/efficientnet_b0_results.json" > "$out.results"
    done
    cmp whole.results "$1.results"
    cmp whole.jsonl "$1.jsonl"
    cmp <(sed 's/"output_dir": .*//' whole/config.json) <(sed 's/"output_dir": .*//' "$1/config.json")
    diff -r --exclude=manifest.json --exclude=log.txt --exclude=config.json --exclude=efficientnet_b0_results.json whole "$1"
    "$program" verify "$1" --quiet > verified.txt || { cat verified.txt; return 1; }
}

began=$(date +%s%N)
(run whole) > table.txt
length_us=$((($(date +%s%N) - began) / 1000))

# A kill counts when it met the run at work; moments after its end only lead to the next run.
done_kills=0 runs=0
while [ "$done_kills" -lt "$kills" ]; do
    out=killed_$runs
    runs=$((runs + 1))
    while [ "$done_kills" -lt "$kills" ]; do
        run "$out" > /dev/null 2> said.txt &
        child=$!
        # Up to the length of the whole run: some moments come before the first checkpoint, some while files are written.
        sleep "$(awk -v us="$length_us" -v r="$RANDOM" 'BEGIN { printf "%.6f", us * r / 32768 / 1e6 }')"
        kill -9 "$child" 2> /dev/null || true
        code=0
        wait "$child" 2> /dev/null || code=$?
        [ "$code" -eq 0 ] && break
        [ "$code" -eq 137 ] || { echo "ended with $code: $(cat said.txt)"; exit 1; }
        done_kills=$((done_kills + 1))
    done
    (run "$out") > again.txt
    cmp table.txt again.txt
    compare "$out"
    rm -rf "$out"
done
echo "$done_kills kills at work, over $runs runs: the same files"
