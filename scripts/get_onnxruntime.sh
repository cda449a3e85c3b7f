#!/bin/bash
# Installs onnxruntime-node under build/ once and prints the folder that holds its node_modules. Exit code 77 and a line
# on standard error where it cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*" >&2
    exit 77
}

for tool in node npm; do
    command -v $tool > /dev/null || skip "there is no $tool"
done
modules=build/onnxruntime
if [ ! -d "$modules/node_modules/onnxruntime-node" ]; then
    mkdir -p "$modules"
    # --ignore-scripts: its install script would fetch GPU libraries; the CPU's are in the package.
    (cd "$modules" && npm install --ignore-scripts --no-save --no-audit --no-fund onnxruntime-node) \
        > "$modules/npm.log" 2>&1 || skip "npm cannot install onnxruntime-node (see $modules/npm.log)"
fi
echo "$PWD/$modules"
