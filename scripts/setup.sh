#!/bin/bash
# Installs what quantdrift needs, by Debian package name, and says so. Nothing to install: no word, no network.
# Usage: scripts/setup.sh [build] [test] [clang] [lint] [valgrind] [aarch64] [plots] [browser] [mpi]   (default: build test)
set -euo pipefail

fail() {
    echo "setup: $*" >&2
    exit 1
}

wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(build test)

# Tools are there when their command is; libraries when dpkg says so.
tools=()     # command:package
libraries=() # package
architecture=
for group in "${wanted[@]}"; do
    case $group in
    build)
        tools+=(gcc:gcc make:make ar:binutils protoc-c:protobuf-c-compiler)
        libraries+=(libc6-dev libopenblas-dev libpng-dev libjpeg62-turbo-dev libcjson-dev libzip-dev libprotobuf-c-dev)
        ;;
    test) libraries+=(libcriterion-dev) ;;
    clang)
        tools+=(clang:clang)
        libraries+=(libomp-dev)
        ;;
    # What draws the static plots of reports, and what the page is looked at with.
    plots) tools+=(gnuplot:gnuplot-nox) ;;
    # Data-parallel training, `make MPI=1`.
    mpi)
        tools+=(mpirun:openmpi-bin)
        libraries+=(libopenmpi-dev)
        ;;
    browser) tools+=(chromium:chromium) ;;
    lint) tools+=(clang-format:clang-format clang-tidy:clang-tidy cppcheck:cppcheck shellcheck:shellcheck) ;;
    valgrind) tools+=(valgrind:valgrind) ;;
    aarch64)
        # Criterion's packages of two architectures exclude each other: the cross build takes the native headers and
        # brings a runner of its own (tests/support/cross).
        architecture=arm64
        tools+=(aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64-static:qemu-user-static)
        libraries+=(libc6-dev:arm64 libgomp1:arm64 libopenblas-dev:arm64 libpng-dev:arm64
            libjpeg62-turbo-dev:arm64 libcjson-dev:arm64 libzip-dev:arm64 libprotobuf-c-dev:arm64 libcriterion-dev)
        ;;
    *) fail "unknown group '$group'; there are build, test, clang, lint, valgrind, aarch64, plots, browser and mpi" ;;
    esac
done

missing=()
for tool in "${tools[@]}"; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
done
if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is no Debian; the build needs what these packages hold: ${libraries[*]} ${missing[*]-}" >&2
    exit 0
fi
native=$(dpkg --print-architecture)
for library in "${libraries[@]}"; do
    # Without an architecture dpkg-query would answer for all of them at once.
    [[ $library == *:* ]] || library=$library:$native
    state=$(dpkg-query -W -f='${db:Status-Status}' "$library" 2>/dev/null) || state=absent
    [ "$state" = installed ] || missing+=("${library%":$native"}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "not root and no sudo: ask an administrator to install ${missing[*]}"
    as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
if [ -n "$architecture" ] && ! dpkg --print-foreign-architectures | grep -qx "$architecture"; then
    echo "setup: adding the architecture $architecture to dpkg"
    "${as_root[@]}" dpkg --add-architecture "$architecture"
fi
"${as_root[@]}" apt-get update -qq || fail "apt-get update failed; is the network there?"
# --no-remove: a package of another architecture must never push out the machine's own.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove \
    "${missing[@]}" >/dev/null || fail "apt-get could not install ${missing[*]}"
