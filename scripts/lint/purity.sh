#!/bin/bash
# The library never prints, never exits, never reads the environment, and has no variable that changes.
set -euo pipefail
bad=0

mapfile -t library < <(find src -name '*.c' ! -path 'src/cli/*' | sort)
if [ ${#library[@]} -gt 0 ] && grep -nE '(^|[^a-zA-Z0-9_.>])(printf|puts|putchar|exit|_exit|abort|getenv|secure_getenv|perror)[[:space:]]*\(|\b(stdout|stderr)\b' \
    "${library[@]}"; then
    echo "only src/cli prints, exits or reads the environment"
    bad=1
fi

# Variables that change land in .data or .bss; constants with pointers land in .data.rel.ro, which is left alone.
archive=${ARCHIVE:-build/gcc/libquantdrift.a}
if [ -f "$archive" ]; then
    while read -r section size object; do
        echo "$object: $size bytes of changing variables in $section"
        bad=1
    done < <(size -A "$archive" | awk '/^[^ ]+\.o/ { object = $1 }
        ($1 == ".data" || $1 == ".bss" || $1 == ".tdata" || $1 == ".tbss" || $1 ~ /^\.(data|bss)\.[^r]/) && $2 > 0 { print $1, $2, object }')
else
    echo "skipped: $archive is not built, so its variables were not looked at"
    [ $bad -ne 0 ] || exit 77
fi
exit $bad
