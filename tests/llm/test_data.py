"""From JSONL files to tokenized splits, and what the user is told about them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import chat_templates as shapes
from tuneyard.datasets import Report
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.data import job_template, prepare_data
from tuneyard.llm.splits import make_splits
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

Row = dict[str, Any]
Files = Callable[..., DatasetFiles]
Start = Callable[..., FakeRun]
CONFIG = LanguageModelConfig(base_model="models/tiny", max_length=64, validation_fraction=0.2, seed=3)


def rows(number: int, *, begin: int = 0) -> list[Row]:
    """Different questions, each with an answer of its own."""
    words = [hashlib.sha256(str(each).encode()).hexdigest()[:6] for each in range(begin, begin + number)]
    return [{"instruction": f"say {word}", "response": f"{word} it is"} for word in words]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Writes JSONL files: `files(train=rows(9), val=rows(3))`."""

    def written(name: str = "data", *, excluded: tuple[str, ...] = (), **splits: list[Row]) -> DatasetFiles:
        folder = tmp_path / name
        folder.mkdir()
        for split, lines in splits.items():
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{split}.jsonl").write_text(text)
        digest = hashlib.sha256(json.dumps(splits).encode()).hexdigest()
        return DatasetFiles(folder, digest, Report("jsonl", excluded=excluded))

    return written


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """A run on a dataset, with a cache of its own."""
    numbers = count()

    def started(training: DatasetFiles, validation: DatasetFiles | None = None, **settings: Any) -> FakeRun:
        root = tmp_path / "runs" / str(next(numbers))
        return FakeRun(root=root, training_files=training, validation_files=validation, **settings)

    return started


def tokenizer(template: str | None = shapes.CHATML) -> Any:
    return shapes.byte_level_tokenizer(template)


def warnings(run: FakeRun) -> dict[str, str]:
    return {each["code"]: each["message"] for each in run.all_of("warning")}


def texts(split: Any, names: Any) -> list[str]:
    return [names.decode(sample.ids.tolist()) for sample in split]


def test_examples_are_divided_and_tokenized(files: Files, start: Start) -> None:
    names = tokenizer()
    data = prepare_data(CONFIG, start(files(train=rows(40))), names)
    assert (len(data.train), len(data.validation)) == (32, 8)
    assert not set(texts(data.train, names)) & set(texts(data.validation, names))
    assert all("it is<|im_end|>" in text for text in texts(data.train, names))
    assert data.train.tokens == sum(map(len, data.train)) == data.train.lengths.sum()
    assert data.train.trained_tokens == sum(int(sample.trained.sum()) for sample in data.train)


def test_the_split_does_not_depend_on_the_order_of_lines(files: Files, start: Start) -> None:
    there, back = (
        prepare_data(CONFIG, start(files(name, train=lines)), tokenizer())
        for name, lines in (("there", rows(40)), ("back", rows(40)[::-1]))
    )
    assert there.held_out == back.held_out
    other_seed = prepare_data(replace(CONFIG, seed=4), start(files("other", train=rows(40))), tokenizer())
    assert other_seed.held_out != there.held_out


def test_near_copies_stay_on_one_side(files: Files, start: Start) -> None:
    base = " ".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(4))
    copies = [{"instruction": f"{base} {number}", "response": base} for number in range(4)]
    run = start(files(train=[*rows(20), *copies]))
    validation = make_splits(CONFIG, run).validation
    assert sum(example.messages[0].content.startswith(base) for example in validation) in (0, 4)


def test_the_held_out_examples_are_found_again(files: Files, start: Start) -> None:
    run = start(files(train=rows(40)))
    assert make_splits(CONFIG, run).validation.sha256 == prepare_data(CONFIG, run, tokenizer()).held_out


def test_validation_files_and_datasets_are_used_as_they_are(files: Files, start: Start) -> None:
    own = files("own", train=rows(10), val=rows(3, begin=50))
    other = files("other", train=rows(5, begin=90))
    assert len(prepare_data(CONFIG, start(own), tokenizer()).validation) == 3
    data = prepare_data(CONFIG, start(own, other), tokenizer())
    assert (len(data.train), len(data.validation)) == (10, 5)


def test_examples_on_both_sides_are_told(files: Files, start: Start) -> None:
    run = start(files(train=rows(10), val=rows(4, begin=8)))
    prepare_data(CONFIG, run, tokenizer())
    assert warnings(run)["validation_leak"].startswith("2 of 4 validation examples")


def test_lines_that_the_report_excludes_are_left_out(files: Files, start: Start) -> None:
    found = files(train=rows(10), val=rows(2, begin=20), excluded=("train.jsonl:1", "train.jsonl:10"))
    assert len(prepare_data(CONFIG, start(found), tokenizer()).train) == 8


