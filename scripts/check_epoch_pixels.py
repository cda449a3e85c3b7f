#!/usr/bin/python3
"""A whole shuffled, augmented training epoch, byte by byte: `quantdrift batch` against torchvision on the same folder.

PyTorch's side iterates over its DataLoader (num_workers=0, shuffle=True) and draws between two batches what the model's
forward pass draws there. quantdrift writes a few batches at a time, so that memory stays small; each call finds its
place in the epoch by replaying what came before.

Exit status 0 when order, labels, file names and bytes are equal and every normalised float is within one unit in the
last place.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy

from pytorch_reference import (MODELS, TO_FLOAT, build, crop_and_flip, read_safetensors, torch, torchvision, transforms)


class Recorder(torch.utils.data.Dataset):
    """An ImageFolder whose items are index, label, bytes and floats."""

    def __init__(self, folder, size):
        self.inner = torchvision.datasets.ImageFolder(folder, transforms.Compose(crop_and_flip(size)))
        self.to_float = transforms.Compose(TO_FLOAT)

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        image, label = self.inner[index]
        pixels = numpy.asarray(image).transpose(2, 0, 1)
        return index, label, torch.from_numpy(pixels.copy()), self.to_float(image)


def forward_draws(model):
    """A function that draws what one training forward pass of n images draws."""
    residual = [block.stochastic_depth for block in model.modules() if getattr(block, "use_res_connect", False)]

    def draw(n):
        for layer in residual:
            layer.train()(torch.zeros(n, 1, 1, 1))
    return draw


def ulps(a, b):
    """Distance of float32 values in units in the last place."""
    def ordered(values):
        bits = values.view(numpy.int32).astype(numpy.int64)
        return numpy.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return numpy.abs(ordered(a) - ordered(b))


class OurBatches:
    """quantdrift's batches in order, a few at a time."""

    def __init__(self, args, name, folder):
        self.args, self.name, self.path = args, name, os.path.join(folder, "batches.safetensors")
        self.first, self.files, self.tensors = None, [], {}

    def get(self, ordinal):
        if self.first is None or ordinal >= self.first + self.args.at_a_time:
            self.first = ordinal
            subprocess.run([self.args.quantdrift, "batch", "--data", self.args.data, "--model", self.name,
                            "--seed", str(self.args.seed), "--batch", str(self.args.batch),
                            "--size", str(self.args.size), "--first", str(ordinal),
                            "--count", str(self.args.at_a_time), "-o", self.path, "--quiet"], check=True)
            self.tensors, metadata = read_safetensors(self.path)
            self.files = json.loads(metadata["files"])
        if f"batch_{ordinal}.indices" not in self.tensors:
            return None
        parts = [self.tensors[f"batch_{ordinal}.{part}"] for part in ("indices", "labels", "bytes", "images")]
        return [self.files[ordinal - self.first], *parts]


def check(args, name, folder):
    """True when the epoch is the same."""
    torch.manual_seed(args.seed)
    torch.empty((), dtype=torch.int64).random_()  # next(iter(val_loader)) for the fixed batch
    recorder = Recorder(os.path.join(args.data, "train"), args.size)
    draw = forward_draws(build(name, len(recorder.inner.classes)))
    torch.empty((), dtype=torch.int64).random_()  # validation at epoch 0
    loader = torch.utils.data.DataLoader(recorder, batch_size=args.batch, shuffle=True, num_workers=0)
    ours = OurBatches(args, name, folder)
    images = other_items = other_bytes = other_floats = worst = 0
    began = time.time()
    for ordinal, (indices, labels, pixels, floats) in enumerate(loader):
        draw(len(labels))
        if ordinal == args.batches:
            break
        found = ours.get(ordinal)
        if found is None or len(found[0]) != len(indices) or found[1].shape != tuple(indices.shape):
            print(f"{name}: batch {ordinal} has another size")
            return False
        images += len(labels)
        files = [os.path.relpath(recorder.inner.samples[index][0], recorder.inner.root) for index in indices]
        other_items += sum(found_file != file for found_file, file in zip(found[0], files))
        other_items += int((found[1] != indices.numpy()).sum() + (found[2] != labels.numpy()).sum())
        other_bytes += int((found[3] != pixels.numpy()).sum())
        distance = ulps(found[4], floats.numpy())
        other_floats += int((distance > 0).sum())
        worst = max(worst, int(distance.max()))
    values = images * args.size * args.size * 3
    print(f"{name}: seed {args.seed}, batch {args.batch}, {args.size} px: {images} images, {other_items} in another "
          f"place, {other_bytes} of {values} bytes differ, {other_floats} floats differ, by at most {worst} ulp "
          f"({time.time() - began:.0f} s)", flush=True)
    return other_items == 0 and other_bytes == 0 and worst <= 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train/")
    parser.add_argument("--model", nargs="+", default=MODELS, choices=MODELS, help="each from the seed; default both")
    parser.add_argument("--seed", type=int, default=42, help="default 42")
    parser.add_argument("--batch", type=int, default=64, help="default 64")
    parser.add_argument("--size", type=int, default=224, help="default 224")
    parser.add_argument("--batches", type=int, default=-1, help="stop after so many (default: the whole epoch)")
    parser.add_argument("--at-a-time", type=int, default=8, help="batches a call of quantdrift (default 8)")
    parser.add_argument("--quantdrift", default="build/gcc/quantdrift", help="the program to check")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = [check(args, name, folder) for name in args.model]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
