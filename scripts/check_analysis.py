#!/usr/bin/python3
"""`quantdrift analyze` and `sensitivity` against the same numbers computed by PyTorch from the exported weights.

    scripts/check_analysis.py CHECKPOINT --data DIR [--program build/gcc/quantdrift] [--calibration 64] [--images 40]

torchvision's network runs over the same images (its own transforms, torch.randperm's choice of them) with forward
hooks. Compared: statistics, scales and zero points of every module; the channels' standard deviations; gammas; ranges
before and behind BatchNorm; the ten values; range, scale, zero point, channels and code counts of every quantized
tensor that is a module's output; and accuracy, KL and MSE of INT8 weights, of a quantized input, and of a quantized
stem. Exit status 0 when all agree to four digits.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy

from pytorch_reference import TO_FLOAT, build, centre, nn, torch, torchvision, transforms

# Four digits of what a number is measured in: itself, or the range or deviation of the values it summarizes.
DIGITS = 1e-4


class Comparison:
    def __init__(self):
        self.failures, self.counts, self.worst = [], {}, {}

    def number(self, kind, name, ours, theirs, unit=None):
        if ours is None or theirs is None or not numpy.isfinite(theirs):
            error = 0.0 if ours is None and (theirs is None or not numpy.isfinite(theirs)) else numpy.inf
        else:
            error = abs(ours - theirs) / max(abs(theirs) if unit is None else unit, 1e-30)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.worst[kind] = max(self.worst.get(kind, 0.0), error)
        if not error <= DIGITS:
            self.failures.append(f"{kind} of {name}: {ours} here, {theirs} in PyTorch")

    def equal(self, kind, name, ours, theirs):
        self.number(kind, name, 0.0 if ours == theirs else numpy.inf, 0.0, 1.0)
        if ours != theirs:
            self.failures[-1] = f"{kind} of {name}: {ours} here, {theirs} in PyTorch"


def affine(low, high):
    """Scale and zero point of a range: docs/quantization.md, section 1."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(numpy.float32((high - low) / 255.0))
    if scale < numpy.finfo(numpy.float32).tiny:
        return 1.0, 0
    return scale, int(min(max(numpy.rint(-128 - low / scale), -128), 127))


def codes_of(x, scale, zero):
    return torch.clamp(torch.round(x / numpy.float32(scale)) + zero, -128, 127)


def rounded(x, scale, zero):
    return (codes_of(x, scale, zero) - zero) * numpy.float32(scale)


def spread(values):
    v = values.double()
    return {"mean": v.mean().item(), "std": v.std().item(), "min": v.min().item(), "max": v.max().item()}


def load_network(args, folder, head):
    path = os.path.join(folder, "weights.pth")
    subprocess.run([args.program, "export", args.checkpoint, "--format", "pth", "-o", path], check=True,
                   stdout=subprocess.DEVNULL)
    model = build(head["model"], head["classes"])
    model.load_state_dict(torch.load(path), strict=True)
    return model.eval()


def hook_outputs(model, seen):
    """Calls seen(path, output) for every call of every module; copies, because activations work in place."""
    def hook_of(path):
        return lambda _module, _inputs, output: seen(path, output.detach().clone())
    return [module.register_forward_hook(hook_of(path)) for path, module in model.named_modules()]


def run_once(model, images):
    outputs = {}
    handles = hook_outputs(model, outputs.__setitem__)
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return outputs


