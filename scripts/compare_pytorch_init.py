#!/usr/bin/python3
"""Initial values against PyTorch, for any seeds: every number of `quantdrift init-study`, and every initial parameter
of both models, the second built after the first, as a run with num_epochs=0 leaves them.

Exit status 0 when the bounds hold: 1e-4 on every number of the study, 1e-6 on every parameter.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

from pytorch_reference import MODELS, build, init_study, read_safetensors, torch

STUDY_BOUND, PARAMETER_BOUND = 1e-4, 1e-6
CLASSES = 10


def compare_study(program, seed, folder):
    """(largest difference, where)"""
    path = os.path.join(folder, "study.json")
    subprocess.run([program, "init-study", "--seed", str(seed), "--json", path, "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
        ours = json.load(file)
    theirs = init_study(seed)
    if [(name, list(log)) for name, log in ours.items()] != [(name, list(log)) for name, log in theirs.items()]:
        return float("inf"), "stacks or modules differ"
    worst, where = 0.0, "nowhere"
    for stack, log in theirs.items():
        for path, expected in log.items():
            found = ours[stack][path]
            if found["shape"] != expected["shape"] or found["layer_type"] != expected["layer_type"]:
                return float("inf"), f"{stack} {path}: shape or type"
            for key in ("min", "max", "mean", "std", "range", "zeros_pct"):
                difference = abs(found[key] - expected[key])
                if not difference <= worst:
                    worst, where = difference, f"{path} {key}: {found[key]!r} against {expected[key]!r}"
    return worst, where


def compare_parameters(program, seed, data, folder):
    """By model: (parameters, how many of them have other bits, largest difference)"""
    out = os.path.join(folder, f"seed_{seed}")
    command = [program, "run", "experiments/demo.json", "--data", data, "--out", out, "--quiet"]
    for setting in (f"seed={seed}", "num_epochs=0", "image_size=32", "batch_size=10", "quantization.enabled=false"):
        command += ["--set", setting]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    torch.manual_seed(seed)
    result = {}
    for name in MODELS:
        torch.empty((), dtype=torch.int64).random_()  # the iterator's seed: fixed batch, then validation at epoch 0
        model = build(name, CLASSES)
        tensors, _ = read_safetensors(os.path.join(out, "checkpoints", f"{name}_epoch_0.safetensors"))
        count = other = 0
        worst = 0.0
        for key, parameter in model.named_parameters():
            found, expected = torch.from_numpy(tensors[key].copy()), parameter.detach()
            count += expected.numel()
            other += (found != expected).sum().item()
            worst = max(worst, (found - expected).abs().max().item())
        result[name] = (count, other, worst)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="*", type=int, default=[42, 0, 7, 2023, 2**32 + 5])
    parser.add_argument("--quantdrift", default="build/gcc/quantdrift", help="the program to compare")
    args = parser.parse_args()
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        subprocess.run([args.quantdrift, "synth", "--out", data, "--train", "1", "--val", "1", "--size", "32", "--quiet"],
                       check=True)
        for seed in args.seeds:
            worst, where = compare_study(args.quantdrift, seed, folder)
            ok = ok and worst <= STUDY_BOUND
            print(f"seed {seed}: init-study differs by at most {worst:.1e} ({where})")
            for name, (count, other, worst) in compare_parameters(args.quantdrift, seed, data, folder).items():
                ok = ok and worst <= PARAMETER_BOUND
                print(f"seed {seed}: {name}: {other} of {count} initial parameters have other bits, "
                      f"largest difference {worst:.1e}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
