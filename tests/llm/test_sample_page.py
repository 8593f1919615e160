"""What is shown is what the model gets."""

import re
from pathlib import Path

import numpy as np

from tests.support import chat_templates as shapes
from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.datasets.jsonl_tokens import Counted, TokenReport, measure
from tuneyard.llm.rows import Sample
from tuneyard.llm.sample_page import marked_text, runs, write_sample_page
from tuneyard.llm.templates import chat_template

MESSAGES = (Message("user", "How are you?"), Message("assistant", "Quite well, naïve 🦊."))


def sample(tokenizer: object) -> Sample:
    return chat_template(tokenizer).tokenize(Example("chat", MESSAGES, "train.jsonl", 1, "train")).sample


def lengths(*tokens: int) -> TokenReport:
    """What is known of samples of these lengths, of which the model reads 100 tokens."""
    examples = [Example("text", (), "train.jsonl", length, "train") for length in tokens]
    return measure(examples, lambda each: Counted(each.line, [(0, each.line)]), max_length_tokens=100)


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
        tmp_path / "page.html", shown, tokenizer, {"Chat template": "tokenizer"}, lengths=lengths(24)
    ).read_text()
    assert "train.jsonl:1" in page
    assert "<i>user\nHow are you?</i>" in page
    assert "<mark>Quite well, naïve 🦊.</mark>" in page


def test_the_page_shows_how_long_samples_are_and_what_is_cut(tmp_path: Path) -> None:
    tokenizer = shapes.byte_level_tokenizer(shapes.CHATML)
    page = write_sample_page(
        tmp_path / "page.html", [], tokenizer, {}, lengths=lengths(20, 24, 30, 120)
    ).read_text()
    bars = re.findall(r"<td>([0-9,]+ to [0-9,]+)</td><td class=number>(\d+)</td><td>(█*)</td>", page)
    assert [(name, int(count), len(bar)) for name, count, bar in bars] == [
        ("17 to 32", 3, 40),
        ("33 to 64", 0, 0),
        ("65 to 128", 1, 14),
    ]
    assert "longest training sample has 120 tokens; cut: 1, 20 tokens in all" in page
