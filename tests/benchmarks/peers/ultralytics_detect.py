"""`yolo detect train` as it comes, timed from its first step to its return. It knows nothing of Tuneyard.

Its defaults hold for everything but what must be equal for a comparison: model, data, sizes, optimizer, rate
and its course. Prints one JSON object: seconds, mAP50 of its best weights, peak anonymous memory.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any


def anonymous_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="yolov8n")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--close-mosaic", type=int, default=1)
    parser.add_argument("--warmup-share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as ultralytics takes by itself")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    scratch = tempfile.mkdtemp(prefix="tuneyard-peer-")
    os.environ.update(
        YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=scratch
    )
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    dict.update(SETTINGS, sync=False)
    # Fonts are looked for on the network where none lies here.
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (Path(scratch) / "Ultralytics" / "Arial.ttf").symlink_to(font)

    started, peak, over = 0.0, 0, threading.Event()

    def begin(_: Any) -> None:
        nonlocal started
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        started = time.perf_counter()

    def watch_memory() -> None:
        nonlocal peak
        while not over.wait(0.2):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch_memory, daemon=True)
    watcher.start()
    model = YOLO(f"{options.model}.yaml")
    model.add_callback("on_train_start", begin)
    metrics = model.train(
        data=str(options.data / "absolute.yaml"),
        imgsz=options.image_size,
        batch=options.batch_size,
        nbs=options.batch_size,
        epochs=options.epochs,
        optimizer="AdamW",
        lr0=options.learning_rate,
        lrf=0.0,
        cos_lr=True,
        warmup_epochs=options.warmup_share * options.epochs,
        warmup_bias_lr=0.0,
        momentum=0.9,
        close_mosaic=options.close_mosaic,
        seed=options.seed,
        device=options.device,
        project=scratch,
        verbose=False,
    )
    seconds = time.perf_counter() - started
    over.set()
    watcher.join()
    found = {"seconds": seconds, "map50": float(metrics.box.map50), "peak_bytes": peak}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
