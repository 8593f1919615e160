"""A platform that trains text-to-image LoRAs, and small captioned sets and trainings for it."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.defects_images import encoded, picture
from tests.support.llm_platform import tuneyard
from tests.support.platform import Platform, platform
from tuneyard.v1 import training_pb2

_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "pink", "grey", "orange", "purple")


@contextmanager
def diffusion_platform(root: Path, *, faults: str = "") -> Iterator[Platform]:
    """A gateway and the trainer of text-to-image LoRAs, which may fetch nothing."""
    settings = {"TUNEYARD_OFFLINE": "true", "TUNEYARD_TEST_FAULTS": faults}
    with platform(root, trainers={"diffusion": "tuneyard.diffusion"}, extra=settings) as started:
        yield started


def captioned_pictures() -> dict[str, bytes]:
    """Eight pictures to train on and two held out, each with a text file."""
    files = {}
    for number, colour in enumerate(_COLOURS):
        stem = f"{'train' if number < 8 else 'val'}/{number}"
        files[f"{stem}.png"] = encoded(picture(number))
        files[f"{stem}.txt"] = f"a {colour} circle".encode()
    return files


def with_class_images() -> dict[str, bytes]:
    """The same with four class images, which have no captions."""
    images = {f"class/{number}.png": encoded(picture(20 + number)) for number in range(4)}
    return captioned_pictures() | images


def upload_captioned(
    running: Platform, folder: Path, name: str, files: Mapping[str, bytes], *, code: int = 0
) -> str:
    """Uploads files as a ZIP by the command line, which must end with `code`; returns the dataset's name."""
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    asked = ("datasets", "upload", path, "--format", "captioned-images", "--name", name)
    return str(tuneyard(running, *asked, code=code)[0]["name"])


def lora_training(
    dataset: str, base_model: str, *, prior: bool = False, **settings: Any
) -> training_pb2.TrainingSpec:
    """A short training in fp32 at 64 px that evaluates and draws at its end; keywords are hyperparameters.

    With `prior`, class images count half.
    """
    of_class: dict[str, Any] = {"class_prompt": "a circle", "prior_loss_weight": 0.5} if prior else {}
    values: dict[str, Any] = {
        "batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "precision": training_pb2.PRECISION_FP32,
        "eval_steps": 100,
        **settings,
    }
    return training_pb2.TrainingSpec(
        dataset=dataset,
        base_model=base_model,
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(**values),
        checkpoints=training_pb2.CheckpointPolicy(save_steps=3),
        text_to_image_lora=training_pb2.TextToImageLora(
            resolution=64,
            lora=training_pb2.LoraConfig(lora_r=4),
            sample_steps=100,
            validation_prompts=["a red circle"],
            **of_class,
        ),
    )
