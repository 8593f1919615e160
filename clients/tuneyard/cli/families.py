"""Which family of trainers an import is for, where the caller does not say it."""

from pathlib import Path
from typing import Final

from tuneyard.cli.command import UsageFailure
from tuneyard.cli.session import Session
from tuneyard.client.model_folders import NoModel, family_of, refuse_without_model
from tuneyard.client.words import FAMILIES, word_of
from tuneyard.v1 import training_pb2

_FILES: Final = (".pt", ".pth", ".bin", ".safetensors", ".zip", ".onnx", ".gguf")


def family_of_source(session: Session, source: str) -> "training_pb2.Family.ValueType":
    """By the files where they are here, else by the server's catalogue, else the only family it trains.

    UsageFailure where none of these tells it.
    """
    path = Path(source)
    if path.exists():
        try:
            return family_of(path)
        except NoModel as error:
            raise UsageFailure(str(error)) from None
    is_name = not path.is_absolute() and not source.lower().endswith(_FILES)
    if is_name:
        for known in session.client.models.base_models():
            if known.hub_id and source in (known.id, known.hub_id):
                return known.family
    refuse_absent(source)
    families = {trainer.family for trainer in session.client.trainers()}
    if len(families) == 1:
        return families.pop()
    listed = " or ".join(f"--family {word_of(family, FAMILIES)}" for family in sorted(families))
    raise UsageFailure(f"{source}: which family of models is it? Add {listed or '--family FAMILY'}")


def refuse_absent(source: str) -> None:
    """UsageFailure for a folder here without a model, and for what is neither here nor looks like a path of
    the server, an id or a name.
    """
    path = Path(source)
    if path.is_dir():
        try:
            refuse_without_model(path)
        except NoModel as error:
            raise UsageFailure(str(error)) from None
    if path.exists() or path.is_absolute() or source.count("/") == 1:
        return
    raise UsageFailure(f"{source}: there is no such file or folder here, and a hub id looks like owner/name")
