#!/bin/bash
# One failure at a time: each allocation, write, fsync, rename and read of an operation fails once. The operation then ends
# with one sentence or none, never by a signal, leaves no damaged file, and done again without a failure it ends with
# the files of one that never failed. Under a sanitizer a leak or a bad access ends it, too.
# Usage: each_fault.sh BUILD_FOLDER OPERATION [COUNT]   COUNT: failures of a kind, spread evenly (default: every one)
#   OPERATION: train | resume | quantize | encodings | import | import-safetensors | export | inspect | report | grid
set -euo pipefail
build=$(realpath "$1")
operation=$2
most=${3:-1000000}
# Threads would make the order of allocations another one each time.
export OMP_NUM_THREADS=1
limit_s=600

# Results of two builds differ in what they tell of the program.
cmp -s <("$build/quantdrift" --version) <("$build/quantdrift_faults" --version) || { echo "quantdrift and quantdrift_faults are not of one build; make both"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$build/quantdrift" synth --out data --train 2 --val 1 --size 32 --quiet
cat > experiment.json <<'JSON'
{
  "models": ["efficientnet_b0"], "data_dir": "data", "output_dir": "state/out", "image_size": 32, "batch_size": 8, "num_epochs": 2,
  "log_every": 2, "threads": 1, "loader_threads": 1, "keep_checkpoints": "last",
  "quantization": {"calibration_images": 4, "eval_images": 4, "sqnr_images": 2}
}
JSON

# What a run leaves but how long it took, and when. Prints the names and hashes of everything else.
fingerprint() { # FOLDER
    (cd "$1" && find . -type f ! -name manifest.json ! -name log.txt | sort | while IFS= read -r file; do
        case $file in
        *_results.json) printf '%s %s\n' "$file" "$(sed '/^  "timing": {/,/^  }/d' "$file" | sha256sum)" ;;
        */grid.json) printf '%s %s\n' "$file" "$(sed 's/"seconds":[^,]*//g' "$file" | sha256sum)" ;;
        */grid.md) printf '%s %s\n' "$file" "$(sed 's/[^|]*|$//' "$file" | sha256sum)" ;;
        *) printf '%s %s\n' "$file" "$(sha256sum < "$file")" ;;
        esac
    done)
}

# A network to begin with, and half a run.
rm -rf base && mkdir base state
if [ "$operation" != train ]; then
    "$build/quantdrift" run experiment.json --quiet > /dev/null
    case $operation in
    resume)
        rm -rf state/out
        "$build/quantdrift" run experiment.json --quiet > /dev/null &
        child=$!
        while kill -0 "$child" 2> /dev/null && [ "$(wc -l 2> /dev/null < state/out/metrics.csv || echo 0)" -lt 3 ]; do sleep 0.01; done
        kill -INT "$child"
        code=0
        wait "$child" || code=$?
        [ "$code" -eq 130 ] || { echo "the run to be resumed ended with $code before it was interrupted"; exit 1; }
        cp -a state/out base/out
        ;;
    report) cp -a state/out run ;;
    *)
        cp state/out/checkpoints/efficientnet_b0_last.safetensors checkpoint.safetensors
        case $operation in
        import) "$build/quantdrift" export checkpoint.safetensors --format pth -o weights.pth --quiet ;;
        import-safetensors) "$build/quantdrift" export checkpoint.safetensors --format safetensors -o weights.safetensors --quiet ;;
        inspect) "$build/quantdrift" export checkpoint.safetensors --format onnx-qdq --data data -o network.onnx --quiet ;;
        grid) echo '{"calibration_images": 4, "eval_images": 4, "recipes": [{"per_channel": true}]}' > grid.json ;;
        encodings) "$build/quantdrift" export checkpoint.safetensors --format encodings --data data -o network.encodings --quiet ;;
        esac > /dev/null
        ;;
    esac
    rm -rf state && mkdir state
fi

case $operation in
train | resume) arguments=(run experiment.json --resume --quiet) ;;
quantize) arguments=(quantize checkpoint.safetensors --data data -o state/quantized.safetensors --quiet) ;;
encodings) arguments=(quantize checkpoint.safetensors --encodings network.encodings -o state/quantized.safetensors --quiet) ;;
import) arguments=(import weights.pth --model efficientnet_b0 --image-size 32 -o state/imported.safetensors --quiet) ;;
import-safetensors)
    arguments=(import weights.safetensors --model efficientnet_b0 --image-size 32 -o state/imported.safetensors --quiet)
    ;;
inspect) arguments=(inspect network.onnx --json state/network.json --quiet) ;;
export) arguments=(export checkpoint.safetensors --format onnx-qdq --data data -o state/network.onnx --quiet) ;;
grid) arguments=(grid grid.json checkpoint.safetensors --data data -o state/rows --quiet) ;;
report) arguments=(report run --no-plots -o state/page --quiet) ;;
*) echo "expected train, resume, quantize, encodings, import, import-safetensors, export, inspect, report or grid, got '$operation'"; exit 2 ;;
esac

begin() {
    rm -rf state && cp -a base state
}

attempt() { # FAULT; exit code in `code`
    code=0
    QD_FAULT=$1 QD_FAULT_REPORT=report.txt timeout -s KILL "$limit_s" "$build/quantdrift_faults" "${arguments[@]}" \
        > out.txt 2> said.txt < /dev/null || code=$?
}

wrong() { # WHAT
    echo "$operation, $fault: $1 (exit code $code)"
    cat said.txt
    exit 1
}

begin
attempt allocation:0
fault="without a failure"
[ "$code" -eq 0 ] || wrong "expected it to end well"
cp report.txt counts.txt
fingerprint state > whole.txt
tested=0
for kind in allocation write fsync rename read; do
    count=$(sed -n "s/^$kind //p" counts.txt)
    step=$(((count + most - 1) / most))
    [ "$step" -ge 1 ] || step=1
    # Not always the first of each step: the middle.
    for ((n = (step + 1) / 2; n <= count; n += step)); do
        fault=$kind:$n
        begin
        rm -f report.txt
        attempt "$fault"
        [ -s report.txt ] || wrong "it did not end by itself"
        case $code in
        0) [ ! -s said.txt ] || wrong "it succeeded and complained" ;;
        1 | 3) [ "$(wc -l < said.txt)" -eq 1 ] || wrong "expected one sentence" ;;
        *) wrong "expected exit code 0, 1 or 3" ;;
        esac
        # Later failures may not be reached: another way was taken. A report goes on without a file that cannot be read.
        if [ "$code" -eq 0 ] && ! { [ "$operation" = report ] && grep -q 'Input/output error' state/page/report.md; }; then
            cmp -s <(fingerprint state) whole.txt || wrong "it succeeded with other files: $(diff <(fingerprint state) whole.txt)"
        else
            "$build/quantdrift" "${arguments[@]}" > out.txt 2> said.txt || wrong "done again, it fails"
            cmp -s <(fingerprint state) whole.txt || wrong "done again, it leaves other files: $(diff <(fingerprint state) whole.txt)"
        fi
        tested=$((tested + 1))
    done
done
echo "$operation: $tested failures of $(tr '\n' ' ' < counts.txt)"
