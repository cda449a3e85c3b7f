#!/bin/bash
# Static analysis: cppcheck over the whole, clang-tidy with the checks of .clang-tidy.
set -uo pipefail
bad=0 missing=0
jobs=$(nproc)

if command -v cppcheck > /dev/null; then
    # missingIncludeSystem: system headers are not read. The libraries' own macros are unknown to it, hence no
    # "information" level; nullPointerOutOfMemory and friends need no list, malloc results are checked.
    cppcheck -q -j "$jobs" --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=1 \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches -Iinclude -Isrc src || bad=1
else
    echo "skipped: no cppcheck"
    missing=1
fi
if command -v clang-tidy > /dev/null; then
    # What is written for MPI is read where its header is.
    mpi_flags=$(mpicc --showme:compile 2> /dev/null | sed 's/-I/-isystem /g')
    export mpi_flags
    left_out=()
    if [ -z "$mpi_flags" ]; then
        echo "skipped: no mpicc, which src/experiment/processes_mpi.c needs"
        left_out=(! -name processes_mpi.c)
        missing=1
    fi
    # The counts of what lies in system headers are noise; the findings themselves stay.
    # Files of an instruction set's folder get its flags from the Makefile, as ISA_FLAGS_<folder>.
    # shellcheck disable=SC2016  # the inner shell expands it
    find src -name '*.c' "${left_out[@]}" -print0 | sort -z | xargs -0 -r -n 1 -P "$jobs" bash -c '
        set -o pipefail
        set_flags=ISA_FLAGS_$(basename "$(dirname "$1")")
        clang-tidy --quiet --warnings-as-errors="*" "$1" -- -std=c11 -D_GNU_SOURCE -Iinclude -Isrc \
            -Ibuild/gcc/generated -fopenmp ${!set_flags-} $mpi_flags 2>&1 | sed "/^[0-9]* warnings\? generated/d; /^$/d"' bash || bad=1
else
    echo "skipped: no clang-tidy"
    missing=1
fi
[ $bad -eq 0 ] || exit 1
[ $missing -eq 0 ] || exit 77
