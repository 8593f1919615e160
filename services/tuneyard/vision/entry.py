"""Where a worker enters the family. torch is only named here, for the warm server; the recipe imports it."""

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.finished_model import Answerer, FinishedModel
from tuneyard.trainer.run import Result, Run
from tuneyard.v1 import trainer_service_pb2
from tuneyard.vision.config import classifier_config

PRELOAD = (
    "numpy",
    "torch",
    "torch.utils.checkpoint",
    "torchvision",
    "torchvision.transforms.v2",
    "safetensors.torch",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.ImageFont",
    "tuneyard.vision.classifier",
    "tuneyard.vision.inference",
)
"""Imported once by the warm server, from which workers are forked."""


def execute(request: trainer_service_pb2.StartRunRequest, run: Run) -> Result:
    """Runs the recipe for the request's task. Raises RecipeError and Stopped."""
    match request.spec.WhichOneof("kind"), request.spec.training.WhichOneof("task"):
        case "training", "image_classifier":
            from tuneyard.vision import classifier

            return classifier.train(classifier_config(request), run)
        case kind, task:
            raise RecipeError(f"This trainer cannot do {task or kind} jobs yet.", reason="NOT_SUPPORTED")


def open_model(model: FinishedModel) -> Answerer:
    """A finished job's model, ready to be tried. Raises RecipeError and InferenceError."""
    from tuneyard.vision import inference

    return inference.open_model(model)
