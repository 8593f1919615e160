"""What an evaluation of a language model leaves behind: report.json, report.html, manifest.json."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuneyard.datasets.jsonl_rules import Message
from tuneyard.datasets.words import counted
from tuneyard.llm.evaluation import Evaluation
from tuneyard.llm.text_scores import TextScore, mean
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.json_files import finite, save_json
from tuneyard.trainer.report_html import Facts, Section, Table, write_page
from tuneyard.trainer.run import ArtifactKind, Run

_SHOWN_SAMPLES = 8
_SHOWN_CHARACTERS = 2000
_WORDS = {
    "loss": "Loss (cross-entropy a token)",
    "perplexity": "Perplexity",
    "token_accuracy": "Tokens that were the likeliest",
    "exact_match": "Answers that equal the reference",
    "rouge_l": "ROUGE-L of answers",
}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A row's conversation, answered."""

    messages: Sequence[Message]
    """Up to the last answer."""
    reference: str
    """The last answer in the dataset."""
    place: str
    """The file and line that it stands in."""
    tuned: str
    score: TextScore
    base: str
    """"" where the base was not asked."""
    base_score: TextScore | None

    @property
    def prompt(self) -> str:
        """For people."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n".join(f"{role}: {content}" for role, content in self.messages)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A finished measurement."""

    config: EvaluateConfig
    method: str
    base_model: str
    template: str
    precision: str
    rows: int
    origin: str
    warning: str
    tuned: Evaluation
    base: Evaluation | None
    no_base: str
    """Why there is no comparison; "" where there is one."""
    answers: Sequence[Answered]

    @property
    def tuned_metrics(self) -> dict[str, float]:
        """The tuned model's values, named as in training and without a prefix."""
        return _values(self.tuned, [each.score for each in self.answers])

    @property
    def base_metrics(self) -> dict[str, float]:
        """The base's; empty where it was not measured."""
        if self.base is None:
            return {}
        return _values(self.base, [each.base_score for each in self.answers if each.base_score])

    @property
    def metrics(self) -> dict[str, float]:
        """The values of the model ("eval/…") and of its base ("base/…")."""
        tuned = {f"eval/{name}": value for name, value in self.tuned_metrics.items()}
        return tuned | {f"base/{name}": value for name, value in self.base_metrics.items()}

    @property
    def summary(self) -> str:
        """One sentence that names the split."""
        against = "" if self.base is None else f" (base model: {self.base.perplexity:.4g})"
        return (
            f"Perplexity on {counted(self.rows, 'row')} of the {self.config.split} split of"
            f" {self.config.dataset} is {self.tuned.perplexity:.4g}{against}."
        )


def save_report(run: Run, measured: Measured) -> None:
    """Writes and hands over everything; the manifest last."""
    folder = run.work_dir
    for answered in measured.answers[:_SHOWN_SAMPLES]:
        run.sample_text(
            title=answered.place,
            step=0,
            prompt=_short(answered.prompt),
            tuned=_short(answered.tuned),
            base=_short(answered.base),
            reference=_short(answered.reference),
        )
    save_json(
        run,
        "report.json",
        report(measured),
        kind=ArtifactKind.METRICS,
        description="Every value that was measured, and every answer",
    )
    run.save_artifact(
        write_page(
            folder / "report.html", title="Evaluation of a language model", sections=_sections(measured)
        ),
        name="report.html",
        kind=ArtifactKind.REPORT,
        media_type="text/html",
        description="The report for people",
    )
    manifest = run.manifest(
        source_job=measured.config.source_job,
        model={"method": measured.method, "base_model": measured.base_model, "template": measured.template},
        split={"name": measured.config.split, "origin": measured.origin, "samples": measured.rows},
        precision=measured.precision,
        answered=len(measured.answers),
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
    """The content of report.json; a value that is no number, such as an endless perplexity, is null."""
    return {
        "format_version": 1,
        "task": "language_model",
        "source_job": measured.config.source_job,
        "architecture": f"{measured.method} of {measured.base_model}",
        "dataset": measured.config.dataset,
        "split": {"name": measured.config.split, "origin": measured.origin, "samples": measured.rows},
        "warnings": [measured.warning] if measured.warning else [],
        "tokens": measured.tuned.tokens,
        "answered": len(measured.answers),
        "metrics": {name: finite(value) for name, value in measured.tuned_metrics.items()},
        "base": _base(measured),
        "answers": [_answer(each) for each in measured.answers],
    }


def _base(measured: Measured) -> dict[str, Any]:
    if measured.base is None:
        return {"compared": False, "reason": measured.no_base}
    return {
        "compared": True,
        "name": measured.base_model,
        "metrics": {name: finite(value) for name, value in measured.base_metrics.items()},
    }


def _answer(answered: Answered) -> dict[str, Any]:
    compared = (
        {"base": answered.base, "base_score": asdict(answered.base_score)} if answered.base_score else {}
    )
    return {
        "place": answered.place,
        "messages": [{"role": role, "content": content} for role, content in answered.messages],
        "reference": answered.reference,
        "tuned": answered.tuned,
        "tuned_score": asdict(answered.score),
        **compared,
    }


def _sections(measured: Measured) -> Iterable[Section]:
    yield Facts(
        {
            "Model": f"{measured.method} of {measured.base_model}, trained by {measured.config.source_job}",
            "Dataset": measured.config.dataset,
            "Split": f"{measured.config.split}: {measured.origin}",
            "Rows": f"{measured.rows:,}, with {measured.tuned.tokens:,} tokens that count",
            "Chat template": measured.template,
            "Base model": measured.no_base or measured.base_model,
            "Mind": measured.warning,
        }
    )
    yield _overview(measured)
    yield _answers(measured)


def _overview(measured: Measured) -> Table:
    tuned, base = measured.tuned_metrics, measured.base_metrics
    note = (
        f"Exact match and ROUGE-L are means over {counted(len(measured.answers), 'row')}, drawn by the"
        " training's seed and answered with the likeliest tokens; the other values count every row."
        if measured.answers
        else ""
    )
    names = [name for name in _WORDS if name in tuned]
    if not base:
        rows = [(_WORDS[name], tuned[name]) for name in names]
        return Table("Results", ("metric", "value"), rows, note=note)
    compared = [(_WORDS[name], base[name], tuned[name], f"{tuned[name] - base[name]:+.4f}") for name in names]
    return Table("Results", ("metric", "base model", "tuned model", "change"), compared, note=note)


def _answers(measured: Measured) -> Table:
    columns = ["prompt", "reference", "tuned model", "ROUGE-L"]
    rows: list[tuple[str | float, ...]] = [
        (_short(each.prompt), _short(each.reference), _short(each.tuned), each.score.rouge_l)
        for each in measured.answers
    ]
    if measured.base is not None:
        columns += ["base model", "ROUGE-L of the base"]
        rows = [
            (*row, _short(each.base), each.base_score.rouge_l if each.base_score else 0.0)
            for row, each in zip(rows, measured.answers, strict=True)
        ]
    return Table("Answers", columns, rows)


def _values(found: Evaluation, scores: Sequence[TextScore]) -> dict[str, float]:
    values = {"loss": found.loss, "perplexity": found.perplexity, "token_accuracy": found.token_accuracy}
    return values | asdict(mean(scores)) if scores else values


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
