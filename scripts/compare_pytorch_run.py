#!/usr/bin/python3
"""Run the plain PyTorch script for a few steps beside quantdrift, on the same folder and seed, and compare.

The PyTorch half is the experiment as one would write it with torchvision. It runs as it stands on two threads, then
channels_last, then on one thread: how far these three lie apart is PyTorch's own spread. Three things are compared:

- the loss of every step: the first within 1e-5, the second within 1e-3, the others within three times the largest
  spread that PyTorch has shown up to that step (errors grow from step to step, but the spread of a single step can be
  small by luck);
- one step from PyTorch's own state (weights, momentum, generator) after chosen steps, as if the epoch had ended there:
  its loss within 1e-5. quantdrift resumes from a checkpoint written with that state;
- the epoch-0 log of every called module: min, max, mean, std and range within 1e-4 relative or 1e-5 absolute.

Training images are those of --data; of the validation images only as many are used as the fixed batch needs. Exit
status 0 when all bounds hold.
"""
import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile

from pytorch_reference import (MODELS, TO_FLOAT, build, centre, crop_and_flip, generator_text, observe,
                               read_safetensors, torch, torchvision, transforms, write_safetensors)

FIRST_BOUND, SECOND_BOUND, RESUMED_BOUND = 1e-5, 1e-3, 1e-5
LOG_RELATIVE, LOG_ABSOLUTE = 1e-4, 1e-5
LOG_KEYS = ("min", "max", "mean", "std", "range")


def shorten(data, folder, batch):
    """A data folder of links: the training images, and of the validation images the first batch and one of each
    class behind it, so that validation takes no minutes."""
    short = os.path.join(folder, "data")
    os.makedirs(short)
    os.symlink(os.path.realpath(os.path.join(data, "train")), os.path.join(short, "train"))
    val = torchvision.datasets.ImageFolder(os.path.join(data, "val"))
    seen = set()
    for index, (path, label) in enumerate(val.samples):
        if index >= batch and label in seen:
            continue
        seen.add(label)
        link = os.path.join(short, "val", os.path.relpath(path, val.root))
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.realpath(path), link)
    return short


# ---- PyTorch ----

