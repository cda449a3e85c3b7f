#!/bin/sh
# Prints a header that names the commit being built; "unknown" outside a git checkout.
set -eu
commit=$(git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null) || commit=unknown
printf '#define QD_BUILD_COMMIT "%s"\n' "$commit"
