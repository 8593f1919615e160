"""Where a worker enters the fake family."""

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake import recipe
from tuneyard.trainer.fake.answers import FakeModel
from tuneyard.trainer.fake.estimate import planned_steps, resolve
from tuneyard.trainer.fake.script import Script, ScriptError
from tuneyard.trainer.finished_model import FinishedModel
from tuneyard.trainer.run import Result, Run
from tuneyard.v1.trainer_service_pb2 import StartRunRequest
from tuneyard.v1.training_pb2 import TrainingSpec

PRELOAD = ("numpy", "PIL.Image")


def execute(request: StartRunRequest, run: Run) -> Result:
    """Runs the scripted recipe; a spec that nobody resolved is resolved here."""
    if request.spec.WhichOneof("kind") != "training":
        raise RecipeError("The fake family only trains.", reason="NOT_SUPPORTED")
    try:
        config = fake_config(request.spec.training)
    except ScriptError as error:
        raise RecipeError(str(error), reason="UNKNOWN_BASE_MODEL") from error
    return recipe.train(config, run)


def open_model(model: FinishedModel) -> FakeModel:
    """A finished job's model, which answers whatever it is asked."""
    return FakeModel(model, Script.parse(model.spec.training.base_model))


def fake_config(spec: TrainingSpec) -> recipe.FakeConfig:
    """The recipe's settings from a spec; raises ScriptError."""
    script = Script.parse(spec.base_model)
    resolved = resolve(spec, script)
    hyperparameters = resolved.hyperparameters
    return recipe.FakeConfig(
        script=script,
        steps=planned_steps(resolved, script),
        batch_size=hyperparameters.batch_size,
        gradient_accumulation_steps=hyperparameters.gradient_accumulation_steps,
        learning_rate=hyperparameters.learning_rate,
        save_steps=resolved.checkpoints.save_steps,
        eval_steps=hyperparameters.eval_steps,
        seed=resolved.seed,
    )
