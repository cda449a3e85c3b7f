#!/bin/bash
# Our networks beside ONNX Runtime on the ONNX models exported from them: float logits to 1e-4, INT8 predictions and
# logits as docs/quantization.md section 7 says; and onnx.checker over every file.
# Usage: scripts/check_onnx.sh [CHECKPOINT DATA [IMAGES [CALIBRATION_IMAGES]]]
# Without arguments: the checkpoints of `make run` on the embedded data set. Exit code 77 and a line where ONNX Runtime
# cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "check_onnx: skipped, $*"
    exit 77
}

checkpoints=(results/demo/checkpoints/resnet18_last.safetensors results/demo/checkpoints/efficientnet_b0_last.safetensors)
data=data/synth
if [ $# -ge 2 ]; then
    checkpoints=("$1")
    data=$2
elif [ $# -ne 0 ]; then
    echo "usage: scripts/check_onnx.sh [CHECKPOINT DATA [IMAGES [CALIBRATION_IMAGES]]]" >&2
    exit 2
fi
images=${3:-500} calibration=${4:-1000}
for checkpoint in "${checkpoints[@]}"; do
    [ -e "$checkpoint" ] || skip "there is no $checkpoint; 'make run' makes it"
done

modules=$(scripts/get_onnxruntime.sh) || exit $?

# ONNX Runtime multiplies U8 by S8 with VPMADDUBSW where a processor has no VNNI, whose sums of two products saturate at
# 16 bits (its documentation, "Quantize ONNX models": U8S8 and reduce_range): then it does not compute the model's numbers.
schemes=(s8 u8)
if grep -q '^flags.* avx2' /proc/cpuinfo && ! grep -qE '^flags.* (avx512_vnni|avx_vnni)' /proc/cpuinfo; then
    schemes=(s8)
    echo "check_onnx: U8 skipped, this processor has no VNNI and ONNX Runtime's U8 products saturate"
fi

make --no-print-directory build/gcc/onnx_reference CC=gcc
status=0
for checkpoint in "${checkpoints[@]}"; do
    for scheme in "${schemes[@]}"; do
        work=build/check_onnx/$(basename "$checkpoint" .safetensors)_$scheme
        mkdir -p "$work"
        echo "check_onnx: $checkpoint, $scheme, $images images"
        build/gcc/onnx_reference "$checkpoint" "$data" "$work" "$images" "$calibration" "$scheme"
        node scripts/compare_onnx.mjs "$modules" "$work" | tee "$work/report.json" || status=1
        if /usr/bin/python3 -c 'import onnx' 2> /dev/null; then
            /usr/bin/python3 scripts/check_onnx_model.py "$work"/{float,layers,qdq}.onnx || status=1
        else
            echo "check_onnx: there is no python3-onnx, onnx.checker was not run"
        fi
    done
done
exit $status
