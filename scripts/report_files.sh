#!/bin/bash
# Files for a report that has something to say in each of its sections: both models trained for a few steps on a small
# data set, every module logged at 11 epochs, trained on for INT8, analyzed; of ResNet18 the layers one by one and three
# recipes. Usage: scripts/report_files.sh PROGRAM DIR   (DIR/run has the files; some minutes on two cores)
set -euo pipefail
[ $# = 2 ] || { echo "usage: scripts/report_files.sh PROGRAM DIR" >&2; exit 2; }
program=$(realpath "$1")
experiment=$(realpath "$(dirname "$0")/../experiments/demo.json")
mkdir -p "$2"
cd "$2"

few=(--data data --calibration-images 8 --quiet)
"$program" synth --out data --train 8 --val 4 --size 40 --quiet
"$program" run "$experiment" --data data --out run --quiet --set num_epochs=10 --set log_every=1 --set image_size=32 \
    --set batch_size=40 --set log_all=true --set quantization.calibration_images=8 --set quantization.sqnr_images=8 \
    --set qat.num_epochs=1 > /dev/null
for model in resnet18 efficientnet_b0; do
    "$program" analyze "run/checkpoints/${model}_last.safetensors" "${few[@]}" --json "run/${model}_analysis.json" \
        > /dev/null
done
# The network with fewer layers: each of them is quantized alone.
checkpoint=run/checkpoints/resnet18_last.safetensors
"$program" sensitivity "$checkpoint" "${few[@]}" --images 10 --json run/resnet18_sensitivity.json > /dev/null
echo '{"recipes": [{}, {"per_channel": true}, {"calibrator": "mse"}]}' > recipes.json
"$program" grid recipes.json "$checkpoint" "${few[@]}" --eval-images 20 -o run/grid > /dev/null