def check_modules(check, analysis, outputs):
    for module in analysis["modules"]:
        name, x = module["name"], outputs[module["name"]].double()
        scale, zero = affine(x.min().item(), x.max().item())
        extent = (x.max() - x.min()).item() or 1.0
        check.equal("shape", name, module["shape"], list(x.shape))
        for key, value in [("min", x.min()), ("max", x.max()), ("mean", x.mean()), ("std", x.std())]:
            check.number(f"module {key}", name, module[key], value.item(), extent)
        check.number("module outlier ratio", name, module["outlier_ratio"], (x.abs().max() / (x.std() + 1e-8)).item())
        check.number("module zeros", name, module["zeros_pct"], 100.0 * (x == 0).double().mean().item(), 100.0)
        check.number("module scale", name, module["scale"], scale)
        check.number("module zero point", name, module["zero_point"], zero, 256.0 * 1.1e4)  # a tie may fall either way
        check.equal("has positions", name, module["channel_std"] is not None, x.dim() == 4 and x[0, 0].numel() > 1)
        if module["channel_std"]:
            for key, value in spread(x.std(dim=(0, 2, 3))).items():
                check.number(f"channels' std: {key}", name, module["channel_std"][key], value)
            check.equal("channel count", name, module["channel_std"]["count"], x.shape[1])
    for entry in analysis["channels"]:
        x = outputs[entry["name"]].double()
        for key, value in [("min", x.amin((0, 2, 3))), ("max", x.amax((0, 2, 3))), ("mean", x.mean((0, 2, 3))),
                           ("std", x.std(dim=(0, 2, 3)))]:
            for c, number in enumerate(value.tolist()):
                check.number(f"channel {key}", f"{entry['name']} channel {c}", entry[key][c], number,
                             (x.max() - x.min()).item())


def check_batchnorms(check, analysis, model, outputs):
    modules = dict(model.named_modules())
    largest = None
    for entry in analysis["batchnorm"]:
        gamma = modules[entry["name"]].weight.detach()
        for key, value in spread(gamma).items():
            check.number(f"gamma {key}", entry["name"], entry["gamma"][key], value)
        if largest is None or gamma.max().item() > largest[0]:
            largest = (gamma.max().item(), modules[entry["name"]].bias[gamma.argmax()].item())
    for entry in analysis["batchnorm_ranges"]:
        before, behind = (outputs[entry[key]] for key in ("convolution", "batchnorm"))
        check.number("BatchNorm ratio", entry["batchnorm"], entry["ratio"],
                     ((behind.max() - behind.min()) / (before.max() - before.min())).item())
    example = analysis["example"]
    pairs = [largest, (12.0095, -2.5319), (0.6440, -0.3257)]
    x = torch.tensor(example["x"], dtype=torch.float64)
    for case, (gamma, beta) in zip(example["cases"], pairs):
        layer = nn.BatchNorm1d(1, eps=1e-5).double().train()
        with torch.no_grad():
            layer.weight.fill_(gamma)
            layer.bias.fill_(beta)
            y = layer(x.reshape(-1, 1)).flatten().tolist()
        for i, value in enumerate(y):
            check.number("ten values", f"{case['source']} value {i}", case["y"][i], value, abs(gamma))


def calibrate(model, images, names):
    """Per channel: minimum and maximum of each named module's output."""
    low, high = {}, {}

    def seen(path, output):
        if path not in names:
            return
        dims = (0, 2, 3) if output.dim() == 4 else (0,)
        least, most = output.amin(dims), output.amax(dims)
        low[path] = torch.minimum(low.get(path, least), least)
        high[path] = torch.maximum(high.get(path, most), most)

    # a module called twice shows its last call, as the activation log keeps it
    for image in images:
        for path, output in {**run_once(model, image[None]), "input": image[None]}.items():
            seen(path, output)
    return low, high


def count_codes(model, images, names, grid):
    counts = {name: numpy.zeros(256, dtype=numpy.int64) for name in names}
    for image in images:
        for path, output in {**run_once(model, image[None]), "input": image[None]}.items():
            if path in names:
                codes = codes_of(output, *grid[path]).long().flatten() + 128
                counts[path] += torch.bincount(codes, minlength=256).numpy()
    return counts


