"""What a detector's training shows and leaves behind: the model, numbers, pictures, and their origin."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run
from tuneyard.vision import detector_pictures as pictures
from tuneyard.vision.detector_batches import DetectionSamples, Draw, Sample
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_evaluation import DetectionEvaluation, DetectionEvaluator, true_boxes
from tuneyard.vision.detector_learner import DetectorLearner
from tuneyard.vision.detector_model import CONFIG_FILE, WEIGHTS_FILE, save_detector
from tuneyard.vision.lettering import shown_names

_SHOWN = 12
_SHOWN_AT_EVALUATIONS = 8
_SHOWN_SCORE = 0.25
_MAX_SHOWN_BOXES = 50


@dataclass(frozen=True)
class DetectorOutcome:
    """A finished training."""

    config: DetectorConfig
    model: nn.Module
    """With the weights that are to be stored."""
    classes: tuple[str, ...]
    evaluation: DetectionEvaluation
    learner: DetectorLearner
    train: DetectionSamples
    validation: DetectionSamples
    held_out: str
    """Which images validated: the digest of their split."""
    early_stopped: bool


def save_artifacts(run: Run, outcome: DetectorOutcome, evaluator: DetectionEvaluator) -> None:
    """Writes and hands over every artifact; the manifest last."""
    folder = run.work_dir
    _save_model(run, folder, outcome)
    _save_metrics(run, outcome)
    _save_pictures(run, folder, outcome, evaluator)
    counters = outcome.learner.counters
    manifest = run.manifest(
        config=asdict(outcome.config),
        precision=outcome.learner.precision,
        threads=torch.get_num_threads(),
        initial_weights=outcome.learner.source,
        train_samples=len(outcome.train),
        validation_samples=len(outcome.validation),
        held_out=outcome.held_out,
        steps=counters.step,
        best_step=counters.best_step,
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


def _save_model(run: Run, folder: Path, outcome: DetectorOutcome) -> None:
    config = outcome.config
    save_detector(
        folder,
        outcome.model,
        architecture=config.architecture,
        classes=outcome.classes,
        image_size=config.image_size,
    )
    run.save_artifact(
        folder / WEIGHTS_FILE,
        name=WEIGHTS_FILE,
        kind=ArtifactKind.MODEL,
        media_type="application/octet-stream",
        description=f"Weights of {config.architecture}, named as in ultralytics",
    )
    run.save_artifact(
        folder / CONFIG_FILE,
        name=CONFIG_FILE,
        kind=ArtifactKind.MODEL,
        media_type="application/json",
        description="Architecture, classes and preprocessing",
    )
    (folder / "README.md").write_text(_card(outcome), encoding="utf-8")
    run.save_artifact(
        folder / "README.md",
        name="README.md",
        kind=ArtifactKind.REPORT,
        media_type="text/markdown",
        description="What the model is, what it reaches, and how to use it",
    )


def _card(outcome: DetectorOutcome) -> str:
    config, evaluation = outcome.config, outcome.evaluation
    rows = "\n".join(
        f"| {name} | {score.boxes} | {score.ap50:.3f} | {score.ap50_95:.3f} | {score.precision:.3f} |"
        f" {score.recall:.3f} |"
        for name, score in evaluation.classes.items()
    )
    return f"""# Object detector: {config.architecture}

Finds {len(outcome.classes)} kinds of objects: {", ".join(outcome.classes)}.
Trained on {len(outcome.train)} images at {config.image_size} px; first weights: {outcome.learner.source}.

On {len(outcome.validation)} validation images: mAP50 {evaluation.map50:.3f},
mAP50-95 {evaluation.map50_95:.3f}, precision {evaluation.precision:.3f}, recall {evaluation.recall:.3f}.

| class | boxes | AP50 | AP50-95 | precision | recall |
|---|---|---|---|---|---|
{rows}

## Use

With this platform: `tuneyard predict JOB IMAGE`. In Python, with this folder's two files:

```python
from pathlib import Path
from PIL import Image
from tuneyard.vision.detector_predictor import Detector

detector = Detector.load(Path("."))
print(detector.detect([Image.open("image.jpg")], min_score=0.25))
```

