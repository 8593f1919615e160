"""A preview shows the very tokens that a run trains on."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.learnable_task import learnable_task
from tuneyard.llm import preview as previewing
from tuneyard.llm.data import prepare_data
from tuneyard.llm.preview import preview
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.preview_worker import PreviewInputs
from tuneyard.trainer.run import DatasetFiles
from tuneyard.v1 import job_pb2, preview_pb2, training_pb2
from tuneyard.v1.trainer_service_pb2 import TrainerServicePreviewRequest

Show = Callable[..., preview_pb2.Preview]


@pytest.fixture
def show(tiny_base: Path, tmp_path: Path) -> Show:
    """The preview of a dataset with the tiny base; keywords are fields."""

    def shown(files: DatasetFiles, *, max_length: int = 128, max_rows: int = 50, **fields: Any) -> Any:
        asked = {name: fields.pop(name) for name in ("split", "first_row") if name in fields}
        task = training_pb2.LanguageModel(max_length=max_length, **fields)
        spec = training_pb2.TrainingSpec(dataset="datasets/d", base_model="models/tiny", language_model=task)
        request = TrainerServicePreviewRequest(
            spec=job_pb2.JobSpec(training=spec), max_rows=max_rows, **{"split": "train", **asked}
        )

        def model_files(choose: Callable[[Collection[str]], Sequence[str]]) -> Path:
            wanted = choose({path.name for path in tiny_base.iterdir()})
            folder = tmp_path / "part"
            folder.mkdir(exist_ok=True)
            for name in wanted:
                (folder / name).write_bytes((tiny_base / name).read_bytes())
            return folder

        def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
            raise AssertionError("nothing is to be fetched")

        return preview(request, PreviewInputs(dataset=files, model_files=model_files, cached=cached))

    return shown


def parts(row: preview_pb2.PreviewRow, **which: bool) -> str:
    wanted = [
        part
        for part in row.texts
        if all(getattr(part, f"is_{name}") is is_so for name, is_so in which.items())
    ]
    return "".join(part.text for part in wanted)


def test_rows_are_shown_in_the_tokens_of_a_run(upload, configure, start, show, tiny_base) -> None:
    files = upload()
    tokenizer: Any = load_tokenizer(tiny_base)
    data = prepare_data(configure(), start(files), tokenizer)
    trained_on = {}
    for split in (data.train, data.validation):
        for sample in split:
            learned = tokenizer.decode(sample.ids[sample.trained].tolist())
            trained_on[tokenizer.decode(sample.ids.tolist())] = (
                learned,
                len(sample),
                int(sample.trained.sum()),
            )
    found = show(files)
    assert {
        parts(row): (parts(row, trained=True), row.tokens, row.trained_tokens) for row in found.rows
    } == trained_on
    assert [(row.path, row.line) for row in found.rows] == [("data.jsonl", line) for line in range(1, 25)]


def test_totals_are_those_of_a_runs_report(upload, configure, start, show, tiny_base) -> None:
    files = upload()
    data = prepare_data(configure(max_length=40), start(files), load_tokenizer(tiny_base))
    reports = (data.train.report, data.validation.report)
    totals = show(files, max_length=40).totals
    assert (totals.rows, totals.usable_rows) == (24, sum(each.usable for each in reports))
    assert totals.kept_tokens == sum(each.tokens_per_epoch for each in reports)
    assert totals.trained_tokens == sum(each.trained_tokens_per_epoch for each in reports)
    assert (totals.cut_rows, totals.cut_tokens) == (
        sum(each.truncated for each in reports),
        sum(each.cut_tokens for each in reports),
    )
    assert sum(bucket.rows for bucket in totals.histogram) == 24
    assert all(bucket.up_to_tokens for bucket in totals.histogram)


def test_what_is_beyond_the_length_is_shown_as_cut(upload, show) -> None:
    files = upload([{"instruction": "say it", "response": "one two three four five six seven"}])
    whole, cut = show(files).rows[0], show(files, max_length=16).rows[0]
    assert (whole.cut_tokens, cut.cut_tokens, cut.tokens) == (0, whole.tokens - 16, whole.tokens)
    assert parts(cut) == parts(whole)
    assert parts(cut, cut=True) and parts(whole).endswith(parts(cut, cut=True))
    assert not parts(cut, cut=True, trained=True)
    assert cut.trained_tokens < whole.trained_tokens


def test_a_row_that_loses_its_answer_is_counted_as_masked(upload, show) -> None:
    files = upload([{"instruction": "a b c d e f g h i j", "response": "x"}] * 2)
    totals = show(files, max_length=8).totals
    assert (totals.masked_rows, totals.usable_rows, totals.trained_tokens) == (2, 0, 0)


def test_rows_are_shown_page_by_page(upload, show) -> None:
    files = upload()
    page = show(files, first_row=22, max_rows=5)
    assert ([row.line for row in page.rows], page.row_count) == ([23, 24], 24)
    assert not show(files, first_row=99).rows


def test_all_tokens_but_the_first_are_trained_on_if_asked(upload, show) -> None:
    [row] = show(upload(), train_on=training_pb2.TRAIN_ON_ALL, max_rows=1).rows
    assert row.trained_tokens == row.tokens - 1


def test_a_split_that_the_dataset_does_not_bring_is_empty(upload, show) -> None:
    found = show(upload(), split="val")
    assert (found.row_count, len(found.rows), len(found.totals.histogram)) == (0, 0, 0)


def test_of_a_large_split_some_rows_are_measured(upload, show, monkeypatch) -> None:
    monkeypatch.setattr(previewing, "MEASURED_ROWS", 10)
    found = show(upload(), max_rows=2)
    assert (found.totals.rows, found.row_count, len(found.rows)) == (10, 24, 2)


def test_a_long_row_is_shortened(upload, show, monkeypatch) -> None:
    monkeypatch.setattr(previewing, "_SHOWN_CHARACTERS", 30)
    row = show(upload(learnable_task(24).train), max_rows=1).rows[0]
    assert (row.is_shortened, len(parts(row))) == (True, 30)


def test_a_template_that_is_not_there_is_refused_with_those_that_are(upload, show) -> None:
    with pytest.raises(RecipeError, match="no chat template 'none'") as failed:
        show(upload(), chat_template="none")
    assert failed.value.reason == "INVALID_FIELD"
    assert "chatml" in failed.value.remedies[0]


def test_a_template_that_does_not_suit_the_tokenizer_is_noticed(upload, show) -> None:
    found = show(upload(), chat_template="llama-3")
    assert found.chat_template == "llama-3"
    assert [notice.code for notice in found.notices] == ["control_tokens_missing"]
