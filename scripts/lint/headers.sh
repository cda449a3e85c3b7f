#!/bin/bash
# Every header compiles alone: whoever includes it needs to know nothing else. Templates (x_template.h, x_simd.h) are
# included several times with other macros and are no headers in this sense. Headers of an instruction set's folder get
# its flags from the Makefile, as ISA_FLAGS_<folder>, and are left out where this compiler has no such set.
set -euo pipefail

compiler=${CC:-gcc}
command -v "$compiler" > /dev/null || { echo "skipped: no $compiler"; exit 77; }
bad=0
while IFS= read -r header; do
    includes=(-Iinclude)
    flags=()
    case $header in
    src/kernels/avx*)
        set_flags=ISA_FLAGS_$(basename "$(dirname "$header")")
        [ -n "${!set_flags-}" ] || continue
        read -r -a flags <<< "${!set_flags}"
        ;;
    esac
    case $header in src/*) includes+=(-Isrc -Ibuild/gcc/generated) ;; tests/*) includes+=(-Isrc -Itests -Ibuild/gcc/generated) ;; esac
    printf '#include "%s"\n' "$header" |
        "$compiler" -std=c11 -D_GNU_SOURCE -I. "${includes[@]}" -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes \
            -Werror "${flags[@]}" -fsyntax-only -x c - || { echo "$header does not compile alone"; bad=1; }
    grep -qE '^#ifndef [A-Z0-9_]+_H$' "$header" || { echo "$header has no include guard"; bad=1; }
done < <(find include src tests -name '*.h' ! -name '*_template.h' ! -name '*_simd.h' | sort)
exit $bad
