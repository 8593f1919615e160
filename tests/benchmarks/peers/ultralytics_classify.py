"""`yolo classify train` as it comes, on torchvision's network. It knows nothing of Tuneyard.

Its defaults hold for everything but what must be equal for a comparison: model, data, sizes, optimizer, rate
and its course. Prints one JSON object: seconds of each epoch's training (validation left out), accuracy.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models


class Network(nn.Module):
    """torchvision's network as ultralytics' trainer calls its own."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.network = models.get_model(architecture, weights=None)
        self.yaml: dict[str, Any] = {}
        self.criterion = None

    def forward(self, images: Any, **_: Any) -> Any:
        return self.loss(images) if isinstance(images, dict) else self.network(images)

    def loss(self, batch: dict[str, Tensor], found: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        found = self.network(batch["img"]) if found is None else found
        loss = nn.functional.cross_entropy(found, batch["cls"])
        return loss, {"loss": loss.detach()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as ultralytics takes by itself")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    scratch = tempfile.mkdtemp(prefix="tuneyard-peer-")
    os.environ.update(
        YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=scratch
    )
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from ultralytics.utils import SETTINGS

    dict.update(SETTINGS, sync=False)
    # Fonts are looked for on the network where none lies here.
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (Path(scratch) / "Ultralytics" / "Arial.ttf").symlink_to(font)

    seconds: list[float] = []
    begun = 0.0

    def begin(_: Any) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)

    def begin_epoch(_: Any) -> None:
        nonlocal begun
        begun = time.perf_counter()

    def end_epoch(_: Any) -> None:
        seconds.append(time.perf_counter() - begun)

    trainer = ClassificationTrainer(
        overrides={
            "model": options.architecture,
            "pretrained": False,
            "data": str(options.data),
            "imgsz": options.image_size,
            "batch": options.batch_size,
            "nbs": options.batch_size,
            "epochs": options.epochs,
            "optimizer": "AdamW",
            "lr0": options.learning_rate,
            "lrf": 0.0,
            "cos_lr": True,
            "warmup_epochs": 0.05 * options.epochs,
            "seed": options.seed,
            "device": options.device,
            "project": scratch,
            "verbose": False,
        }
    )
    torch.manual_seed(options.seed)
    trainer.model = Network(options.architecture)
    trainer.add_callback("on_train_start", begin)
    trainer.add_callback("on_train_epoch_start", begin_epoch)
    trainer.add_callback("on_train_epoch_end", end_epoch)
    trainer.train()
    found = {"epoch_seconds": seconds, "accuracy": float(trainer.metrics["metrics/accuracy_top1"])}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
