"""Answers to a few held-out prompts at each evaluation, base beside tuned: what numbers do not show.

They change nothing in the training: greedy, with a random state of their own, and bounded in length and time.
"""

import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from tuneyard.llm.generation import end_tokens, stream
from tuneyard.trainer.errors import Stop, Stopped
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.trainer.run import Run

MAX_NEW_TOKENS = 64
"""Of an answer; a longer one ends in "…"."""
_SECONDS = 20.0
"""For all answers of one evaluation together."""


def answer_all(
    model: nn.Module, tokenizer: Any, prompts: Sequence[Sequence[int]], *, step: int, run: Run
) -> list[str]:
    """The model's answers to tokenized prompts, in their order; what time or memory left no room for is cut.

    Raises Stopped where the run is cancelled; a pause waits for them, since they are short.
    """
    deadline = time.monotonic() + _SECONDS
    answers = []
    for ids in prompts:
        try:
            answers.append(_answer(model, tokenizer, ids, deadline=deadline, step=step, run=run))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            run.warn("no_room_to_answer", "Some held-out prompts are not answered: memory does not suffice.")
            answers.append("")
            free_memory()
    return answers


def end_answers_with(model: Any, tokenizer: Any, token: str) -> None:
    """Makes a model end its answers with the chat template's token too, where that is not its own already.

    A model that was trained on a template of ours learns to write its token, and would go on behind it.
    """
    number = tokenizer.get_vocab().get(token)
    known = end_tokens(model, tokenizer)
    if number is not None and number not in known and model.generation_config is not None:
        model.generation_config.eos_token_id = [*sorted(known), number]


def _answer(
    model: nn.Module, tokenizer: Any, ids: Sequence[int], *, deadline: float, step: int, run: Run
) -> str:
    def check() -> None:
        if run.stop_requested() is Stop.CANCEL:
            raise Stopped(Stop.CANCEL, step)

    answer = ""
    for piece in stream(model, tokenizer, ids, max_new_tokens=MAX_NEW_TOKENS, check=check):
        answer += piece.text
        if piece.ending == "length" or (not piece.ending and time.monotonic() > deadline):
            return f"{answer}…"
    return answer