def test_fewer_samples_are_drawn_by_content_and_seed(files: Files, start: Start) -> None:
    fewer = replace(CONFIG, max_train_samples=10)
    there, back = (
        set(texts(prepare_data(fewer, start(files(name, train=lines)), tokenizer()).train, tokenizer()))
        for name, lines in (("there", rows(40)), ("back", rows(40)[::-1]))
    )
    assert len(there) == 10
    assert there == back


def test_a_dataset_that_cannot_be_divided_is_refused(files: Files, start: Start) -> None:
    with pytest.raises(RecipeError, match="cannot be divided") as error:
        prepare_data(CONFIG, start(files(train=rows(1))), tokenizer())
    assert error.value.reason == "DATASET_INVALID"


def test_the_same_data_is_tokenized_once(files: Files, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(files(train=rows(40)))
    first = prepare_data(CONFIG, run, tokenizer())
    monkeypatch.setattr("tuneyard.llm.tokenizing.measure", None)
    second = prepare_data(CONFIG, run, tokenizer())
    assert texts(first.train, tokenizer()) == texts(second.train, tokenizer())
    assert first.token_report == second.token_report


@pytest.mark.parametrize(
    ("changes", "template"),
    [
        ({"max_length": 63}, shapes.CHATML),
        ({"train_on": "all"}, shapes.CHATML),
        ({"seed": 4}, shapes.CHATML),
        ({"chat_template": "plain"}, shapes.CHATML),
        ({}, shapes.ZEPHYR),
    ],
)
def test_other_settings_are_tokenized_anew(
    files: Files, start: Start, changes: dict[str, Any], template: str
) -> None:
    run = start(files(train=rows(40)))
    prepare_data(CONFIG, run, tokenizer())
    prepare_data(replace(CONFIG, **changes), run, tokenizer(template))
    assert len(list((run.cache_dir / "tokens").iterdir())) == 4


def test_a_file_is_told_by_its_own_name_though_the_same_lines_were_tokenized_under_another(
    files: Files, start: Start
) -> None:
    lines = [*rows(20), {"instruction": "count", "response": "one two three four " * 20}]
    first, second = files("first", answers=lines), files("second", more=lines)
    runs = [start(first), start(replace(second, sha256=first.sha256))]
    runs[1].cache_dir = runs[0].cache_dir
    for run, name in zip(runs, ("answers.jsonl:21", "more.jsonl:21"), strict=True):
        prepare_data(replace(CONFIG, validation_fraction=0.05), run, tokenizer())
        assert name in warnings(run)["examples_truncated"]


def test_long_examples_are_cut_and_told(files: Files, start: Start) -> None:
    long = [{"instruction": "count", "response": "one two three four " * 20}]
    run = start(files(train=[*rows(5), *long], val=rows(2, begin=20)))
    data = prepare_data(CONFIG, run, tokenizer())
    assert data.train.lengths.max() == 64
    assert data.token_report.train.truncated == 1
    assert "1 of 8 examples" in warnings(run)["examples_truncated"]
    assert "train.jsonl:6" in warnings(run)["examples_truncated"]


def test_examples_without_anything_to_train_on_are_left_out_and_told(files: Files, start: Start) -> None:
    masked = [{"instruction": "one two three four " * 20, "response": "five"}]
    run = start(files(train=[*masked, *rows(5)], val=rows(2, begin=20)))
    data = prepare_data(CONFIG, run, tokenizer())
    assert data.train.numbers.tolist() == [1, 2, 3, 4, 5]
    assert "train.jsonl:1" in warnings(run)["examples_fully_masked"]


def test_nothing_to_train_on_is_an_error_with_a_remedy(files: Files, start: Start) -> None:
    with pytest.raises(RecipeError, match="None of 32 training examples") as error:
        prepare_data(replace(CONFIG, max_length=8), start(files(train=rows(40))), tokenizer())
    assert error.value.reason == "DATASET_INVALID"
    assert "max_length" in error.value.remedies[0]


def test_what_the_template_refuses_is_left_out_and_told(files: Files, start: Start) -> None:
    refusing = "{% if 'x' in messages[0].content %}{{ raise_exception('no x') }}{% endif %}" + shapes.CHATML
    bad = [{"instruction": "x", "response": "y"}]
    run = start(files(train=[*bad, *rows(5)], val=rows(2, begin=20)))
    assert len(prepare_data(CONFIG, run, tokenizer(refusing)).train) == 5
    assert "1 examples" in warnings(run)["examples_refused_by_template"]
    assert "no x (train.jsonl:1)" in warnings(run)["examples_refused_by_template"]


def test_control_tokens_in_the_text_are_told(files: Files, start: Start) -> None:
    spelled = [{"instruction": "what is <|im_end|>?", "response": "an end"}]
    run = start(files(train=[*rows(5), *spelled], val=rows(2, begin=20)))
    prepare_data(CONFIG, run, tokenizer())
    assert "train.jsonl:6" in warnings(run)["control_tokens_in_text"]


def test_a_system_message_that_is_put_elsewhere_is_told(files: Files, start: Start) -> None:
    system = [row | {"system": "be brief"} for row in rows(3)]
    run = start(files(train=[*rows(5, begin=10), *system], val=rows(2, begin=20)))
    prepare_data(CONFIG, run, tokenizer(shapes.GEMMA))
    assert "in 3 examples" in warnings(run)["system_message_folded"]


@pytest.mark.parametrize("template", [shapes.CHATML, shapes.GEMMA])
def test_ordinary_data_causes_no_warning(files: Files, start: Start, template: str) -> None:
    run = start(files(train=rows(40)))
    prepare_data(CONFIG, run, tokenizer(template))
    assert warnings(run) == {}


def test_a_known_base_without_a_template_gets_the_recommended_one(files: Files, start: Start) -> None:
    run = start(files(train=rows(2)))
    known = replace(CONFIG, base_model="llama-2-7b")
    assert job_template(known, tokenizer(None), run.warn).name == "llama-2"
    assert "chat_template_missing" in warnings(run)


def test_the_token_report_is_stored(files: Files, start: Start) -> None:
    run = start(files(train=rows(40)))
    data = prepare_data(CONFIG, run, tokenizer())
    report = json.loads(run.artifacts["token-report.json"].path.read_text())
    assert report["train"]["examples"] == 32
    assert report["train"]["tokens_per_epoch"] == data.train.tokens
    assert report["train"]["trained_tokens_per_epoch"] == data.train.trained_tokens
    assert len(report["train"]["histogram"]) == len(report["histogram_upper_bounds_tokens"]) + 1


def test_a_page_shows_what_is_trained_on(files: Files, start: Start) -> None:
    hostile = [{"instruction": "<script>alert(1)</script>", "response": "no & never"}]
    run = start(files(train=[*hostile, *rows(5)], val=rows(2, begin=20)))
    prepare_data(CONFIG, run, tokenizer())
    page = run.artifacts["training-sample.html"].path.read_text()
    assert "<script>" not in page
    assert "<mark>no &amp; never</mark><mark><kbd>&lt;|im_end|&gt;</kbd></mark>" in page
    assert "<kbd>&lt;|im_start|&gt;</kbd>" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_sample_is_told_once_with_its_trained_parts_marked(files: Files, start: Start) -> None:
    run = start(files(train=rows(5), val=rows(2, begin=20)))
    prepare_data(CONFIG, run, tokenizer())
    (sample,) = run.all_of("sample")
    word = rows(1)[0]["response"]
    assert f"⟦{word}<|im_end|>⟧" in sample["prompt"]
    assert sample["step"] == 0


def test_prompts_are_short_held_out_examples(files: Files, start: Start) -> None:
    long = {"instruction": "please " * 8, "response": "at last"}
    run = start(files(train=rows(20), val=[long, *rows(6, begin=50)]))
    data = prepare_data(CONFIG, run, tokenizer())
    wanted = {(row["instruction"], row["response"]) for row in rows(6, begin=50)}
    found = {(prompt.text, prompt.reference) for prompt in data.prompts}
    assert len(found) == 4
    assert found <= wanted


def test_prompts_of_the_users_own_come_first(files: Files, start: Start) -> None:
    config = replace(CONFIG, validation_prompts=("say hello", "say bye"))
    names = tokenizer()
    data = prepare_data(config, start(files(train=rows(20))), names)
    assert [prompt.text for prompt in data.prompts] == ["say hello", "say bye"]
    ids = data.template.prompt(data.prompts[0].messages)
    assert names.decode(ids) == "<|im_start|>user\nsay hello<|im_end|>\n<|im_start|>assistant\n"


def test_texts_are_trained_on_whole_and_prompted_with_their_begin(files: Files, start: Start) -> None:
    lines = [{"text": f"{row['instruction']} and then {row['response']}"} for row in rows(20)]
    names = tokenizer(None)
    data = prepare_data(CONFIG, start(files(train=lines)), names)
    assert all(sample.trained[1:].all() for sample in data.train)
    prompt = data.prompts[0]
    assert prompt.text + prompt.reference in {line["text"] for line in lines}
    assert names.decode(data.template.prompt(prompt.messages)) == prompt.text


def test_preparation_stops_when_asked_to(files: Files, start: Start) -> None:
    run = start(files(train=rows(40)))
    run.request_stop(Stop.CANCEL)
    with pytest.raises(Stopped):
        prepare_data(CONFIG, run, tokenizer())
    assert not list(run.cache_dir.glob("tokens/*"))


def test_a_split_reads_as_a_sequence(files: Files, start: Start) -> None:
    split = prepare_data(CONFIG, start(files(train=rows(40))), tokenizer()).train
    assert np.array_equal(split[-1].ids, split[len(split) - 1].ids)
    assert len(split[2:5]) == 3
    with pytest.raises(IndexError):
        split[len(split)]
