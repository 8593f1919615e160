"""The chunked loss against the plain one: value and every gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tuneyard.llm.chunked_loss import Head, LogitCourse, chunked_loss
from tuneyard.llm.loss_chunks import chunk_tokens

TOKENS, WIDTH, VOCABULARY = 23, 16, 97
INDEX = torch.tensor([0, 1, 2, 5, 6, 9, 11, 12, 17, 21, 22])
COURSES = [LogitCourse(), LogitCourse(scale=0.25), LogitCourse(cap=2.0), LogitCourse(scale=3.0, cap=5.0)]


@pytest.fixture
def parts() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "hidden": torch.randn(TOKENS, WIDTH, generator=generator),
        "weight": torch.randn(VOCABULARY, WIDTH, generator=generator),
        "bias": torch.randn(VOCABULARY, generator=generator),
        "targets": torch.randint(VOCABULARY, (len(INDEX),), generator=generator),
    }


def plain_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, course: LogitCourse
) -> Tensor:
    logits = functional.linear(hidden[INDEX], weight, bias).float() * course.scale
    if course.cap is not None:
        logits = torch.tanh(logits / course.cap) * course.cap
    return functional.cross_entropy(logits, targets, reduction="sum")


def chunked(chunk: int, dtype: torch.dtype = torch.float32) -> Callable[..., Tensor]:
    def loss(
        hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, course: LogitCourse
    ) -> Tensor:
        head = Head(weight, bias, course)
        return chunked_loss(hidden, head, index=INDEX, targets=targets, dtype=dtype, chunk_tokens=chunk)[0]

    return loss


def gradients(
    loss: Callable[..., Tensor], parts: dict[str, Tensor], course: LogitCourse, *, factor: float = 1.0
) -> list[Tensor]:
    """The value, and its gradients by hidden states, weight and bias."""
    inputs = [parts[name].clone().requires_grad_() for name in ("hidden", "weight", "bias")]
    value = loss(*inputs, parts["targets"], course)
    return [value.detach(), *torch.autograd.grad(factor * value, inputs)]


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_value_and_gradients_are_those_of_full_logits(
    parts: dict[str, Tensor], course: LogitCourse, chunk: int
) -> None:
    expected = gradients(plain_loss, parts, course, factor=0.3)
    for ours, plain in zip(gradients(chunked(chunk), parts, course, factor=0.3), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_products_in_bf16_stay_close(parts: dict[str, Tensor]) -> None:
    expected = gradients(plain_loss, parts, LogitCourse())
    ours = gradients(chunked(4, torch.bfloat16), parts, LogitCourse())
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-2, atol=0)
    for mine, plain in zip(ours[1:], expected[1:], strict=True):
        assert torch.cosine_similarity(mine.flatten(), plain.flatten(), dim=0) > 0.999


def test_a_frozen_head_gets_no_gradient(parts: dict[str, Tensor]) -> None:
    hidden = parts["hidden"].clone().requires_grad_()
    chunked(4)(hidden, parts["weight"], None, parts["targets"], LogitCourse()).backward()
    assert hidden.grad is not None
    assert parts["weight"].grad is None


def test_positions_without_a_target_get_no_gradient(parts: dict[str, Tensor]) -> None:
    _, by_hidden, _, _ = gradients(chunked(4), parts, LogitCourse())
    silent = [place for place in range(TOKENS) if place not in INDEX.tolist()]
    assert by_hidden[silent].abs().max() == 0
    assert by_hidden[INDEX].abs().min() > 0


def test_first_choices_are_counted(parts: dict[str, Tensor]) -> None:
    head = Head(parts["weight"])
    first = functional.linear(parts["hidden"][INDEX], parts["weight"]).argmax(1)
    wanted = torch.where(torch.arange(len(INDEX)) < 4, first, (first + 1) % VOCABULARY)
    _, correct = chunked_loss(
        parts["hidden"], head, index=INDEX, targets=wanted, dtype=torch.float32, chunk_tokens=3
    )
    assert correct == 4


def test_hopeless_targets_have_a_finite_loss() -> None:
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [500.0]])
    loss, _ = chunked_loss(
        hidden, Head(weight), index=torch.tensor([0]), targets=torch.tensor([0]), dtype=torch.float32
    )
    assert loss == 500


def test_nothing_trained_is_no_loss(parts: dict[str, Tensor]) -> None:
    hidden = parts["hidden"].clone().requires_grad_()
    none = torch.empty(0, dtype=torch.int64)
    loss, correct = chunked_loss(hidden, Head(parts["weight"]), index=none, targets=none, dtype=torch.float32)
    loss.backward()
    assert (loss, correct) == (0, 0)
    assert hidden.grad is not None
    assert hidden.grad.abs().max() == 0


@pytest.mark.parametrize("on_cpu", [True, False])
def test_larger_vocabularies_have_smaller_chunks_that_are_worth_reading_the_head_for(on_cpu: bool) -> None:
    sizes = [chunk_tokens(words, on_cpu=on_cpu) for words in (1_000, 32_000, 128_000, 1_000_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] >= 64
    assert all(size % 64 == 0 for size in sizes)
