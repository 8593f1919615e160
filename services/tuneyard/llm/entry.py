"""Where a worker enters the family. torch is only named here, for the warm server; the recipe imports it."""

from tuneyard.llm.config import language_model_config
from tuneyard.llm.export_config import export_config
from tuneyard.llm.merge_config import merge_config
from tuneyard.llm.run_times import predicted
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import evaluate_config, training_request
from tuneyard.trainer.finished_model import Answerer, FinishedModel
from tuneyard.trainer.preview_worker import PreviewInputs
from tuneyard.trainer.run import Result, Run
from tuneyard.trainer.run_times import measured
from tuneyard.v1 import preview_pb2, trainer_service_pb2

PRELOAD = (
    "numpy",
    "torch",
    "torch.utils.checkpoint",
    "safetensors.torch",
    "tokenizers",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.integrations.bitsandbytes",
    "peft",
    "tuneyard.llm.finetune",
    "tuneyard.llm.inference",
    "tuneyard.llm.preview",
)
"""Imported once by the warm server, from which workers are forked."""


def execute(request: trainer_service_pb2.StartRunRequest, run: Run) -> Result:
    """Runs the recipe for the request's task. Raises RecipeError and Stopped."""
    kind = request.spec.WhichOneof("kind")
    trained = request.spec if kind == "training" else request.source_spec
    match kind, trained.training.WhichOneof("task"):
        case "training", "language_model":
            from tuneyard.llm import finetune

            with measured(request, run, predict=predicted) as timed:
                timed.result = finetune.train(language_model_config(request), run)
            return timed.result
        case "evaluate", "language_model":
            from tuneyard.llm import evaluate

            source = language_model_config(training_request(request))
            return evaluate.evaluate(evaluate_config(request), source, run)
        case "merge", "language_model":
            from tuneyard.llm import merge

            return merge.merge(merge_config(request), run)
        case "export", "language_model":
            from tuneyard.llm import export

            return export.export(export_config(request), run)
        case _, task:
            raise RecipeError(f"This trainer cannot do {task or kind} jobs.", reason="NOT_SUPPORTED")


def out_of_memory_remedies(request: trainer_service_pb2.StartRunRequest) -> tuple[str, ...]:
    """What to change where memory ran out, in the order in which to try it."""
    if request.spec.WhichOneof("kind") != "training":
        return ("Send the job again when nothing else needs the memory of the trainer's machine.",)
    from tuneyard.llm.advice import memory_remedies

    return memory_remedies(language_model_config(request))


def open_model(model: FinishedModel) -> Answerer:
    """A finished job's model, ready to be tried. Raises RecipeError and InferenceError."""
    from tuneyard.llm import inference

    return inference.open_model(model)


def preview(
    request: trainer_service_pb2.TrainerServicePreviewRequest, inputs: PreviewInputs
) -> preview_pb2.Preview:
    """What a job would train on. Raises RecipeError."""
    from tuneyard.llm import preview as previewing

    return previewing.preview(request, inputs)
