#!/bin/bash
# Layout as .clang-format says, scripts as shellcheck likes them.
set -uo pipefail
bad=0 missing=0

if command -v clang-format > /dev/null; then
    git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' | xargs -0 -r clang-format --dry-run --Werror || bad=1
    [ $bad -eq 0 ] || echo "\`make format\` lays the files out"
else
    echo "skipped: no clang-format"
    missing=1
fi
if command -v shellcheck > /dev/null; then
    git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run | xargs -0 -r shellcheck -x || bad=1
else
    echo "skipped: no shellcheck"
    missing=1
fi
[ $bad -eq 0 ] || exit 1
[ $missing -eq 0 ] || exit 77
