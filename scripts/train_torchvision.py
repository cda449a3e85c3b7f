#!/usr/bin/python3
"""Trains one of torchvision's own networks with PyTorch alone and leaves its state_dict: weights from elsewhere, for
`quantdrift import`. The plain script: RandomResizedCrop, flip, SGD with momentum, cosine annealing.

    scripts/train_torchvision.py resnet18 --data data/imagewoof2-320 --size 64 --epochs 4 -o resnet18.pth
"""
import argparse
import time

import torch
import torchvision
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def loader(folder, size, training, batch):
    """Batches of torchvision's transforms; the validation image is cut from one 256/224 times as large."""
    steps = ([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()] if training
             else [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size)])
    steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = torchvision.datasets.ImageFolder(folder, transforms.Compose(steps))
    return torch.utils.data.DataLoader(images, batch_size=batch, shuffle=training, num_workers=1)


def accuracy(model, batches):
    model.eval()
    correct = count = 0
    with torch.no_grad():
        for images, labels in batches:
            correct += (model(images).argmax(1) == labels).sum().item()
            count += len(labels)
    return 100.0 * correct / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["resnet18", "efficientnet_b0"])
    parser.add_argument("--data", required=True, help="folder with train/ and val/")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()

    torch.manual_seed(42)
    training = loader(f"{options.data}/train", options.size, True, options.batch)
    validation = loader(f"{options.data}/val", options.size, False, options.batch)
    model = getattr(torchvision.models, options.model)(num_classes=len(training.dataset.classes))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    for epoch in range(options.epochs):
        began = time.time()
        model.train()
        for images, labels in training:
            if len(labels) == 1:  # BatchNorm has no variance of one value
                continue
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images.to(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
        schedule.step()
        print(f"{options.model} epoch {epoch + 1}/{options.epochs}: {accuracy(model, validation):.2f} % of "
              f"{len(validation.dataset)}, {time.time() - began:.0f} s", flush=True)
        torch.save(model.to(memory_format=torch.contiguous_format).state_dict(), options.output)
        model = model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
