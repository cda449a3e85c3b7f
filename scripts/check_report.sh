#!/bin/bash
# report.html in headless Chromium: no error on its console, no request to anywhere, every control works, nothing wider
# than a phone. Exit code 77 and a line where there is no Chromium (scripts/setup.sh browser) or no npm.
# Usage: scripts/check_report.sh [REPORT.html [SCREENSHOTS]]   (default: a report on results/demo)
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
if [ -z "$page" ]; then
    [ -d results/demo ] || skip "there is no results/demo; 'make run' makes it"
    mkdir -p build/check_report
    build/gcc/quantdrift report results/demo -o build/check_report > build/check_report/report.txt
    page=build/check_report/report.html
fi
modules=build/playwright
if [ ! -d "$modules/node_modules/playwright-core" ]; then
    mkdir -p "$modules"
    (cd "$modules" && npm install --ignore-scripts --no-save --no-audit --no-fund playwright-core) \
        > "$modules/npm.log" 2>&1 || skip "npm cannot install playwright-core (see $modules/npm.log)"
fi
node scripts/check_report_page.mjs "$modules" "$page" "${2:-}"
