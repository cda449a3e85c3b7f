#!/bin/bash
# Runs test programs and counts: scripts/run_tests.sh JOBS PROGRAM…
# Each program writes TAP beside itself; the last line sums up what the programs counted themselves.
set -uo pipefail

jobs=$1
shift
# Criterion closes every possible descriptor for each test: slow under a huge limit.
ulimit -n 1024
# Tests run side by side with several threads each: threads that spin while they wait would starve one another.
export OMP_WAIT_POLICY=passive
options=${ASAN_OPTIONS:-}
passed=0 failed=0 skipped=0 status=0
skips=() failures=()
for program in "$@"; do
    echo "== $program"
    tap=$program.tap
    # A sanitizer tells of a leak when a test's process ends; Criterion has called the test passed by then.
    reports=$PWD/$program.sanitizer
    rm -f "$tap" "$reports".*
    export ASAN_OPTIONS=$options:log_path="'$reports'"
    # QD_EMULATOR is empty for native programs.
    ${QD_EMULATOR:-} "./$program" "-j$jobs" "--tap=$tap"
    code=$?
    if [ ! -s "$tap" ]; then
        echo "$program ended with $code before it reported anything"
        failed=$((failed + 1))
        failures+=("$program")
        continue
    fi
    not_ok=$(grep -c '^not ok ' "$tap")
    skip=$(grep -c '^ok .*# SKIP' "$tap")
    ok=$(($(grep -c '^ok ' "$tap") - skip))
    planned=$(sed -n 's/^1\.\.//p' "$tap")
    # A runner that dies half-way reports fewer tests than it planned.
    lost=$((planned - ok - skip - not_ok))
    if [ "$code" -ne 0 ] && [ "$not_ok" -eq 0 ] && [ "$lost" -le 0 ]; then
        echo "$program ended with $code although no test failed"
        lost=1
    fi
    [ "$lost" -le 0 ] || failures+=("$program: $lost tests without a result")
    [ "$lost" -gt 0 ] || lost=0
    passed=$((passed + ok))
    skipped=$((skipped + skip))
    for report in "$reports".*; do
        grep -qs 'ERROR: ' "$report" || continue
        cat "$report"
        failed=$((failed + 1))
        failures+=("$program: a sanitizer's report, $report")
    done
    failed=$((failed + not_ok + lost))
    while IFS= read -r line; do
        skips+=("$line")
    done < <(sed -n 's/^ok - \(.*[^ ]\) *# SKIP */\1: /p' "$tap")
    while IFS= read -r line; do
        failures+=("$line")
    done < <(sed -n 's/^not ok - \([^ ]*\).*/\1/p' "$tap")
done
[ "$failed" -eq 0 ] || status=1
[ "$skipped" -eq 0 ] || printf 'skipped %s\n' "${skips[@]}"
[ "$failed" -eq 0 ] || printf 'failed %s\n' "${failures[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
