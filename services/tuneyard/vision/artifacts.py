"""What a finished training leaves behind: the model, numbers, pictures, and where it all came from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run
from tuneyard.vision import networks, pictures
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluation import Evaluation, Evaluator, class_scores
from tuneyard.vision.learner import Learner
from tuneyard.vision.lettering import shown_names
from tuneyard.vision.pixels import Pixels
from tuneyard.vision.weights import preprocessing, rescales

_SHOWN = 24
_SHOWN_AT_EVALUATIONS = 12


@dataclass(frozen=True)
class Outcome:
    """A finished training."""

    config: ClassifierConfig
    model: nn.Module
    """With the weights that are to be stored."""
    classes: tuple[str, ...]
    evaluation: Evaluation
    learner: Learner
    stored_side: int
    train_samples: int
    validation_samples: int
    held_out: str
    """Which images validated: the digest of their split."""
    early_stopped: bool


def model_config(outcome: Outcome) -> dict[str, Any]:
    """The model's config.json: all that is needed to build it again and to feed it."""
    config = outcome.config
    return {
        "format_version": 1,
        "task": "image_classifier",
        "architecture": config.architecture,
        "classes": list(outcome.classes),
        "image_size": config.image_size,
        "dropout": networks.head_dropout(outcome.model) if config.dropout is None else config.dropout,
        "transform_input": rescales(config),
        "preprocessing": preprocessing(config, stored_side=outcome.stored_side),
    }


def save_artifacts(run: Run, outcome: Outcome, evaluator: Evaluator, validation: Pixels) -> None:
    """Writes and hands over every artifact; the manifest last."""
    folder = run.work_dir
    _save_model(run, folder, outcome)
    _save_card(run, folder, outcome)
    _save_metrics(run, outcome)
    _save_pictures(run, folder, outcome, evaluator, validation)
    manifest = run.manifest(
        config=asdict(outcome.config),
        precision=outcome.learner.precision,
        threads=torch.get_num_threads(),
        initial_weights=outcome.learner.source,
        train_samples=outcome.train_samples,
        validation_samples=outcome.validation_samples,
        held_out=outcome.held_out,
        steps=outcome.learner.counters.step,
        best_step=outcome.learner.counters.best_step,
        early_stopped=outcome.early_stopped,
        metrics=outcome.evaluation.metrics,
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, settings, data, base model, versions and metrics",
    )


