"""`tuneyard datasets preview`: what it asks for, and what it shows."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.v1 import training_pb2
from tuneyard.v1.preview_pb2 import (
    Preview,
    PreviewNotice,
    PreviewRow,
    PreviewText,
    PreviewTotals,
    TokenBucket,
)
from tuneyard.v1.training_service_pb2 import PreviewResponse

Run = Callable[..., Any]

ROW = PreviewRow(
    path="train.jsonl",
    line=3,
    tokens=9,
    trained_tokens=2,
    cut_tokens=4,
    texts=[
        PreviewText(text="[user] hi", is_control=False),
        PreviewText(text=" hello", is_trained=True),
        PreviewText(text=" and more", is_cut=True),
    ],
)
PREVIEW = Preview(
    max_length=5,
    chat_template="chatml",
    end_token="<|im_end|>",
    row_count=4000,
    totals=PreviewTotals(
        rows=2000,
        kept_tokens=100,
        trained_tokens=25,
        cut_rows=7,
        cut_tokens=70,
        masked_rows=2,
        longest_tokens=90,
        histogram=[TokenBucket(up_to_tokens=16, rows=3), TokenBucket(rows=1)],
    ),
    rows=[ROW],
    notices=[PreviewNotice(code="chat_template_missing", message="The tokenizer brings no chat template.")],
)


@pytest.fixture(autouse=True)
def answered(gateway: FakeGateway) -> None:
    gateway.answer("Preview", PreviewResponse(preview=PREVIEW))


def test_options_become_the_spec(gateway: FakeGateway, run: Run) -> None:
    options = ("--max-length", 64, "--chat-template", "chatml", "--train-on", "all")
    run("datasets", "preview", "chats", "--base-model", "m", *options, "--first", 11, "--rows", 3)
    [request] = gateway.requests["Preview"]
    task = request.spec.language_model
    assert (request.spec.dataset, request.spec.base_model) == ("datasets/chats", "m")
    assert (task.max_length, task.chat_template, task.train_on) == (64, "chatml", training_pb2.TRAIN_ON_ALL)
    assert (request.split, request.first_row, request.max_rows) == ("train", 10, 3)


def test_the_length_is_left_to_the_server(gateway: FakeGateway, run: Run) -> None:
    run("datasets", "preview", "chats", "--base-model", "m")
    assert not gateway.requests["Preview"][0].spec.language_model.HasField("max_length")


def test_numbers_rows_and_notices_are_shown(run: Run) -> None:
    shown = run("datasets", "preview", "chats", "--base-model", "m").out
    for text in (
        "100, of which 25 are learned (25 %)",
        "7 rows, by 70 tokens in all",
        "2000 of them, drawn at random",
        "train.jsonl:3 9 tokens, 2 learned, 4 cut off",
        "[user] hi hello and more",
        "brings no chat template",
    ):
        assert text in shown


def test_the_answer_is_json_if_asked(run: Run) -> None:
    ran = run("datasets", "preview", "chats", "--base-model", "m", "--json")
    assert json.loads(ran.out)["rows"][0]["texts"][1] == {"text": " hello", "isTrained": True}


def test_another_word_for_what_is_learned_is_wrong_usage(run: Run) -> None:
    assert run("datasets", "preview", "chats", "--base-model", "m", "--train-on", "some").code == 2
