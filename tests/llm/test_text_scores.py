import pytest

from tuneyard.llm.text_scores import TextScore, exact_match, mean, rouge_l, score_text


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        # As rouge_score 0.1.2 says, without a stemmer.
        ("the cat sat on the mat", "the cat was on the mat", 0.8333333333333334),
        ("It's a well-known snake_case, isn't it?", "a snake case", 0.4615384615384615),
        ("ran dog", "The dog ran home", 0.3333333333333333),
        ("nothing alike", "Quite another text", 0.0),
        ("", "Quite another text", 0.0),
    ],
)
def test_rouge_l_is_that_of_the_reference_implementation(
    answer: str, reference: str, expected: float
) -> None:
    assert rouge_l(answer, reference) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("Привет, мир", "привет мир", 1.0),
        ("東京です", "京都です", 0.75),
        ("Zoe\u0308", "zo\u00eb", 1.0),
        ("→", "→", 1.0),
        ("→", "←", 0.0),
    ],
)
def test_every_script_has_words(answer: str, reference: str, expected: float) -> None:
    assert rouge_l(answer, reference) == pytest.approx(expected)


def test_an_exact_match_overlooks_white_space_at_the_ends_alone() -> None:
    assert exact_match(" Paris\n", "Paris") == 1.0
    assert exact_match("paris", "Paris") == 0.0
    assert exact_match("New  York", "New York") == 0.0


def test_the_mean_counts_each_answer_once() -> None:
    scores = [score_text("a b", "a b"), score_text("x", "a b"), score_text("a", "a b")]
    found = mean(scores)
    assert found == TextScore(pytest.approx(1 / 3), pytest.approx((1 + 0 + 2 / 3) / 3))
