import math

import numpy as np
import pytest
import torch

from tuneyard.llm import evaluation
from tuneyard.llm.base_model import load_base
from tuneyard.llm.evaluation import Evaluation, Evaluator
from tuneyard.llm.rows import Sample

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Of very different lengths; the first half of each is not trained on."""
    draw = np.random.default_rng(1)
    ids = [draw.integers(3, 500, size).astype(np.int32) for size in (5, 40, 12, 90, 7, 33, 60, 21)]
    return [Sample(row, np.arange(len(row)) >= len(row) // 2) for row in ids]


@pytest.fixture
def judge(samples, configure):
    """An evaluator of the samples; keywords change the settings."""

    def judged(**changes) -> Evaluator:
        return Evaluator(samples, configure(**changes), pad_token=0, precision="fp32", device=CPU)

    return judged


@pytest.fixture
def model(tiny_base, configure):
    return load_base(tiny_base, configure(), device=CPU, precision="fp32")


def never() -> bool:
    return False


def expected(model, samples) -> tuple[float, float]:
    """Loss and accuracy as they are defined: sample by sample, from the model's own logits."""
    losses, hits = [], []
    for sample in samples:
        ids = torch.from_numpy(sample.ids).long()
        with torch.no_grad():
            logits = model.eval()(input_ids=ids.unsqueeze(0)).logits[0, :-1]
        kept = torch.from_numpy(sample.trained[1:])
        losses.append(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")[kept])
        hits.append((logits.argmax(1) == ids[1:])[kept])
    return torch.cat(losses).mean().item(), torch.cat(hits).float().mean().item()


@pytest.mark.parametrize("packing", [True, False])
def test_the_loss_is_the_mean_over_all_trained_tokens(judge, model, samples, packing) -> None:
    found = judge(packing=packing).evaluate(model, should_stop=never)
    loss, accuracy = expected(model, samples)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.token_accuracy == pytest.approx(accuracy)
    assert found.tokens == sum(int(sample.trained.sum()) for sample in samples)
    assert found.metrics["eval/perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)


def test_a_split_is_packed_a_stretch_at_a_time(judge, model, monkeypatch) -> None:
    whole = judge().evaluate(model, should_stop=never)
    monkeypatch.setattr(evaluation, "_PACKED_AT_ONCE", 3)
    assert judge().evaluate(model, should_stop=never).loss == pytest.approx(whole.loss, rel=1e-6)


def test_micro_batches_that_do_not_fit_are_halved(judge, model, monkeypatch) -> None:
    whole = judge(batch_size=8, packing=False).evaluate(model, should_stop=never)
    healthy = evaluation.loss_sums

    def tight(model, rows, **settings):
        if len(rows) > 2:
            raise MemoryError
        return healthy(model, rows, **settings)

    monkeypatch.setattr(evaluation, "loss_sums", tight)
    found = judge(batch_size=8, packing=False).evaluate(model, should_stop=never)
    assert found.tokens == whole.tokens and found.loss == pytest.approx(whole.loss, rel=1e-5)


def test_an_evaluation_ends_where_it_is_asked_to(judge, model) -> None:
    asked = iter([False, True])
    assert judge(batch_size=1, packing=False).evaluate(model, should_stop=lambda: next(asked)) is None


def test_a_perplexity_that_is_no_float_is_infinite() -> None:
    assert Evaluation(1000.0, 0.0, 1).perplexity == math.inf
