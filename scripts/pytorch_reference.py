"""The plain PyTorch script of the experiment, in pieces: what the comparisons and the fixture makers share.

Everything is as one would write it with torchvision: ImageFolder, DataLoader(num_workers=0), torchvision's models with
a new head, forward hooks. Needs Debian's python3-torch and python3-torchvision, and /usr/bin/python3.
"""
import json
import struct
import sys

try:
    import numpy
    import torch
    from torch import nn
    import torchvision
    from torchvision import transforms
except ImportError:
    sys.exit("this script needs Debian's python3-torch and python3-torchvision, and /usr/bin/python3")

MODELS = ["resnet18", "efficientnet_b0"]
NORMALISE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def build(name, classes):
    """A model with a new head, drawn from torch's generator."""
    model = getattr(torchvision.models, name)(weights=None)
    if name == "resnet18":
        model.fc = nn.Linear(model.fc.in_features, classes)
    else:
        model.classifier = nn.Linear(model.classifier[1].in_features, classes)
    return model


def crop_and_flip(size):
    """Training augmentation up to the bytes."""
    return [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]


def centre(size):
    """Validation transform up to the bytes."""
    return [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)]


TO_FLOAT = [transforms.ToTensor(), NORMALISE]


def statistics(tensor):
    v = tensor.detach()
    low, high = v.min().item(), v.max().item()
    return {"shape": list(v.shape), "min": low, "max": high, "mean": v.mean().item(), "std": v.std().item(),
            "range": high - low, "zeros_pct": 100.0 * (v == 0).sum().item() / v.numel()}


def hook_modules(model, log):
    """Fills `log` as a dictionary of forward hooks fills up; returns the handles."""
    def hook_of(path, class_name):
        def hook(_module, _inputs, output):
            log[path] = {**statistics(output), "layer_type": class_name}
        return hook

    return [module.register_forward_hook(hook_of(path, type(module).__name__))
            for path, module in model.named_modules()]


def observe(model, images):
    """What every called module puts out in eval mode, the model itself (path "") included."""
    log = {}
    handles = hook_modules(model, log)
    model.eval()
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return log


# ---- the study of freshly constructed blocks ----

class PlainBlocks(nn.Sequential):
    def __init__(self):
        super().__init__()
        for b, inputs in ((1, 3), (2, 64)):
            self.add_module(f"conv1_b{b}", nn.Conv2d(inputs, 64, 3, padding=1, bias=False))
            self.add_module(f"bn1_b{b}", nn.BatchNorm2d(64))
            self.add_module(f"relu1_b{b}", nn.ReLU())
            self.add_module(f"conv2_b{b}", nn.Conv2d(64, 64, 3, padding=1, bias=False))
            self.add_module(f"bn2_b{b}", nn.BatchNorm2d(64))


class MBConvBlocks(nn.Module):
    def __init__(self):
        super().__init__()
        for b, (inputs, wide, squeezed) in ((1, (16, 96, 4)), (2, (24, 144, 6))):
            self.add_module(f"conv1_expand_b{b}", nn.Conv2d(inputs, wide, 1, bias=False))
            self.add_module(f"bn1_expand_b{b}", nn.BatchNorm2d(wide))
            self.add_module(f"silu1_expand_b{b}", nn.SiLU())
            self.add_module(f"conv2_dw_b{b}", nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False))
            self.add_module(f"bn2_dw_b{b}", nn.BatchNorm2d(wide))
            self.add_module(f"silu2_dw_b{b}", nn.SiLU())
            self.add_module(f"avg_pool_b{b}", nn.AdaptiveAvgPool2d(1))
            self.add_module(f"conv3_se_b{b}", nn.Conv2d(wide, squeezed, 1))
            self.add_module(f"silu3_se_b{b}", nn.SiLU())
            self.add_module(f"conv4_se_b{b}", nn.Conv2d(squeezed, wide, 1))
            self.add_module(f"sigmoid_b{b}", nn.Sigmoid())
            self.add_module(f"conv5_proj_b{b}", nn.Conv2d(wide, 24, 1, bias=False))
            self.add_module(f"bn3_proj_b{b}", nn.BatchNorm2d(24))

    def forward(self, x):
        for b in (1, 2):
            m = {path[:-3]: module for path, module in self._modules.items() if path.endswith(f"_b{b}")}
            x = m["silu1_expand"](m["bn1_expand"](m["conv1_expand"](x)))
            x = m["silu2_dw"](m["bn2_dw"](m["conv2_dw"](x)))
            gate = m["silu3_se"](m["conv3_se"](m["avg_pool"](x)))
            x = x * m["sigmoid"](m["conv4_se"](gate))
            x = m["bn3_proj"](m["conv5_proj"](x))
        return x


def init_study(seed):
    """As `quantdrift init-study --json` writes it."""
    study = {}
    for name, stack, channels in (("resnet18_block", PlainBlocks, 3), ("efficientnetb0_block", MBConvBlocks, 16)):
        torch.manual_seed(seed)
        image = torch.rand(1, channels, 224, 224)
        model = stack()
        log = {}
        hook_modules(model, log)
        with torch.no_grad():
            model(image)
        del log[""]
        study[name] = log
    return study


# ---- the generator ----

def generator_text(state):
    """PyTorch's generator state as quantdrift's checkpoints spell it. Layout of the bytes: a legacy engine's seed,
    left, seeded, next and 624 state words of 64 bits each, then what small normal draws have cached."""
    words = state.numpy().view("uint64")
    left, upcoming, mt = int(words[1]) & 0xFFFFFFFF, int(words[2]), words[3:627]
    assert len(mt) == 624 and 1 <= left <= 624
    upcoming = 624 if left == 1 else upcoming
    return f"mt19937:{upcoming:03d}:0:{0:016x}:" + "".join(f"{int(word):08x}" for word in mt)


# ---- files ----

DTYPES = {"F32": numpy.float32, "F64": numpy.float64, "I8": numpy.int8, "U8": numpy.uint8, "I32": numpy.int32,
          "I64": numpy.int64}


def read_safetensors(path):
    """(tensors by name as numpy arrays, metadata)"""
    with open(path, "rb") as file:
        header_bytes = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(header_bytes))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def write_safetensors(path, tensors, metadata):
    names = {numpy.dtype(dtype): name for name, dtype in DTYPES.items()}
    header, at, parts = {"__metadata__": metadata}, 0, []
    for name, array in tensors.items():
        data = numpy.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
