"""What is shown is what the model gets."""

from pathlib import Path

import numpy as np

from tests.support import chat_templates as shapes
from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.llm.rows import Sample
from tuneyard.llm.sample_page import marked_text, runs, write_sample_page
from tuneyard.llm.templates import chat_template

MESSAGES = (Message("user", "How are you?"), Message("assistant", "Quite well, naïve 🦊."))


def sample(tokenizer: object) -> Sample:
    return chat_template(tokenizer).tokenize(Example("chat", MESSAGES, "train.jsonl", 1, "train")).sample


def test_the_runs_are_the_whole_text_in_parts() -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.CHATML)
    found = runs(sample(tokenizer), tokenizer)
    assert [run.text for run in found if run.trained] == ["Quite well, naïve 🦊.", "<|im_end|>"]
    assert [run.text for run in found if run.control] == ["<|im_start|>", "<|im_end|>"] * 2
    assert "".join(run.text for run in found) == tokenizer.decode(sample(tokenizer).ids.tolist())


def test_spaces_between_runs_are_kept() -> None:
    tokenizer = shapes.sentence_piece_tokenizer(shapes.LLAMA_2)
    assert "[/INST]⟦ Quite well" in marked_text(sample(tokenizer), tokenizer)


def test_a_long_sample_is_shown_up_to_a_bound() -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.CHATML)
    long = Sample(np.full(9000, 300, dtype=np.int32), np.ones(9000, dtype=np.bool_))
    text = marked_text(long, tokenizer)
    assert text.startswith("⟦")
    assert text.endswith("…⟧")
    assert len(text) < 2100


def test_the_page_has_each_sample_with_its_place(tmp_path: Path) -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.CHATML)
    shown = [("train.jsonl:1", sample(tokenizer))]
    page = write_sample_page(
        tmp_path / "page.html", shown, tokenizer, {"Chat template": "tokenizer"}
    ).read_text()
    assert "train.jsonl:1" in page
    assert "<i>user\nHow are you?</i>" in page
    assert "<mark>Quite well, naïve 🦊.</mark>" in page
