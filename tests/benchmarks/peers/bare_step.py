"""The limit of a training: the same steps on batches that lie ready in memory, and nothing else.

Each line of its input is a precision as a JSON string. Prints the images per second for each.
"""

import argparse
import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

BATCHES, WARMUP_STEPS = 8, 3


def arithmetic(precision: str, device: str) -> AbstractContextManager[object]:
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[precision])


def images_per_second(
    model: nn.Module, batches: list[tuple[Tensor, Tensor]], precision: str, steps: int
) -> float:
    device = batches[0][0].device.type
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    started, samples = 0.0, 0
    for step in range(WARMUP_STEPS + steps):
        if step == WARMUP_STEPS:
            if device == "cuda":
                torch.cuda.synchronize()
            started, samples = time.perf_counter(), 0
        images, labels = batches[step % len(batches)]
        with arithmetic(precision, device):
            logits = model(images)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        samples += len(labels)
    if device == "cuda":
        torch.cuda.synchronize()
    return samples / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    size = (options.batch_size, 3, options.image_size, options.image_size)
    batches = [
        (
            torch.randn(size).to(options.device, memory_format=torch.channels_last),
            torch.randint(options.classes, (options.batch_size,), device=options.device),
        )
        for _ in range(BATCHES)
    ]
    for line in sys.stdin:
        model = models.get_model(options.architecture, weights=None, num_classes=options.classes)
        model = model.to(options.device, memory_format=torch.channels_last).train()
        print(images_per_second(model, batches, json.loads(line), options.steps), flush=True)


if __name__ == "__main__":
    main()
