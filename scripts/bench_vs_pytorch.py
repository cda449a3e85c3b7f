#!/usr/bin/python3
"""Speed and memory of quantdrift beside PyTorch on this machine, in one interleaved run.

Every row runs the two programs in turn (A B A B ...), so that a machine whose speed drifts disturbs both alike, and
reports the median and the spread of the ratios of the pairs. Run it with nothing else running. PyTorch uses
channels_last, its faster layout here.

    make all && scripts/bench_vs_pytorch.py --csv results/bench/pytorch.csv
"""
import argparse
import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

MODELS = ["resnet18", "efficientnet_b0"]
AVX2_LIMITS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
# row: what must hold, and what the floor would allow; ratios of speed, except memory (smaller is better).
TARGETS = {
    ("train", "resnet18"): (1.2, 1.6),
    ("train", "efficientnet_b0"): (1.8, 2.5),
    ("forward", "resnet18"): (1.1, 1.4),
    ("forward", "efficientnet_b0"): (1.3, 2.0),
    ("train avx2", "resnet18"): (1.1, 1.4),
    ("train avx2", "efficientnet_b0"): (1.1, 1.4),
    ("memory", "resnet18"): (0.7, 0.5),
    ("memory", "efficientnet_b0"): (0.7, 0.5),
    ("threads", "resnet18"): (1.7, 1.85),
    ("threads", "efficientnet_b0"): (1.7, 1.85),
    ("epoch", "resnet18"): (0.90, 0.95),
    ("epoch", "efficientnet_b0"): (0.90, 0.95),
}
ROWS = ["train", "forward", "train avx2", "memory", "threads", "epoch"]


def pytorch_child(model, kind, batch, size, threads, steps):
    """One measurement by PyTorch, printed as JSON; runs in a process of its own."""
    import torch
    import torchvision
    torch.set_num_threads(threads)
    torch.manual_seed(42)
    net = getattr(torchvision.models, model)(weights=None)
    if model == "resnet18":
        net.fc = torch.nn.Linear(net.fc.in_features, 10)
    else:
        net.classifier = torch.nn.Linear(net.classifier[1].in_features, 10)
    net = net.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        if kind == "forward":
            with torch.no_grad():
                net(images)
            return
        optimizer.zero_grad()
        loss(net(images), labels).backward()
        optimizer.step()

    net.train(kind != "forward")
    step()
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"images_per_s": batch / statistics.median(seconds),
                      "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def run_pytorch(args, model, kind, batch, threads, limits=None):
    out = subprocess.run([args.python, os.path.abspath(__file__), "--child", model, kind, str(batch), str(args.size),
                          str(threads), str(args.steps)],
                         env=dict(os.environ, **(limits or {})), check=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout)


def run_ours(args, model, kind, batch, threads, cpu=None):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.json")
        command = [args.quantdrift, "bench", kind, "--model", model, "--batch", str(batch), "--size", str(args.size),
                   "--threads", str(threads), "--steps", str(args.steps), "--json", path]
        subprocess.run(command + (["--cpu", cpu] if cpu else []), check=True, stdout=subprocess.DEVNULL)
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    return {"images_per_s": found["images_per_s"]["median"], "peak_rss_bytes": found["peak_rss_bytes"],
            "cpu": found["cpu"]}


