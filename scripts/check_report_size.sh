#!/bin/bash
# A report over 20 trainings of both models with every module logged: below 10 MB, which is checked, and below 5 seconds
# on an idle machine, which is told (a shared one may take longer). The trainings are one under other names and seeds.
# Usage: scripts/check_report_size.sh [RUN]   (default: the run of scripts/report_files.sh, made when it is not there)
set -euo pipefail
cd "$(dirname "$0")/.."

run=${1:-build/report_files/run}
work=build/report_size
program=build/gcc/quantdrift
max_bytes=10000000

[ -d "$run" ] || scripts/report_files.sh $program "$(dirname "$run")"
rm -rf $work
for seed in $(seq 1 20); do
    mkdir -p "$work/runs/seed_$seed"
    for file in "$run"/*_results.json; do
        sed "s/\"seed\": *[0-9]*/\"seed\": $seed/" "$file" > "$work/runs/seed_$seed/$(basename "$file")"
    done
done
TIMEFORMAT='%R s, of which %U + %S s computing'
elapsed=$({ time $program report $work/runs -o $work/out --no-plots > $work/report.txt; } 2>&1)
bytes=$(stat -c %s $work/out/report.html)
trainings=$(grep -o 'of [0-9]* trainings in [0-9]* runs' $work/report.txt)
rm -rf $work/runs
[ "$trainings" = "of 40 trainings in 20 runs" ] || { echo "check_report_size: a report $trainings"; exit 1; }
echo "check_report_size: $trainings, $bytes bytes (limit $max_bytes), $elapsed (5 s on an idle machine)"
[ "$bytes" -lt $max_bytes ]
