#!/bin/bash
# report.html in headless Chromium: no error on its console, no request to anywhere, every control works, nothing wider
# than a phone. Exit code 77 and a line where there is no Chromium (scripts/setup.sh browser) or no npm.
# Usage: scripts/check_report.sh [REPORT.html [SCREENSHOTS]]   (default: of scripts/report_files.sh's files,
# with every section looked for by name)
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "check_report: skipped, $*"
    exit 77
}

for tool in node npm chromium; do
    command -v $tool > /dev/null || skip "there is no $tool"
done
page=${1:-}
sections=some
if [ -z "$page" ]; then
    # Every section's files in one run, and a second one, so that runs are compared as well.
    files=build/report_files
    [ -f $files/run/grid/grid.json ] || scripts/report_files.sh build/gcc/quantdrift $files
    mkdir -p build/check_report/second
    sed 's/"seed": *[0-9]*/"seed": 43/' $files/run/resnet18_results.json > build/check_report/second/resnet18_results.json
    build/gcc/quantdrift report $files/run build/check_report/second -o build/check_report > build/check_report/report.txt
    sections=all
    page=build/check_report/report.html
fi
modules=build/playwright
if [ ! -d "$modules/node_modules/playwright-core" ]; then
    mkdir -p "$modules"
    (cd "$modules" && npm install --ignore-scripts --no-save --no-audit --no-fund playwright-core) \
        > "$modules/npm.log" 2>&1 || skip "npm cannot install playwright-core (see $modules/npm.log)"
fi
node scripts/check_report_page.mjs "$modules" "$page" $sections "${2:-}"