def _save_model(run: Run, folder: Path, outcome: Outcome) -> None:
    state = {name: value.detach().cpu().contiguous() for name, value in outcome.model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    run.save_artifact(
        folder / "model.safetensors",
        name="model.safetensors",
        kind=ArtifactKind.MODEL,
        media_type="application/octet-stream",
        description=f"Weights of {outcome.config.architecture}, named as in torchvision",
    )
    save_json(
        run,
        "config.json",
        model_config(outcome),
        kind=ArtifactKind.MODEL,
        description="Architecture, classes and preprocessing",
    )


def _save_card(run: Run, folder: Path, outcome: Outcome) -> None:
    (folder / "README.md").write_text(_card(outcome), encoding="utf-8")
    run.save_artifact(
        folder / "README.md",
        name="README.md",
        kind=ArtifactKind.REPORT,
        media_type="text/markdown",
        description="What the model is, what it reaches, and how to use it",
    )


def _card(outcome: Outcome) -> str:
    config, evaluation = outcome.config, outcome.evaluation
    scores = class_scores(evaluation.confusion)
    rows = "\n".join(
        f"| {name} | {score.precision:.3f} | {score.recall:.3f} | {score.f1:.3f} |"
        for name, score in zip(outcome.classes, scores, strict=True)
    )
    return f"""# Image classifier: {config.architecture}

Tells {len(outcome.classes)} classes apart: {", ".join(outcome.classes)}.
Trained on {outcome.train_samples} images at {config.image_size} px; first weights: {outcome.learner.source}.

Of {outcome.validation_samples} validation images it recognises {evaluation.accuracy_top1:.1%}.

| class | precision | recall | F1 |
|---|---|---|---|
{rows}

## Use

With this platform: `tuneyard predict JOB IMAGE`. In Python, with this folder's two files:

```python
from pathlib import Path
from tuneyard.vision.predictor import Classifier

classifier = Classifier.load(Path("."))
print(classifier.classify([Path("image.jpg")]))
```

`model.safetensors` holds the weights under torchvision's names, `config.json` the classes and how images are
prepared for them.
"""


def _save_metrics(run: Run, outcome: Outcome) -> None:
    scores = class_scores(outcome.evaluation.confusion)
    metrics = {
        "best_step": outcome.learner.counters.best_step,
        "metrics": outcome.evaluation.metrics,
        "macro_f1": sum(score.f1 for score in scores) / len(scores),
        "classes": {name: asdict(score) for name, score in zip(outcome.classes, scores, strict=True)},
        "confusion_matrix": outcome.evaluation.confusion.tolist(),
        "history": [{"step": step, **values} for step, values in outcome.learner.counters.evaluations],
    }
    save_json(
        run,
        "metrics.json",
        metrics,
        kind=ArtifactKind.METRICS,
        description="Precision, recall and F1 of each class; every evaluation",
    )


def _save_pictures(
    run: Run, folder: Path, outcome: Outcome, evaluator: Evaluator, validation: Pixels
) -> None:
    counters = outcome.learner.counters
    pictures.draw_confusion(folder / "confusion_matrix.png", outcome.evaluation.confusion, outcome.classes)
    pictures.draw_losses(folder / "loss_curve.png", counters.losses.points, counters.evaluations)
    _draw_predictions(
        folder / "predictions.png", outcome.model, evaluator, validation, outcome.classes, count=_SHOWN
    )
    for name, description in (
        ("confusion_matrix.png", "Which classes are taken for which"),
        ("loss_curve.png", "Losses and accuracy over the steps"),
        ("predictions.png", "Validation images with what the model says"),
    ):
        run.save_artifact(
            folder / name,
            name=name,
            kind=ArtifactKind.IMAGE,
            media_type="image/png",
            description=description,
        )


def save_predictions(
    run: Run, learner: Learner, evaluator: Evaluator, validation: Pixels, classes: tuple[str, ...]
) -> None:
    """Shows predictions after the 1st, 2nd, 4th, 8th … evaluation, so that their number stays small."""
    counters = learner.counters
    number = len(counters.evaluations)
    if number & (number - 1):
        return
    name = f"samples/predictions-{counters.step:08d}.png"
    path = run.work_dir / f"predictions-{counters.step}.png"
    model = learner.evaluated_model
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    _draw_predictions(path, model, evaluator, validation, classes, count=_SHOWN_AT_EVALUATIONS)
    for module, training in was_training.items():
        module.training = training
    run.sample_image(path, title=f"Predictions after step {counters.step}", step=counters.step, name=name)
    path.unlink()


def save_first_batch(
    run: Run, learner: Learner, images: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> None:
    """Shows the first training images as the model saw them."""
    path = run.work_dir / "first-batch.png"
    shown = learner.augmenter.as_bytes(images[:_SHOWN])
    names = shown_names(classes)
    pictures.draw_grid(path, shown, [names[label] for label in labels[:_SHOWN].tolist()])
    run.sample_image(
        path, title="The first training batch as the model sees it", step=1, name="samples/first-batch.png"
    )
    path.unlink()


def _draw_predictions(
    path: Path,
    model: nn.Module,
    evaluator: Evaluator,
    validation: Pixels,
    classes: tuple[str, ...],
    *,
    count: int,
) -> None:
    positions = torch.linspace(0, len(validation) - 1, min(count, len(validation))).round().long()
    shares = evaluator.predict(model, positions)
    best = shares.argmax(1)
    truth, names = validation.labels[positions], shown_names(classes)
    captions = [
        f"{names[guess]}: {share[guess]:.0%}\n" + ("" if guess == true else f"is {names[true]}")
        for guess, true, share in zip(best.tolist(), truth.tolist(), shares, strict=True)
    ]
    pictures.draw_grid(path, validation.images(positions), captions, right=(best == truth).tolist())