class Training:
    """The plain script, one model after the other."""

    def __init__(self, args, data, channels_last=False, threads=2):
        torch.set_num_threads(threads)
        torch.manual_seed(args.seed)
        self.args, self.channels_last = args, channels_last
        self.train = torchvision.datasets.ImageFolder(
            os.path.join(data, "train"), transforms.Compose(crop_and_flip(args.size) + TO_FLOAT))
        val = torchvision.datasets.ImageFolder(
            os.path.join(data, "val"), transforms.Compose(centre(args.size) + TO_FLOAT))
        self.train_loader = torch.utils.data.DataLoader(self.train, batch_size=args.batch, shuffle=True, num_workers=0)
        self.val_loader = torch.utils.data.DataLoader(val, batch_size=args.batch, shuffle=False, num_workers=0)
        self.fixed, _ = next(iter(self.val_loader))

    def loss_of(self, model, images, labels):
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return torch.nn.functional.cross_entropy(model(images), labels)

    def run(self, name, keep_states=False):
        """Losses of the steps, the epoch-0 log, and the states after --resume-after with the loss of one step more."""
        model = build(name, len(self.train.classes))
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        # A validation pass draws its iterator's base seed and nothing else: its pixels are not needed here.
        iter(self.val_loader)
        log = observe(model, self.fixed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        losses, states = [], {}
        model.train()
        while len(losses) < self.args.steps:
            for images, labels in self.train_loader:
                optimizer.zero_grad()
                loss = self.loss_of(model, images, labels)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if keep_states and len(losses) in self.args.resume_after:
                    states[len(losses)] = self.state_of(model, optimizer)
                if len(losses) == self.args.steps:
                    break
        iter(self.val_loader)  # the validation pass after the last step, before the next model is built
        for state in states.values():
            state["loss"] = self.resumed_loss(model, state)
        return {"losses": losses, "log": log, "states": states}

    def state_of(self, model, optimizer):
        tensors = {key: value.clone() for key, value in model.state_dict().items()}
        momentum = {key: optimizer.state[parameter]["momentum_buffer"].clone()
                    for key, parameter in model.named_parameters()}
        return {"tensors": tensors, "momentum": momentum, "generator": torch.get_rng_state()}

    def resumed_loss(self, model, state):
        """The first loss of an epoch that begins in this state; the generator is left as it was."""
        generator = torch.get_rng_state()
        model = copy.deepcopy(model)
        model.load_state_dict(state["tensors"])
        torch.set_rng_state(state["generator"])
        images, labels = next(iter(self.train_loader))
        with torch.no_grad():
            loss = self.loss_of(model.train(), images, labels).item()
        torch.set_rng_state(generator)
        return loss


# ---- quantdrift ----

def quantdrift(args, data, out, step_log, resume=False):
    settings = {"seed": args.seed, "batch_size": args.batch, "image_size": args.size, "max_steps": args.steps,
                "log_all": True, "models": args.model, "quantization.enabled": False}
    command = [args.quantdrift, "run", "experiments/imagewoof_divergence.json", "--data", data, "--out", out,
               "--step-log", step_log, "--quiet"] + (["--resume"] if resume else [])
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read_run(args, out, step_log):
    """By model: losses and epoch-0 log."""
    with open(step_log, encoding="utf-8") as lines:
        steps = [json.loads(line) for line in lines]
    result = {}
    for name in args.model:
        with open(os.path.join(out, f"{name}_results.json"), encoding="utf-8") as file:
            results = json.load(file)
        losses = [step["loss"] for step in steps if step["model"] == results["model_name"]]
        result[name] = {"losses": losses, "log": results["activation_logs"]["epoch_0"]}
    return result


def resumed_loss(args, data, out, folder, name, state):
    """Loss of the one step that quantdrift takes from PyTorch's state. The folder is that of the run itself, in which
    the last checkpoint becomes one at the end of epoch 0, a single step before the last, holding the given state."""
    resumed = os.path.join(folder, "resumed")
    shutil.rmtree(resumed, ignore_errors=True)
    shutil.copytree(out, resumed)
    checkpoints = os.path.join(resumed, "checkpoints")
    _, metadata = read_safetensors(os.path.join(checkpoints, f"{name}_epoch_0.safetensors"))
    metadata.pop("sha256", None)
    metadata.update(step=str(args.steps - 1), rng=generator_text(state["generator"]))
    tensors = {key: value.numpy() for key, value in state["tensors"].items()}
    tensors.update({f"momentum.{key}": value.numpy() for key, value in state["momentum"].items()})
    write_safetensors(os.path.join(checkpoints, f"{name}_last.safetensors"), tensors, metadata)
    step_log = os.path.join(folder, "resumed.jsonl")
    if os.path.exists(step_log):
        os.remove(step_log)
    quantdrift(args, data, resumed, step_log, resume=True)
    with open(step_log, encoding="utf-8") as lines:
        steps = [json.loads(line) for line in lines]
    assert len(steps) == 1, f"expected one step, got {len(steps)}"
    return steps[0]["loss"]


# ---- comparing ----

def progress(text):
    print(text, file=sys.stderr, flush=True)


def compare_logs(ours, theirs):
    """(share of the bound, where) of the worst figure: at most 1 passes."""
    if list(ours) != list(theirs):
        return float("inf"), "order of modules"
    worst, where = 0.0, "nowhere"
    for path, expected in theirs.items():
        found = ours[path]
        if found["shape"] != expected["shape"] or found["layer_type"] != expected["layer_type"]:
            return float("inf"), f"'{path}': shape or type"
        for key in LOG_KEYS:
            share = abs(found[key] - expected[key]) / max(LOG_ABSOLUTE, LOG_RELATIVE * abs(expected[key]))
            if not share <= worst:
                worst, where = share, f"'{path}' {key}: {found[key]!r} against {expected[key]!r}"
    return worst, where


def compare_losses(name, ours, reference, variants):
    """Prints the table; True when all bounds hold."""
    print(f"{'step':>4} {'PyTorch':>11} {'quantdrift':>11} {'difference':>11} {'own spread':>11} {'bound':>9}")
    ok, largest = True, 0.0
    for step, loss in enumerate(reference[name]["losses"]):
        same_step = [run[name]["losses"][step] for run in [reference, *variants.values()]]
        spread = max(same_step) - min(same_step)
        largest = max(largest, spread)
        bound = FIRST_BOUND if step == 0 else SECOND_BOUND if step == 1 else 3 * largest
        difference = abs(ours[name]["losses"][step] - loss)
        ok = ok and difference <= bound
        print(f"{step + 1:4d} {loss:11.7f} {ours[name]['losses'][step]:11.7f} {difference:11.2e} {spread:11.2e} "
              f"{bound:9.1e}{'' if difference <= bound else '  FAILED'}", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train/ and val/")
    parser.add_argument("--model", nargs="+", default=MODELS, choices=MODELS, help="default: both, in this order")
    parser.add_argument("--steps", type=int, default=10, help="default 10")
    parser.add_argument("--batch", type=int, default=64, help="default 64")
    parser.add_argument("--size", type=int, default=224, help="default 224")
    parser.add_argument("--seed", type=int, default=42, help="default 42")
    parser.add_argument("--resume-after", nargs="*", type=int, default=[1, 4, 9], metavar="STEP",
                        help="steps after which one step is taken from PyTorch's state (default 1 4 9)")
    parser.add_argument("--quantdrift", default="build/gcc/quantdrift", help="the program to compare")
    parser.add_argument("--json", help="write all figures to this file")
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps: two at least")
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        data = shorten(args.data, folder, args.batch)
        out, step_log = os.path.join(folder, "out"), os.path.join(folder, "steps.jsonl")
        progress(f"quantdrift: {', '.join(args.model)}, {args.steps} steps each")
        quantdrift(args, data, out, step_log)
        ours = read_run(args, out, step_log)
        progress("PyTorch: two threads")
        reference_run = Training(args, data)
        reference = {name: reference_run.run(name, keep_states=True) for name in args.model}
        variants = {}
        for title, options in (("channels_last", {"channels_last": True}), ("one thread", {"threads": 1})):
            progress(f"PyTorch: {title}")
            training = Training(args, data, **options)
            variants[title] = {name: training.run(name) for name in args.model}
        for name in args.model:
            print(f"\n{name}: seed {args.seed}, batch {args.batch}, {args.size} px, PyTorch {torch.__version__}, "
                  f"torchvision {torchvision.__version__}")
            ok = compare_losses(name, ours, reference, variants) and ok
            for step, state in reference[name]["states"].items():
                found = resumed_loss(args, data, out, folder, name, state)
                held = abs(found - state["loss"]) <= RESUMED_BOUND
                ok = ok and held
                print(f"one step from PyTorch's state after step {step}: {state['loss']:.7f} against {found:.7f}, "
                      f"difference {abs(found - state['loss']):.2e}{'' if held else '  FAILED'}")
            share, where = compare_logs(ours[name]["log"], reference[name]["log"])
            ok = ok and share <= 1
            print(f"epoch-0 log of {len(reference[name]['log'])} modules: worst at {share:.4f} of its bound ({where})"
                  f"{'' if share <= 1 else '  FAILED'}", flush=True)
    if args.json:
        for run in [reference, *variants.values()]:
            for name in args.model:
                run[name]["resumed_losses"] = {step: state["loss"] for step, state in run[name].pop("states").items()}
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"quantdrift": ours, "pytorch": reference, "pytorch_variants": variants}, file, indent=2)
            file.write("\n")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
