#!/bin/bash
# Runs benchmark programs one after the other: scripts/run_bench.sh PROGRAM…
# Each prints CSV; it is shown and kept beside the program, with what must be known to read it.
set -euo pipefail

[ $# -gt 0 ] || { echo "no benchmark is built"; exit 1; }
cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
commit=$(git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
for program in "$@"; do
    csv=$program.csv
    {
        echo "# $(basename "$program") commit $commit, $(nproc) x ${cpu:-$(uname -m)}, load $(cut -d ' ' -f 1 /proc/loadavg), $(date -u +%FT%TZ)"
        "$program"
    } | tee "$csv"
    echo "kept in $csv"
done