def check_tensors(check, analysis, model, images):
    modules = dict(model.named_modules())
    tensors = {t["name"]: t for t in analysis["tensors"] if t["name"] in modules or t["name"] == "input"}
    low, high = calibrate(model, images, tensors)
    grid = {name: affine(low[name].min().item(), high[name].max().item()) for name in tensors}
    counts = count_codes(model, images, tensors, grid)
    for name, tensor in tensors.items():
        scale, zero = grid[name]
        extent = scale * 255.0
        check.number("tensor scale", name, tensor["scale"], scale)
        check.equal("tensor zero point", name, tensor["zero_point"], zero)
        check.number("tensor low", name, tensor["low"], low[name].min().item(), extent)
        check.number("tensor high", name, tensor["high"], high[name].max().item(), extent)
        for key, values in [("channel_min", low[name]), ("channel_max", high[name])]:
            for c, value in enumerate(values.tolist() if key in tensor else []):
                check.number(f"tensor {key}", f"{name} channel {c}", tensor[key][c], value, extent)
        check.number("low channel's minimum", name, low[name][tensor["low_channel"]].item(), low[name].min().item(),
                     extent)
        check.number("high channel's maximum", name, high[name][tensor["high_channel"]].item(),
                     high[name].max().item(), extent)
        others = [c for c in range(len(low[name])) if c not in (tensor["low_channel"], tensor["high_channel"])]
        if others:
            check.number("others' minimum", name, tensor["others_min"], low[name][others].min().item(), extent)
            check.number("others' maximum", name, tensor["others_max"], high[name][others].max().item(), extent)
        total = counts[name].sum()
        check.equal("values", name, tensor["values"], int(total))
        check.equal("histogram's sum", name, sum(tensor["histogram"]), int(total))
        for key, code in [("low_pct", 0), ("high_pct", 255), ("zero_pct", zero + 128)]:
            check.number(f"tensor {key}", name, tensor[key], 100.0 * counts[name][code] / total, 100.0)
        # one value on the border of a code that nothing else has may fall on either side
        check.number("used codes", name, tensor["used_codes"], int((counts[name] > 0).sum()), 2.0 / DIGITS)
    return grid


def fold(model):
    """BatchNorm into the convolution before it, in double; then weights per tensor, symmetric."""
    modules = dict(model.named_modules())
    leaf = None
    for name, module in list(modules.items()):
        if isinstance(module, nn.Conv2d):
            leaf = module
        if not isinstance(module, nn.BatchNorm2d):
            continue
        gain = module.weight.double() / torch.sqrt(module.running_var.double() + module.eps)
        bias = module.bias.double() - module.running_mean.double() * gain
        leaf.weight.data = (leaf.weight.double() * gain.reshape(-1, 1, 1, 1)).float()
        leaf.bias = nn.Parameter(bias.float())
        parent, _, child = name.rpartition(".")
        setattr(modules[parent] if parent else model, child, nn.Identity())
    return model


def quantize_weight(module):
    scale = numpy.float32(module.weight.abs().max().item() / 127.0)
    module.weight.data = torch.clamp(torch.round(module.weight / scale), -127, 127) * scale


def score(model, images, labels, reference):
    with torch.no_grad():
        logits = torch.cat([model(image[None]) for image in images]).double()
    p = torch.log_softmax(reference, 1)
    q = torch.log_softmax(logits, 1)
    return {"accuracy": 100.0 * (logits.argmax(1) == labels).double().mean().item(),
            "kl": (p.exp() * (p - q)).sum(1).mean().item(), "mse": (logits - reference).pow(2).mean().item(),
            "agree_pct": 100.0 * (logits.argmax(1) == reference.argmax(1)).double().mean().item()}


class Rounded(nn.Module):
    """A module whose output is quantized and dequantized."""

    def __init__(self, inner, grid):
        super().__init__()
        self.inner, self.grid = inner, grid

    def forward(self, x):
        return rounded(self.inner(x), *self.grid)


class RoundedSiLU(nn.Module):
    """SiLU with the tensors of docs/quantization.md, section 2: its input, the sigmoid, the product."""

    def __init__(self, grids):
        super().__init__()
        self.grids = grids

    def forward(self, x):
        x = rounded(x, *self.grids[0])
        return rounded(x * rounded(torch.sigmoid(x), *self.grids[1]), *self.grids[2])


def quantize_stem(model, name, tensors):
    grid = {t: (tensors[t]["scale"], tensors[t]["zero_point"]) for t in tensors}
    if name == "resnet18":
        quantize_weight(model.conv1)
        model.maxpool = nn.Sequential(Rounded(nn.Identity(), grid["relu"]), model.maxpool)
        return "conv1"
    quantize_weight(model.features[0][0])
    model.features[0][2] = RoundedSiLU([grid["features.0.1"], grid["features.0.2.sigmoid"], grid["features.0.2"]])
    return "features.0.0"


