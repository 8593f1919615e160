"""Where a worker enters the family. torch is only named here, for the warm server; the recipe imports it."""

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import evaluate_config, training_request
from tuneyard.trainer.finished_model import Answerer, FinishedModel
from tuneyard.trainer.run import Result, Run
from tuneyard.trainer.run_times import measured
from tuneyard.v1 import trainer_service_pb2
from tuneyard.vision.config import classifier_config
from tuneyard.vision.detector_architectures import HAS_DETECTORS
from tuneyard.vision.detector_config import detector_config
from tuneyard.vision.export_config import export_config
from tuneyard.vision.run_times import predicted

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
    *(["tuneyard.vision.detector"] if HAS_DETECTORS else []),
)
"""Imported once by the warm server, from which workers are forked."""


def execute(request: trainer_service_pb2.StartRunRequest, run: Run) -> Result:
    """Runs the recipe for the request's task. Raises RecipeError and Stopped."""
    if request.spec.WhichOneof("kind") != "training":
        return _execute(request, run)
    with measured(request, run, predict=predicted) as timed:
        timed.result = _execute(request, run)
    return timed.result


def _execute(request: trainer_service_pb2.StartRunRequest, run: Run) -> Result:
    kind = request.spec.WhichOneof("kind")
    trained = request.spec if kind == "training" else request.source_spec
    task = trained.training.WhichOneof("task")
    if task == "object_detector" and not HAS_DETECTORS:
        raise RecipeError(
            "Object detectors need ultralytics, which is not installed on the trainer's machine.",
            reason="NOT_SUPPORTED",
            remedies=("Install it beside the trainer: `pip install tuneyard[detector]`.",),
        )
    match kind, task:
        case "training", "image_classifier":
            from tuneyard.vision import classifier

            return classifier.train(classifier_config(request), run)
        case "training", "object_detector":
            from tuneyard.vision import detector

            return detector.train(detector_config(request), run)
        case "evaluate", "image_classifier":
            from tuneyard.vision import evaluate_classifier

            source = classifier_config(training_request(request))
            return evaluate_classifier.evaluate(evaluate_config(request), source, run)
        case "evaluate", "object_detector":
            from tuneyard.vision import evaluate_detector

            trained_as = detector_config(training_request(request))
            return evaluate_detector.evaluate(evaluate_config(request), trained_as, run)
        case "export", "object_detector":
            from tuneyard.vision import export_detector

            return export_detector.export(export_config(request), run)
        case "export", "image_classifier":
            from tuneyard.vision import export_classifier

            return export_classifier.export(export_config(request), run)
        case _, task:
            raise RecipeError(f"This trainer cannot do {task or kind} jobs yet.", reason="NOT_SUPPORTED")


def open_model(model: FinishedModel) -> Answerer:
    """A finished job's model, ready to be tried. Raises RecipeError and InferenceError."""
    from tuneyard.vision import inference

    return inference.open_model(model)