`model.safetensors` holds the weights under ultralytics' names, `config.json` all that is needed to build the
network and to prepare images for it. The network is ultralytics', whose licence is AGPL-3.0.
"""


def _save_metrics(run: Run, outcome: DetectorOutcome) -> None:
    evaluation, counters = outcome.evaluation, outcome.learner.counters
    metrics = {
        "best_step": counters.best_step,
        "metrics": evaluation.metrics,
        "classes": {name: asdict(score) for name, score in evaluation.classes.items()},
        "confusion_matrix": {
            "rows": "predicted, the last: missed",
            "columns": "true, the last: false detections",
            "classes": [*outcome.classes, "background"],
            "counts": evaluation.confusion.astype(int).tolist(),
        },
        "history": [{"step": step, **values} for step, values in counters.evaluations],
    }
    save_json(
        run,
        "metrics.json",
        metrics,
        kind=ArtifactKind.METRICS,
        description="Precision, recall and average precision of each class; every evaluation",
    )


def _save_pictures(run: Run, folder: Path, outcome: DetectorOutcome, evaluator: DetectionEvaluator) -> None:
    counters, evaluation = outcome.learner.counters, outcome.evaluation
    pictures.draw_confusion(folder / "confusion_matrix.png", evaluation.confusion, outcome.classes)
    pictures.draw_precision_recall(folder / "precision_recall_curve.png", evaluation, outcome.classes)
    pictures.draw_f1(folder / "f1_curve.png", evaluation, outcome.classes)
    pictures.draw_labels(folder / "labels.png", outcome.train.samples, outcome.classes)
    pictures.draw_losses(folder / "loss_curve.png", counters.losses.points, counters.evaluations)
    _draw_predictions(folder / "predictions.png", outcome.model, evaluator, outcome.validation, count=_SHOWN)
    for name, description in (
        ("confusion_matrix.png", "Which classes are taken for which, what is missed, what is not there"),
        ("precision_recall_curve.png", "Precision over recall of each class"),
        ("f1_curve.png", "F1 of each class over the least score"),
        ("labels.png", "Classes, places and sizes of the training boxes"),
        ("loss_curve.png", "Losses and average precision over the steps"),
        ("predictions.png", "Validation images with labelled and with found boxes"),
    ):
        run.save_artifact(
            folder / name,
            name=name,
            kind=ArtifactKind.IMAGE,
            media_type="image/png",
            description=description,
        )


def save_predictions(
    run: Run,
    learner: DetectorLearner,
    evaluator: DetectionEvaluator,
    validation: DetectionSamples,
) -> None:
    """Shows predictions after the 1st, 2nd, 4th, 8th … evaluation, so that their number stays small."""
    counters = learner.counters
    number = len(counters.evaluations)
    if number & (number - 1):
        return
    path = run.work_dir / f"predictions-{counters.step}.png"
    _draw_predictions(path, learner.evaluated_model, evaluator, validation, count=_SHOWN_AT_EVALUATIONS)
    run.sample_image(
        path,
        title=f"Labelled (left) and found (right) after step {counters.step}",
        step=counters.step,
        name=f"samples/predictions-{counters.step:08d}.png",
    )
    path.unlink()


def save_first_batch(run: Run, samples: Sequence[Sample], classes: Sequence[str]) -> None:
    """Shows the first training images, with their boxes, as the model saw them."""
    path = run.work_dir / "first-batch.png"
    names = shown_names(classes)
    pictures.draw_grid(path, [_labelled(sample, names) for sample in samples[:_SHOWN]])
    run.sample_image(
        path, title="The first training batch as the model sees it", step=1, name="samples/first-batch.png"
    )
    path.unlink()


def _draw_predictions(
    path: Path,
    model: nn.Module,
    evaluator: DetectionEvaluator,
    validation: DetectionSamples,
    *,
    count: int,
) -> None:
    """Pairs of one image: as labelled, and as the model sees it."""
    model.eval()
    names = shown_names(evaluator.classes)
    tiles = []
    for position in np.linspace(0, len(validation) - 1, min(count, len(validation))).round().astype(int):
        sample = validation[Draw(0, int(position), False)]
        (boxes,), _ = evaluator.found(model, [sample], min_score=_SHOWN_SCORE)
        shown = [
            pictures.ShownBox((left, top, right, bottom), int(number), f"{names[int(number)]}: {score:.0%}")
            for left, top, right, bottom, score, number in boxes[:_MAX_SHOWN_BOXES].cpu().tolist()
        ]
        tiles += [_labelled(sample, names), pictures.draw_boxes(_image(sample), shown)]
    pictures.draw_grid(path, tiles)


def _labelled(sample: Sample, names: Sequence[str]) -> Image.Image:
    corners, labels = true_boxes(sample)
    shown = [
        pictures.ShownBox((left, top, right, bottom), int(number), names[int(number)])
        for (left, top, right, bottom), number in zip(corners.tolist(), labels.tolist(), strict=True)
    ]
    return pictures.draw_boxes(_image(sample), shown[:_MAX_SHOWN_BOXES])


def _image(sample: Sample) -> Image.Image:
    return Image.fromarray(sample["img"].permute(1, 2, 0).contiguous().numpy())