def check_sensitivity(check, args, folder, analysis, images, labels):
    path = os.path.join(folder, "sensitivity.json")
    subprocess.run([args.program, "sensitivity", args.checkpoint, "--data", args.data, "--quiet", "--json", path,
                    "--calibration-images", str(args.calibration), "--images", str(args.images)], check=True,
                   stdout=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    tensors = {t["name"]: t for t in analysis["tensors"]}
    model = fold(load_network(args, folder, analysis))
    with torch.no_grad():
        reference = torch.cat([model(image[None]) for image in images]).double()
    own = score(model, images, labels, reference)
    check.number("float accuracy", "the network", found["float"]["accuracy"], own["accuracy"])

    def compare(name, ours, theirs, ties=0.0):
        for key in ("accuracy", "agree_pct"):
            check.number(f"{key}, {name}", "the network", ours[key], theirs[key])
        # Both are about squares of differences d of logits, which float32 sums give to some 1e-6: three digits, and
        # 2d · 1e-6 where the difference itself is that small.
        for key in ("kl", "mse"):
            allowed = (1e-3 + ties) * theirs[key] + 2e-6 * theirs[key] ** 0.5
            check.number(f"{key}, {name}", "the network", ours[key], theirs[key], allowed / DIGITS)

    layers = {layer["name"]: layer for layer in found["layers"]}
    image_grid = (tensors["input"]["scale"], tensors["input"]["zero_point"])
    compare("input quantized", layers["input"]["only"],
            score(model, [rounded(image, *image_grid) for image in images], labels, reference))
    stem = quantize_stem(model, analysis["model"], tensors)
    # Of a few hundred thousand values some lie so near to the border of two codes that float32 sums decide.
    compare("stem quantized", layers[stem]["only"], score(model, images, labels, reference), ties=0.03)
    model = fold(load_network(args, folder, analysis))
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            quantize_weight(module)
    weights = next(mode["score"] for mode in found["modes"] if mode["name"] == "weights")
    compare("weights quantized", weights, score(model, images, labels, reference))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", required=True)
    parser.add_argument("--program", default="build/gcc/quantdrift")
    parser.add_argument("--calibration", type=int, default=64, help="calibration images")
    parser.add_argument("--images", type=int, default=40, help="images that are scored")
    args = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "analysis.json")
        subprocess.run([args.program, "analyze", args.checkpoint, "--data", args.data, "--json", path,
                        "--calibration-images", str(args.calibration)], check=True, stdout=subprocess.DEVNULL)
        with open(path, encoding="utf-8") as file:
            analysis = json.load(file)
        transform = transforms.Compose(centre(analysis["image_size"]) + TO_FLOAT)
        train, val = (torchvision.datasets.ImageFolder(os.path.join(args.data, split), transform)
                      for split in ("train", "val"))
        torch.manual_seed(analysis["calibration_seed"])
        chosen = torch.randperm(len(train))[:args.calibration]
        model = load_network(args, folder, analysis)
        check = Comparison()
        outputs = run_once(model, val[0][0][None])
        check_modules(check, analysis, outputs)
        check_batchnorms(check, analysis, model, outputs)
        check_tensors(check, analysis, model, [train[int(i)][0] for i in chosen])
        # from the classes in turn
        order = sorted(range(len(val)), key=lambda i: (val.targets[:i].count(val.targets[i]), val.targets[i]))
        scored = [val[i] for i in order[:args.images]]
        check_sensitivity(check, args, folder, analysis, [image for image, _ in scored],
                          torch.tensor([label for _, label in scored]))
    for kind, count in check.counts.items():
        print(f"{kind:32} {count:6} compared, largest difference {check.worst[kind]:.2e}")
    for failure in check.failures[:20]:
        print(failure)
    print(f"{analysis['display_name']}: {sum(check.counts.values())} numbers, {len(check.failures)} differ")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
