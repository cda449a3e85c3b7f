#!/bin/bash
# Who may include whom (DESIGN: base, random <- tensor <- kernels <- nn <- graph <- models; the others as listed).
set -euo pipefail

# module: the modules it may include besides itself
allowed() {
    case $1 in
    base | random) echo "base random" ;;
    tensor) echo "base random" ;;
    kernels) echo "base random tensor" ;;
    nn) echo "base random tensor kernels" ;;
    graph) echo "base random tensor kernels nn" ;;
    models) echo "base random tensor kernels nn graph" ;;
    dataset) echo "base random tensor" ;;
    formats) echo "base random tensor" ;;
    observe) echo "base random tensor graph" ;;
    quantize) echo "base random tensor kernels nn graph observe" ;;
    exchange) echo "base random tensor kernels nn graph models quantize formats" ;;
    train) echo "base random tensor kernels nn graph models dataset observe formats" ;;
    report) echo "base" ;;
    experiment) echo "base random tensor kernels nn graph models dataset observe quantize train formats exchange report" ;;
    cli) echo "base" ;;
    esac
}

# A public header stands for the module whose functions it declares.
owner() {
    case $1 in
    status.h | context.h | build_info.h) echo base ;;
    random.h | tensor.h | dataset.h | experiment.h | report.h) echo "${1%.h}" ;;
    network.h | benchmark.h | inference.h | init_study.h | batches.h | queue.h | evaluation.h | analysis.h | sensitivity.h) echo experiment ;;
    recipe_settings.h | grid.h | processes.h) echo experiment ;;
    inspect.h) echo exchange ;;
    recipe.h) echo quantize ;;
    *) echo "unknown" ;;
    esac
}

bad=0
while IFS=: read -r file line text; do
    module=${file#src/}
    module=${module%%/*}
    target=$(sed -E 's/.*#[[:space:]]*include[[:space:]]*["<]([^">]+)[">].*/\1/' <<< "$text")
    case $text in
    *'<quantdrift/'*)
        [ "$module" != cli ] || continue
        target=$(owner "${target#quantdrift/}")
        # Whoever implements a public header includes it.
        grep -qE "^#include <quantdrift/" "$file" && [ "$target" = "$module" ] && continue
        ;;
    *'"'*/*'"'*) target=${target%%/*} ;;
    *) continue ;; # system headers, and headers of the same folder
    esac
    [ "$target" != "$module" ] || continue
    case " $(allowed "$module") " in
    *" $target "*) ;;
    *)
        echo "$file:$line: $module must not include $target:$text"
        bad=1
        ;;
    esac
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include' src --include='*.c' --include='*.h' || true)
exit $bad
