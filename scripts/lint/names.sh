#!/bin/bash
# File names unique in the whole tree, files of at most 800 lines, nothing left to be done later.
set -euo pipefail

mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- \
    '*.c' '*.h' '*.sh' '*.py' Makefile '*.md' .ci/run ':!results' | while IFS= read -r f; do [ -e "$f" ] && echo "$f"; done)
bad=0

# Every folder may have its README.md; any other name is found once. What runs leave has the same names in each folder.
twice=$(printf '%s\n' "${sources[@]##*/}" | grep -vx 'README\.md' | sort | uniq -d)
for name in $twice; do
    echo "$name: more than one file of this name: $(printf '%s\n' "${sources[@]}" | grep "\(^\|/\)$name\$" | tr '\n' ' ')"
    bad=1
done

for file in "${sources[@]}"; do
    lines=$(wc -l < "$file")
    if [ "$lines" -gt 800 ]; then
        echo "$file: $lines lines; above 800 a file is two files"
        bad=1
    fi
done

# The brackets keep this script from finding itself.
if grep -nwE 'TO[D]O|FIX[M]E|XX[X]|HA[C]K' "${sources[@]}"; then
    echo "words that postpone work: do it or file an issue"
    bad=1
fi
exit $bad
