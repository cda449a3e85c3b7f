#!/usr/bin/python3
"""torchvision's networks through quantdrift and back.

Random weights and trained-looking running statistics, saved by PyTorch, imported, compared (logits and every
activation statistic to 1e-4 of the largest), exported as .pth and safetensors and loaded with strict=True: equal bits.

Usage: scripts/check_pth_roundtrip.py [--program build/gcc/quantdrift] (needs python3-torch 1.13, torchvision 0.14)
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
import torchvision
from PIL import Image

SIZE = 64
LIMIT = 1e-4


def make_network(name, classes, torchvision_head):
    network = getattr(torchvision.models, name)(num_classes=classes)
    if name == "efficientnet_b0" and not torchvision_head:
        network.classifier = torch.nn.Linear(1280, classes)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 2.0)
                module.num_batches_tracked.fill_(1234)
    return network.eval()


def read_safetensors(path):
    with open(path, "rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        data = stream.read()
    header.pop("__metadata__", None)
    types = {"F32": torch.float32, "I64": torch.int64}
    return {name: torch.frombuffer(bytearray(data[slice(*entry["data_offsets"])]), dtype=types[entry["dtype"]])
            .reshape(entry["shape"]) for name, entry in header.items()}


def make_images(folder, count=4):
    paths = []
    generator = numpy.random.default_rng(1)
    for i in range(count):
        side = round(SIZE * 256 / 224)  # what validation resizes to: nothing is left to resample
        grid = generator.integers(0, 256, (side, side, 3), dtype=numpy.uint8)
        paths.append(os.path.join(folder, f"{i}.png"))
        Image.fromarray(grid).save(paths[-1])
    return paths


def load_images(paths):
    transforms = torchvision.transforms
    transform = transforms.Compose([transforms.Resize(round(SIZE * 256 / 224)), transforms.CenterCrop(SIZE),
                                    transforms.ToTensor(),
                                    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    return torch.stack([transform(Image.open(p).convert("RGB")) for p in paths])


def statistics(network, images):
    found = {}

    def keep(path):
        def hook(_module, _inputs, output):
            values = output.double()
            found[path] = {"min": values.min().item(), "max": values.max().item(), "mean": values.mean().item(),
                           "std": values.std().item()}
        return hook

    handles = [m.register_forward_hook(keep(path)) for path, m in network.named_modules()]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return found


def run(program, *arguments):
    subprocess.run([program, *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def check(program, folder, name, classes, torchvision_head, prefix):
    network = make_network(name, classes, torchvision_head)
    state = {prefix + k: v for k, v in network.state_dict().items()}
    source, checkpoint = os.path.join(folder, "in.pth"), os.path.join(folder, "in.safetensors")
    torch.save({"epoch": 3, "model_state_dict": state} if prefix else state, source)
    run(program, "import", source, "--model", name, "--image-size", str(SIZE), "-o", checkpoint)

    paths = make_images(folder)
    report = os.path.join(folder, "observed.json")
    run(program, "observe", checkpoint, *paths, "--json", report)
    with open(report, encoding="utf-8") as stream:
        ours = json.load(stream)
    ours = ours.get("modules", ours)
    theirs = statistics(network, load_images(paths))
    worst = 0.0
    for path in [p for p in theirs if p.startswith("classifier.")]:
        del theirs[path]  # of torchvision's Sequential: what it returns is its Linear's, ours is that Linear
    for path, expected in theirs.items():
        found = ours[path]
        scale = max(abs(expected["min"]), abs(expected["max"]), 1e-30)
        worst = max([worst] + [abs(found[k] - expected[k]) / scale for k in expected])
    compared = len(theirs)

    head = ["--torchvision-head"] if torchvision_head else []
    for kind, load in (("pth", torch.load), ("safetensors", read_safetensors)):
        out = os.path.join(folder, "out." + kind)
        run(program, "export", checkpoint, "--format", kind, *head, "-o", out)
        exported = load(out)
        make_network(name, classes, torchvision_head).load_state_dict(exported, strict=True)
        for key, value in network.state_dict().items():
            assert exported[key].dtype == value.dtype and torch.equal(exported[key], value), f"{kind}: {key} differs"
    print(f"{name}, {classes} classes, head {'torchvision' if torchvision_head else 'one Linear'}, prefix '{prefix}': "
          f"{compared} modules within {worst:.1e} of their largest value; exports equal bit for bit")
    return worst <= LIMIT


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/gcc/quantdrift")
    program = os.path.abspath(parser.parse_args().program)
    torch.manual_seed(7)
    good = True
    for case in (("resnet18", 1000, False, ""), ("resnet18", 10, False, "module."),
                 ("efficientnet_b0", 1000, True, ""), ("efficientnet_b0", 10, False, "module.")):
        with tempfile.TemporaryDirectory() as folder:
            good = check(program, folder, *case) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