def run_epoch(args, model):
    """Images a second of one epoch on real photographs, decoding and augmentation included."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["models=[\"%s\"]" % model, "num_epochs=1", "max_steps=%d" % args.epoch_steps,
                    "batch_size=%d" % args.batch, "image_size=%d" % args.size, "quantization.enabled=false",
                    "drop_last=true"]
        command = [args.quantdrift, "run", args.experiment, "--quiet", "--data", args.data, "--out", folder,
                   "--threads", str(args.threads)]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(folder, model + "_results.json"), encoding="utf-8") as file:
            return {"images_per_s": json.load(file)["timing"]["train_images_per_s"]}


def pair(args, row, model):
    """One measurement of both sides: (ours, theirs, ratio)."""
    if row == "memory":
        a = run_ours(args, model, "train", 64, args.threads)["peak_rss_bytes"]
        b = run_pytorch(args, model, "train", 64, args.threads)["peak_rss_bytes"]
    elif row == "threads":
        a = run_ours(args, model, "train", args.batch, args.threads)["images_per_s"]
        b = run_ours(args, model, "train", args.batch, 1)["images_per_s"]
    elif row == "epoch":
        a = run_epoch(args, model)["images_per_s"]
        b = run_ours(args, model, "train", args.batch, args.threads)["images_per_s"]
    elif row == "train avx2":
        a = run_ours(args, model, "train", args.batch, args.threads, "avx2")["images_per_s"]
        b = run_pytorch(args, model, "train", args.batch, args.threads, AVX2_LIMITS)["images_per_s"]
    else:
        a = run_ours(args, model, row, args.batch, args.threads)["images_per_s"]
        b = run_pytorch(args, model, row, args.batch, args.threads)["images_per_s"]
    return a, b, a / b


def verdict(row, ratio, target):
    better = (lambda x: ratio <= x) if row == "memory" else (lambda x: ratio >= x)
    return "stretch" if better(target[1]) else "met" if better(target[0]) else "MISSED"


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def version_of(quantdrift):
    text = subprocess.run([quantdrift, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return next((line.split()[1] for line in text.splitlines() if line.split()[:1] == ["commit"]), "unknown")


COLUMNS = ["row", "model", "batch", "size", "threads", "pairs", "quantdrift", "beside", "ratio", "ratio_min",
           "ratio_max", "must", "stretch", "verdict", "isa", "cpu", "commit"]


def write_csv(path, table):
    """Puts the table's rows in the place of the file's rows of the same name and model; the others stay."""
    found = {}
    if os.path.exists(path):
        with open(path, newline="", encoding="utf-8") as file:
            found = {(line["row"], line["model"]): line for line in csv.DictReader(file)}
    found.update({(line["row"], line["model"]): line for line in table})
    order = [(row, model) for row in ROWS for model in MODELS]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found[key] for key in order if key in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quantdrift", default="build/gcc/quantdrift")
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has torch and torchvision")
    parser.add_argument("--experiment", default="experiments/imagewoof_divergence.json")
    parser.add_argument("--data", default="data/imagewoof2-320", help="for the row 'epoch', skipped where missing")
    parser.add_argument("--rows", nargs="*", default=ROWS, choices=ROWS)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="counted steps of one measurement")
    parser.add_argument("--epoch-steps", type=int, default=40, help="training steps of the row 'epoch'")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", help="write the table here too, row by row; other rows of the file stay")
    args = parser.parse_args()

    common = {"commit": version_of(args.quantdrift), "cpu": processor(), "threads": args.threads,
              "isa": run_ours(args, "resnet18", "forward", 1, 1)["cpu"], "size": args.size}
    table = []
    print("%-11s %-16s %10s %10s %8s %8s %8s  %s" % ("row", "model", "quantdrift", "beside", "ratio", "min", "max",
                                                    "must/stretch"))
    for row in args.rows:
        if row == "epoch" and not os.path.isdir(args.data):
            print("epoch: skipped, there is no %s" % args.data)
            continue
        for model in args.models:
            found = [pair(args, row, model) for _ in range(args.pairs)]
            ours, beside, ratio = (statistics.median(column) for column in zip(*found))
            ratios = [r for _, _, r in found]
            target = TARGETS[row, model]
            table.append(dict(common, row=row, model=model, batch=64 if row == "memory" else args.batch,
                              isa="avx2" if row == "train avx2" else common["isa"], pairs=args.pairs,
                              quantdrift="%.4g" % ours, beside="%.4g" % beside,
                              ratio="%.3f" % ratio, ratio_min="%.3f" % min(ratios), ratio_max="%.3f" % max(ratios),
                              must=target[0], stretch=target[1], verdict=verdict(row, ratio, target)))
            print("%-11s %-16s %10.4g %10.4g %8.3f %8.3f %8.3f  %g/%g %s" % (
                row, model, ours, beside, ratio, min(ratios), max(ratios), *target, table[-1]["verdict"]), flush=True)
            if args.csv:
                write_csv(args.csv, table)
    return 1 if any(line["verdict"] == "MISSED" for line in table) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        pytorch_child(sys.argv[2], sys.argv[3], *(int(value) for value in sys.argv[4:8]))
    else:
        sys.exit(main())
