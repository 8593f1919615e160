"""Where a worker enters the family. torch is only named here, for the warm server; the recipe imports it."""

from tuneyard.diffusion.config import text_to_image_config
from tuneyard.diffusion.export_config import export_config
from tuneyard.diffusion.merge_config import merge_config
from tuneyard.diffusion.run_times import predicted
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import evaluate_config, training_request
from tuneyard.trainer.finished_model import Answerer, FinishedModel
from tuneyard.trainer.run import Result, Run
from tuneyard.trainer.run_times import measured
from tuneyard.v1 import trainer_service_pb2

PRELOAD = (
    "numpy",
    "torch",
    "torch.utils.checkpoint",
    "safetensors.torch",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "diffusers",
    "peft",
    "tuneyard.diffusion.text_to_image_lora",
    "tuneyard.diffusion.inference",
)
"""Imported once by the warm server, from which workers are forked."""


def execute(request: trainer_service_pb2.StartRunRequest, run: Run) -> Result:
    """Runs the recipe for the request's task. Raises RecipeError and Stopped."""
    kind = request.spec.WhichOneof("kind")
    trained = request.spec if kind == "training" else request.source_spec
    match kind, trained.training.WhichOneof("task"):
        case "training", "text_to_image_lora":
            from tuneyard.diffusion import text_to_image_lora

            with measured(request, run, predict=predicted) as timed:
                timed.result = text_to_image_lora.train(text_to_image_config(request), run)
            return timed.result
        case "evaluate", "text_to_image_lora":
            from tuneyard.diffusion import evaluate

            source = text_to_image_config(training_request(request))
            return evaluate.evaluate(evaluate_config(request), source, run)
        case "merge", "text_to_image_lora":
            from tuneyard.diffusion import merge

            return merge.merge(merge_config(request), run)
        case "export", "text_to_image_lora":
            from tuneyard.diffusion import export

            return export.export(export_config(request), run)
        case _, task:
            raise RecipeError(f"This trainer cannot do {task or kind} jobs.", reason="NOT_SUPPORTED")


def out_of_memory_remedies(request: trainer_service_pb2.StartRunRequest) -> tuple[str, ...]:
    """What to change where memory ran out, in the order in which to try it."""
    if request.spec.WhichOneof("kind") != "training":
        return ("Send the job again when nothing else needs the memory of the trainer's machine.",)
    from tuneyard.diffusion.advice import out_of_memory_remedies as remedies

    return remedies(text_to_image_config(request))


def open_model(model: FinishedModel) -> Answerer:
    """A finished job's model, ready to be tried. Raises RecipeError and InferenceError."""
    from tuneyard.diffusion import inference

    return inference.open_model(model)
