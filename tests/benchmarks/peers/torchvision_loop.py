"""A plain torchvision training: ImageFolder, DataLoader with two workers, fp32. It knows nothing of Tuneyard.

Each line of its input is a seed, and a training of its own. Prints one JSON object for each: seconds of each
epoch's training (evaluation left out) and accuracy after each epoch.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

Loader = DataLoader[tuple[Tensor, Tensor]]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def loaders(options: argparse.Namespace) -> tuple[Loader, Loader]:
    """Training images cropped and flipped at random, validation images from their middle."""
    size = options.image_size
    normalize = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    varied = [transforms.RandomResizedCrop(size, scale=(0.5, 1.0)), transforms.RandomHorizontalFlip()]
    plain = [transforms.Resize(size * 8 // 7), transforms.CenterCrop(size)]
    train, validation = (
        datasets.ImageFolder(str(options.data / split), transforms.Compose([*changes, *normalize]))
        for split, changes in (("train", varied), ("val", plain))
    )
    workers = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    return (
        DataLoader(train, batch_size=options.batch_size, shuffle=True, **workers),
        DataLoader(validation, batch_size=2 * options.batch_size, num_workers=0),
    )


@torch.no_grad()
def accuracy(model: nn.Module, loader: Loader, device: str) -> float:
    model.eval()
    right = samples = 0
    for images, labels in loader:
        right += int((model(images.to(device)).argmax(1).cpu() == labels).sum())
        samples += len(labels)
    model.train()
    return right / samples


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for line in sys.stdin:
        print(json.dumps(trained(options, seed=int(line))), flush=True)


def trained(options: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    train, validation = loaders(options)
    classes = sum(1 for _ in (options.data / "train").iterdir())
    model = models.get_model(options.architecture, weights=None, num_classes=classes)
    model = model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.05)
    total = options.epochs * len(train)
    warmup = max(1, round(0.05 * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            (step + 1) / warmup
            if step < warmup
            else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        ),
    )

    seconds: list[float] = []
    accuracies: list[float] = []
    samples = 0
    for _ in range(options.epochs):
        started = time.perf_counter()
        samples = 0
        for images, labels in train:
            loss = functional.cross_entropy(model(images.to(options.device)), labels.to(options.device))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            samples += len(labels)
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        accuracies.append(accuracy(model, validation, options.device))
    return {"epoch_seconds": seconds, "accuracies": accuracies, "samples": samples}


if __name__ == "__main__":
    main()
