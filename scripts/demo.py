"""`make demo`: trains an image classifier on real scans through the whole system; keeps it in demo-output/.

It starts `tuneyard up` on free ports and a data folder of its own, speaks to it through the SDK and the
command line as any user would, and stops it again. Exit code 0 means that the accuracy was reached.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tuneyard.client import Client, TrainingSpec, Transfer, TuneyardError
from tuneyard.v1.training_pb2 import Hyperparameters, ImageAugmentation, ImageClassifier

ROOT = Path(__file__).resolve().parent.parent
WANTED_ACCURACY = 0.97
UP_SECONDS = 120.0

# A small network, from scratch, on small pictures: nothing is downloaded, and two cores need about a minute.
ARCHITECTURE = "resnet18"
CLASSIFIER = ImageClassifier(
    pretrained=False,
    image_size=32,
    # A mirrored 2 is no 2.
    augmentation=ImageAugmentation(horizontal_flip=0.0, crop_min_scale=0.8),
)
HYPERPARAMETERS = Hyperparameters(epochs=4, batch_size=32, learning_rate=1e-3, weight_decay=0.01)


def main() -> int:
    """Runs the demo and returns its exit code."""
    arguments = _arguments()
    # In step with what `tuneyard watch` writes, also into a file.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # A demo that is asked to end still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tuneyard-demo-") as folder:
        work = Path(folder)
        try:
            accuracy = _run(work, arguments.output)
        except (TuneyardError, DemoFailed) as error:
            print(f"\nThe demo failed: {error}", file=sys.stderr)
            _show_log(work / "up.log")
            return 1
    enough = accuracy >= WANTED_ACCURACY
    print(f"\nValidation accuracy {accuracy:.2%}, wanted {WANTED_ACCURACY:.0%}.")
    print(f"The model is {arguments.output / 'model.safetensors'}; the pictures beside it:")
    for picture in sorted(arguments.output.rglob("*.png")):
        print(f"  {picture}")
    print(f"The whole demo took {time.monotonic() - started:.0f} s.")
    return 0 if enough else 1


class DemoFailed(Exception):
    """A step did not do what it is for."""


def _run(work: Path, output: Path) -> float:
    print("1. Writing scikit-learn's digits, 1,797 scans, as a ZIP with a folder per class")
    dataset = write_digits(work / "digits.zip")
    print("2. Starting Tuneyard: a gateway and a vision trainer")
    with _tuneyard_up(work) as server, Client(server) as client:
        print("3. Uploading the dataset")
        uploaded = client.datasets.upload(dataset, format="image-folder", progress=_tell)
        spec = TrainingSpec(
            dataset=client.datasets.wait_ready(uploaded.name).name,
            base_model=ARCHITECTURE,
            hyperparameters=HYPERPARAMETERS,
            image_classifier=CLASSIFIER,
            seed=0,
        )
        print(f"4. Training {ARCHITECTURE}")
        job = client.train(spec, labels={"made-by": "demo"})
        _watch(job.name, server)
        print(f"5. Downloading what it left behind to {output}")
        job.download(output, progress=_tell)
        return job.wait(check=True).metrics["eval/accuracy_top1"].best


def write_digits(target: Path) -> Path:
    """Writes the digits as PNG files below train/ and val/, a stratified fifth of them for validation."""
    digits: Any = load_digits()
    pictures, labels = digits.images, digits.target
    numbers = range(len(labels))
    _, validation = train_test_split(numbers, test_size=0.2, random_state=0, stratify=labels)
    held_out = set(validation)
    with zipfile.ZipFile(target, "w") as archive:
        for number in numbers:
            split = "val" if number in held_out else "train"
            # The scans have 17 shades, 0 to 16.
            picture = Image.fromarray((pictures[number] * (255 / 16)).round().astype("uint8"))
            content = BytesIO()
            picture.save(content, "PNG")
            archive.writestr(f"{split}/{labels[number]}/{number:04}.png", content.getvalue())
    return target


@contextmanager
def _tuneyard_up(work: Path) -> Iterator[str]:
    """Runs `tuneyard up` and yields the gateway's address once everything is ready."""
    command = [
        sys.executable,
        "-m",
        "tuneyard.cli",
        "up",
        "--json",
        "--ports",
        "auto",
        "--trainers",
        "vision",
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNEYARD_")}
    with (work / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(work / "data")],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            # A Ctrl-C is for the demo, which stops the services when it is done with them.
            start_new_session=True,
        )
        try:
            yield _address(process)
        finally:
            print("Stopping everything")
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    # Ends by itself: `tuneyard up` says what keeps it from starting, and exits.
    line = process.stdout.readline()
    if not line:
        raise DemoFailed(f"tuneyard up ended with exit code {process.wait()}")
    announced: dict[str, Any] = json.loads(line)
    if "gateway" not in announced:
        raise DemoFailed(announced["error"]["message"])
    return str(announced["gateway"])


def _watch(job: str, server: str) -> None:
    """Shows the job as `tuneyard watch` does: moving on a terminal, as lines elsewhere."""
    sys.stdout.flush()
    code = subprocess.call([sys.executable, "-m", "tuneyard.cli", "watch", job, "--server", server])
    if code != 0:
        raise DemoFailed(f"{job} did not succeed (exit code {code})")


def _tell(transfer: Transfer) -> None:
    if transfer.done_bytes == transfer.total_bytes:
        print(f"   {transfer.name}, {transfer.total_bytes:,} bytes")


def _show_log(log: Path) -> None:
    if log.exists():
        print("The last lines of the services:", file=sys.stderr)
        for line in log.read_text(errors="replace").splitlines()[-40:]:
            print(f"  {line}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a real image classifier through the whole system.")
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="where the model goes")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
