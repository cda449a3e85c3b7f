#!/bin/bash
# Runs every check of this folder from the top of the checkout and says what it skipped.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

failed=()
skipped=()
for check in names includes headers purity style analysis; do
    echo "lint: $check"
    scripts/lint/"$check".sh
    case $? in
    0) ;;
    77) skipped+=("$check") ;; # a tool is missing; the script has said which
    *) failed+=("$check") ;;
    esac
done
[ ${#skipped[@]} -eq 0 ] || echo "lint: skipped, wholly or in part: ${skipped[*]} (scripts/setup.sh lint installs the tools)"
if [ ${#failed[@]} -gt 0 ]; then
    echo "lint: failed: ${failed[*]}"
    exit 1
fi
echo "lint: clean"
