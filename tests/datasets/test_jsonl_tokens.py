"""What a tokenizer makes of examples: lengths, what is cut, and what is left to train on."""

from tuneyard.datasets import Code, Severity
from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.datasets.jsonl_tokens import BUCKETS_TOKENS, Counted, by_message, measure, spans


def example(line: int, *contents: str) -> Example:
    messages = tuple(Message(("user", "assistant")[number % 2], text) for number, text in enumerate(contents))
    return Example("chat", messages, "train.jsonl", line, "train")


WORDS = by_message(lambda text: len(text.split()), overhead_tokens=1)


def test_messages_are_counted_with_what_a_template_adds() -> None:
    assert WORDS(example(1, "a b c", "d e")) == Counted(7, [(5, 7)])
    assert WORDS(example(1, "a", "b", "c", "d")) == Counted(8, [(3, 4), (7, 8)])


def test_an_epoch_is_counted_after_cutting() -> None:
    long = example(2, "a " * 10, "b " * 30)
    report = measure([example(1, "a b", "c"), long], WORDS, max_length_tokens=20)
    assert (report.tokens, report.tokens_per_epoch, report.longest_tokens) == (5 + 42, 5 + 20, 42)
    assert (report.truncated, report.cut_tokens) == (1, 22)
    assert report.trained_tokens_per_epoch == 1 + (20 - 12)
    assert [(each.code, each.path, each.line) for each in report.findings] == [
        (Code.EXAMPLE_TRUNCATED, "train.jsonl", 2)
    ]
    assert "42 tokens; 22 of them" in report.findings[0].message


def test_an_example_whose_response_lies_beyond_the_length_is_fully_masked() -> None:
    masked: list[int] = []
    examples = [example(1, "a", "b"), example(2, "a " * 30, "b c")]
    report = measure(examples, WORDS, max_length_tokens=20, on_masked=masked.append)
    assert (report.examples, report.usable, report.fully_masked, masked) == (2, 1, 1, [1])
    assert report.tokens_per_epoch == 4
    assert report.counts == {"EXAMPLE_FULLY_MASKED": 1} and report.findings[0].line == 2


def test_a_response_that_begins_at_the_last_token_is_not_masked() -> None:
    assert measure([example(1, "a b", "c d")], WORDS, max_length_tokens=5).trained_tokens_per_epoch == 1
    assert measure([example(1, "a b", "c d")], WORDS, max_length_tokens=4).fully_masked == 1


def test_when_nothing_is_left_to_train_on_that_is_an_error() -> None:
    report = measure([example(1, "a " * 30, "b")] * 3, WORDS, max_length_tokens=20)
    assert report.findings[0].code is Code.NOTHING_TO_TRAIN_ON
    assert report.findings[0].severity is Severity.ERROR


def test_the_histogram_counts_every_example_once() -> None:
    lengths = [1, 16, 17, 131072, 131073]
    report = measure(
        [example(number, "x") for number in lengths],
        lambda each: Counted(each.line, [(0, 1)]),
        max_length_tokens=1 << 20,
    )
    assert sum(report.histogram) == 5 and len(report.histogram) == len(BUCKETS_TOKENS) + 1
    assert (report.histogram[0], report.histogram[1], report.histogram[-2:]) == (2, 1, (1, 1))


def test_no_examples_are_no_error() -> None:
    assert measure([], WORDS, max_length_tokens=8).findings == ()


def test_masks_become_runs() -> None:
    assert spans([0, 1, 1, 0, 1]) == [(1, 3), (4, 5)]
    assert spans([]) == spans([0, 0]) == []
    assert spans([True]) == [(0, 1)]
