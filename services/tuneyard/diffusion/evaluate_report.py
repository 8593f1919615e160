"""What an evaluation of LoRA weights leaves behind: pictures, report.json, report.html, manifest.json."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneyard.datasets.words import counted
from tuneyard.diffusion.evaluation import Evaluation
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.json_files import finite, save_json
from tuneyard.trainer.report_html import Facts, Picture, Section, Table, write_page
from tuneyard.trainer.run import ArtifactKind, Run

_LOSS = "Loss (mean squared error of predictions at fixed times and noise)"
_SCORE = "CLIP score (100 times the mean cosine of pictures and prompts)"
_SAMPLES = "samples/compared.png"


@dataclass(frozen=True)
class MeasuredImage:
    """One image's loss with both models."""

    name: str
    caption: str
    tuned: float
    base: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A finished measurement."""

    config: EvaluateConfig
    base_model: str
    kind: str
    precision: str
    origin: str
    warning: str
    tuned: Evaluation
    base: Evaluation | None
    no_base: str
    """Why there is no comparison; "" where there is one."""
    images: Sequence[MeasuredImage]
    prompts: Sequence[str]
    """Of the pictures."""
    pictures: Path | None
    """Drawn by the base and by the tuned model, side by side; None where none were drawn."""
    tuned_score: float | None = None
    """CLIP's of the tuned model's pictures; None without a CLIP model."""
    base_score: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The values of the model ("eval/…") and of its base ("base/…")."""
        found = {
            "eval/loss": self.tuned.loss,
            "base/loss": self.base.loss if self.base else None,
            "eval/clip_score": self.tuned_score,
            "base/clip_score": self.base_score,
        }
        return {name: value for name, value in found.items() if value is not None}

    def metrics_of(self, stage: str) -> dict[str, float | None]:
        """Those of one model by their last names, for JSON: a value that is no number is null."""
        return {
            name.removeprefix(f"{stage}/"): finite(value)
            for name, value in self.metrics.items()
            if name.startswith(f"{stage}/")
        }

    @property
    def summary(self) -> str:
        """One sentence that names the split."""
        against = "" if self.base is None else f" (base model: {self.base.loss:.4g})"
        return (
            f"The loss on {counted(self.tuned.images, 'image')} of the {self.config.split} split of"
            f" {self.config.dataset} is {self.tuned.loss:.4g}{against}."
        )


def save_report(run: Run, measured: Measured) -> None:
    """Writes and hands over everything; the manifest last."""
    folder = run.work_dir
    if measured.pictures is not None:
        title = "Base and tuned: " + " | ".join(measured.prompts)
        run.sample_image(measured.pictures, title=title[:200], step=0, name=_SAMPLES)
    save_json(
        run,
        "report.json",
        report(measured),
        kind=ArtifactKind.METRICS,
        description="Every value that was measured",
    )
    run.save_artifact(
        write_page(
            folder / "report.html", title="Evaluation of a text-to-image LoRA", sections=_sections(measured)
        ),
        name="report.html",
        kind=ArtifactKind.REPORT,
        media_type="text/html",
        description="The report for people",
    )
    manifest = run.manifest(
        source_job=measured.config.source_job,
        model={"kind": measured.kind, "base_model": measured.base_model},
        split={
            "name": measured.config.split,
            "origin": measured.origin,
            "samples": measured.tuned.images,
        },
        precision=measured.precision,
        prompts=list(measured.prompts),
        metrics={name: finite(value) for name, value in measured.metrics.items()},
    )
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, data, model, versions and metrics",
    )


def report(measured: Measured) -> dict[str, Any]:
    """The content of report.json; a value that is no number is null."""
    return {
        "format_version": 1,
        "task": "text_to_image_lora",
        "source_job": measured.config.source_job,
        "architecture": f"LoRA of {measured.base_model}",
        "dataset": measured.config.dataset,
        "split": {
            "name": measured.config.split,
            "origin": measured.origin,
            "samples": measured.tuned.images,
        },
        "warnings": [measured.warning] if measured.warning else [],
        "metrics": measured.metrics_of("eval"),
        "base": _base(measured),
        "images": [_image(each) for each in measured.images],
        "prompts": list(measured.prompts),
    }


def _base(measured: Measured) -> dict[str, Any]:
    if measured.base is None:
        return {"compared": False, "reason": measured.no_base}
    return {
        "compared": True,
        "name": measured.base_model,
        "metrics": measured.metrics_of("base"),
    }


def _image(image: MeasuredImage) -> dict[str, Any]:
    base = {} if image.base is None else {"base_loss": finite(image.base)}
    return {"name": image.name, "caption": image.caption, "loss": finite(image.tuned), **base}


def _sections(measured: Measured) -> Iterable[Section]:
    yield Facts(
        {
            "Model": f"LoRA of {measured.base_model}, trained by {measured.config.source_job}",
            "Dataset": measured.config.dataset,
            "Split": f"{measured.config.split}: {measured.origin}",
            "Images": f"{measured.tuned.images:,}",
            "Base model": measured.no_base or measured.base_model,
            "Mind": measured.warning,
        }
    )
    note = "Each image counts at four times of the process, always with the same noise: only weights differ."
    found = [(_LOSS, measured.base.loss if measured.base else None, measured.tuned.loss)]
    if measured.tuned_score is not None:
        found.append((_SCORE, measured.base_score, measured.tuned_score))
    if measured.base is None:
        yield Table("Results", ("metric", "value"), [(name, tuned) for name, _, tuned in found], note=note)
    else:
        columns = ("metric", "base model", "tuned model", "change")
        rows = [(name, base or 0.0, tuned, _change(base or 0.0, tuned)) for name, base, tuned in found]
        yield Table("Results", columns, rows, note=note)
    if measured.pictures is not None:
        yield Picture("Base beside tuned", measured.pictures, note=" | ".join(measured.prompts))
    yield _table_of_images(measured)


def _change(base: float, tuned: float) -> str:
    difference = tuned - base
    return f"{difference:+.4f} ({difference / base:+.1%})" if base else f"{difference:+.4f}"


def _table_of_images(measured: Measured) -> Table:
    ordered = sorted(measured.images, key=lambda image: -image.tuned)
    if measured.base is None:
        rows: list[tuple[str | float, ...]] = [(each.name, each.caption, each.tuned) for each in ordered]
        return Table("Images, the hardest first", ("image", "caption", "loss"), rows, folded=True)
    rows = [(each.name, each.caption, each.base or 0.0, each.tuned) for each in ordered]
    columns = ("image", "caption", "base model", "tuned model")
    return Table("Images, the hardest first", columns, rows, folded=True)
