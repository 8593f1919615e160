"""Generates text with a causal language model: greedy or sampled, streamed, or many prompts at once.

An own loop over the model's cache, since `generate` of transformers neither stops between two tokens nor
leaves torch's global random state alone, on which the resume of a training depends. What a model's
generation config says of sampling and penalties is not applied: only what the caller asks for.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from tuneyard.llm.text_stream import TextStream

Ending = Literal["", "eos", "stop", "length", "context"]


@dataclass(frozen=True)
class Piece:
    """The next whole characters of an answer."""

    text: str
    tokens: int
    """Generated so far, the one that ends the answer not counted."""
    ending: Ending = ""
    """Why the answer ends here; "" while it goes on."""


def stream(
    model: nn.Module,
    tokenizer: Any,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
    stop: Sequence[str] = (),
    ends: Collection[int] = (),
    check: Callable[[], None] = lambda: None,
) -> Iterator[Piece]:
    """The answer to a tokenized prompt; the last piece, and only it, has an `ending` and may lack text.

    Temperature 0 takes the likeliest token. The same seed gives the same answer on the same machine; None
    draws one. A stop text ends the answer before itself; so does a token of `ends`, or one that
    the model or the tokenizer names. `check` is called before each token and may raise.
    """
    text = TextStream(tokenizer, stop)
    ending = end_tokens(model, tokenizer).union(ends)
    pick = _Picker(temperature, top_p, seed)
    room = _room(model, len(ids))
    with answering(model):
        forward = _Forward(model)
        new = torch.tensor([list(ids)], dtype=torch.long, device=forward.device)
        for count in range(1, min(max_new_tokens, room) + 1):
            check()
            token = pick(forward(new)[0])
            if token in ending:
                yield Piece(text.rest(), count - 1, "eos")
                return
            piece = text.add(token)
            if text.is_stopped:
                yield Piece(piece, count, "stop")
                return
            if piece:
                yield Piece(piece, count)
            new = torch.tensor([[token]], device=forward.device)
        rest = text.rest()
        short: Ending = "length" if max_new_tokens <= room else "context"
        yield Piece(rest, min(max_new_tokens, room), "stop" if text.is_stopped else short)


def generate_batch(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    ends: Collection[int] = (),
    check: Callable[[], None] = lambda: None,
) -> list[str]:
    """The greedy answers to tokenized prompts, computed together: on a GPU hardly slower than one alone.

    In half precision an answer may differ from the one that `stream` gives to its prompt alone: sums are
    formed in another order.
    """
    ending = end_tokens(model, tokenizer).union(ends)
    texts = [TextStream(tokenizer, stop) for _ in prompts]
    answers = ["" for _ in prompts]
    room = [_room(model, len(ids)) for ids in prompts]
    going = {row for row, most in enumerate(room) if most > 0}
    with answering(model):
        forward = _Forward(model)
        new, mask = _left_padded(prompts, pad=_pad_token(tokenizer), device=forward.device)
        for count in range(1, max_new_tokens + 1):
            if not going:
                break
            check()
            tokens = forward(new, mask).argmax(dim=1)
            for row, token in enumerate(tokens.tolist()):
                if row not in going:
                    continue
                if token not in ending:
                    answers[row] += texts[row].add(token)
                if token in ending or texts[row].is_stopped or count == room[row]:
                    going.remove(row)
            new = tokens.unsqueeze(1)
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
    return [answer + text.rest() for answer, text in zip(answers, texts, strict=True)]


def end_tokens(model: nn.Module, tokenizer: Any) -> frozenset[int]:
    """What the generation config, the config or the tokenizer call the end of a sequence."""
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer):
        given = getattr(source, "eos_token_id", None)
        found.update([] if given is None else [given] if isinstance(given, int) else given)
    return frozenset(found)


def context_length(model: nn.Module) -> int | None:
    """The positions that the model knows, prompt and answer together; None where it names no limit."""
    config = cast(Any, model).config
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    limit = getattr(text_config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """The model without dropout, noise and checkpointing; afterwards each module is as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


class _Forward:
    """The logits of the next token; what went before is in the model's own cache."""

    def __init__(self, model: nn.Module) -> None:
        # A model with adapters holds them in its layers, and its wrapper hides what the forward takes.
        unwrap = getattr(model, "get_base_model", None)
        self._model = unwrap() if unwrap is not None else model
        takes = inspect.signature(self._model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._takes_positions = "position_ids" in takes
        self._cache: Any = None
        self._seen: Tensor | None = None
        self.device = next(self._model.parameters()).device

    # Not inference_mode: what is made meanwhile, such as rotary tables, may be needed in a backward pass.
    @torch.no_grad()
    def __call__(self, new: Tensor, mask: Tensor | None = None) -> Tensor:
        """Float32 logits (rows, vocabulary) after `new` (rows, n); `mask` covers everything up to there."""
        inputs: dict[str, Any] = {"input_ids": new, "past_key_values": self._cache, "use_cache": True}
        if self._seen is not None and self._cache is None:
            # A model without a cache reads all of it again.
            inputs["input_ids"] = torch.cat([self._seen, new], dim=1)
        self._seen = inputs["input_ids"] if self._cache is None else self._seen
        if mask is not None:
            inputs["attention_mask"] = mask
            if self._takes_positions:
                positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
                inputs["position_ids"] = positions[:, -inputs["input_ids"].shape[1] :]
        output = self._model(**inputs, **self._last_only)
        self._cache = getattr(output, "past_key_values", None)
        logits: Tensor = output.logits[:, -1].float()
        return logits


class _Picker:
    """Takes the next token from logits, with a random state of its own."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._random = torch.Generator()
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(seed)

    def __call__(self, logits: Tensor) -> int:
        if self._temperature == 0:
            return int(logits.argmax())
        # On the host, where the generator lives: a seed means the same with and without a GPU.
        logits = logits.double().cpu()
        likely, tokens = torch.softmax((logits - logits.max()) / self._temperature, dim=0).sort(
            descending=True, stable=True
        )
        before = likely.cumsum(dim=0) - likely
        likely = likely.masked_fill(before >= self._top_p, 0)
        reach = likely.cumsum(dim=0)
        drawn = torch.rand((), dtype=torch.double, generator=self._random) * reach[-1]
        place = int(torch.searchsorted(reach, drawn, right=True))
        return int(tokens[min(place, int((likely > 0).sum()) - 1)])


def _room(model: nn.Module, prompt_tokens: int) -> int:
    """Tokens that an answer may have at most."""
    limit = context_length(model)
    if not prompt_tokens:
        return 0
    return 2**31 if limit is None else max(0, limit - prompt_tokens)


def _pad_token(tokenizer: Any) -> int:
    return next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(t, int)), 0)


def _left_padded(
    prompts: Sequence[Sequence[int]], *, pad: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (prompts, longest prompt)."""
    width = max((len(ids) for ids in prompts), default=0)
    ids = [[pad] * (width - len(row)) + list(row) for row in prompts]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
