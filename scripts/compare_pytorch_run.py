#!/usr/bin/python3
"""Run the plain PyTorch script for a few steps beside quantdrift, on the same folder and seed, and compare.

The PyTorch half is the experiment as one would write it with torchvision: ImageFolder, DataLoader(num_workers=0,
shuffle=True), torchvision's models with a new head, SGD. It runs as it stands, then channels_last and on one thread,
so that PyTorch's own spread stands beside the difference to quantdrift.

Exit status 0 when the bounds hold: first loss 1e-5, second 1e-3, later ones within three times PyTorch's own spread
(which chaos may make zero by luck, so never less than 1e-3), the epoch-0 log of every called module to 1e-4 relative
or 1e-5 absolute.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
    import torchvision
    from torchvision import datasets, models, transforms
except ImportError:
    sys.exit("compare_pytorch_run: needs Debian's python3-torch and python3-torchvision, and /usr/bin/python3")

NAMES = ["resnet18", "efficientnet_b0"]


def build(name, classes):
    model = getattr(models, name)(weights=None)
    if name == "resnet18":
        model.fc = torch.nn.Linear(model.fc.in_features, classes)
    else:
        model.classifier = torch.nn.Linear(model.classifier[1].in_features, classes)
    return model


def observe(model, images):
    """What forward hooks on every module see, in the order of a dictionary filled by them."""
    log, handles = {}, []

    def hook_of(path, class_name):
        def hook(_module, _inputs, output):
            v = output.detach()
            log[path] = {"shape": list(v.shape), "min": v.min().item(), "max": v.max().item(),
                         "mean": v.mean().item(), "std": v.std().item(), "layer_type": class_name}
        return hook

    for path, module in model.named_modules():
        if path:
            handles.append(module.register_forward_hook(hook_of(path, type(module).__name__)))
    model.eval()
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return log


def pytorch_run(args, channels_last=False, threads=2):
    """First losses and epoch-0 log of each model, by name."""
    torch.set_num_threads(threads)
    torch.manual_seed(args.seed)
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    augment = transforms.Compose([transforms.RandomResizedCrop(args.size), transforms.RandomHorizontalFlip(),
                                  transforms.ToTensor(), normalise])
    centre = transforms.Compose([transforms.Resize(round(args.size * 256 / 224)), transforms.CenterCrop(args.size),
                                 transforms.ToTensor(), normalise])
    train = datasets.ImageFolder(os.path.join(args.data, "train"), augment)
    val = datasets.ImageFolder(os.path.join(args.data, "val"), centre)
    train_loader = torch.utils.data.DataLoader(train, batch_size=args.batch, shuffle=True, num_workers=0)
    val_loader = torch.utils.data.DataLoader(val, batch_size=args.batch, shuffle=False, num_workers=0)
    fixed, _ = next(iter(val_loader))
    result = {}
    for name in args.model:
        model = build(name, len(train.classes))
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        # A validation pass draws its iterator's base seed and nothing else: its pixels are not needed here.
        iter(val_loader)
        log = observe(model, fixed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        criterion = torch.nn.CrossEntropyLoss()
        losses = []
        model.train()
        while len(losses) < args.steps:
            for images, labels in train_loader:
                if channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                optimizer.zero_grad()
                loss = criterion(model(images), labels)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if len(losses) == args.steps:
                    break
        iter(val_loader)  # the validation pass after the last step, before the next model is built
        result[name] = {"losses": losses, "log": log}
    return result


def quantdrift_run(args, folder):
    step_log, out = os.path.join(folder, "steps.jsonl"), os.path.join(folder, "out")
    settings = {"seed": args.seed, "batch_size": args.batch, "image_size": args.size, "max_steps": args.steps,
                "log_all": True, "models": args.model, "quantization.enabled": False}
    command = [args.quantdrift, "run", "experiments/imagewoof_divergence.json", "--data", args.data, "--out", out,
               "--step-log", step_log, "--quiet"]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = {}
    for name in args.model:
        with open(os.path.join(out, f"{name}_results.json"), encoding="utf-8") as file:
            results = json.load(file)
        with open(step_log, encoding="utf-8") as lines:
            steps = [json.loads(line) for line in lines]
        losses = [step["loss"] for step in steps if step["model"] in (name, results["model_name"])]
        result[name] = {"losses": losses, "log": results["activation_logs"]["epoch_0"]}
    return result


def compare_logs(ours, theirs):
    """(share of the bound, where) of the worst figure: at most 1 passes."""
    if list(ours) != list(theirs):
        return float("inf"), "order of modules"
    worst, where = 0.0, ""
    for path, expected in theirs.items():
        found = ours[path]
        if found["shape"] != expected["shape"] or found["layer_type"] != expected["layer_type"]:
            return float("inf"), path
        for key in ("min", "max", "mean", "std"):
            share = abs(found[key] - expected[key]) / max(1e-5, 1e-4 * abs(expected[key]))
            if share > worst:
                worst, where = share, f"{path} {key}: {found[key]!r} against {expected[key]!r}"
    return worst, where


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train/ and val/")
    parser.add_argument("--model", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--quantdrift", default="build/gcc/quantdrift", help="the program to compare")
    parser.add_argument("--json", help="write all figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = quantdrift_run(args, folder)
    reference = pytorch_run(args)
    variants = {"channels_last": pytorch_run(args, channels_last=True), "one thread": pytorch_run(args, threads=1)}
    ok = True
    for name in args.model:
        print(f"\n{name}: seed {args.seed}, batch {args.batch}, {args.size} px, PyTorch {torch.__version__}, "
              f"torchvision {torchvision.__version__}")
        print(f"{'step':>4} {'PyTorch':>11} {'quantdrift':>11} {'difference':>11} {'own spread':>11} {'bound':>8}")
        for step, loss in enumerate(reference[name]["losses"]):
            spread = max(abs(variant[name]["losses"][step] - loss) for variant in variants.values())
            bound = 1e-5 if step == 0 else 1e-3 if step == 1 else max(3 * spread, 1e-3)
            difference = abs(ours[name]["losses"][step] - loss)
            held = difference <= bound
            ok = ok and held
            print(f"{step:4d} {loss:11.7f} {ours[name]['losses'][step]:11.7f} {difference:11.2e} {spread:11.2e} "
                  f"{bound:8.0e}{'' if held else '  FAILED'}")
        share, where = compare_logs(ours[name]["log"], reference[name]["log"])
        ok = ok and share <= 1
        print(f"epoch-0 log of {len(reference[name]['log'])} modules: worst at {share:.2f} of its bound ({where})"
              f"{'' if share <= 1 else '  FAILED'}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"quantdrift": ours, "pytorch": reference, "pytorch_variants": variants}, file, indent=2)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
