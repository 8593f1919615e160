"""Finished language models, asked by the inference service's requests: a conversation in, an answer out.

The conversation comes from anywhere: what is wrong with it is said of the turn that it is wrong with.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from tuneyard.datasets.jsonl_rules import Message
from tuneyard.datasets.words import counted
from tuneyard.llm.config import LanguageModelConfig, language_model_config
from tuneyard.llm.finished import FinishedLanguageModel, StoredModel, hub_base, load_finished
from tuneyard.llm.generation import Ending, context_length, stream
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.finished_model import Answerer, BadInput, FinishedModel, InferenceError
from tuneyard.trainer.offline import stay_offline
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1.trainer_service_pb2 import StartRunRequest

_DEFAULT_TOKENS, _DEFAULT_TEMPERATURE, _DEFAULT_TOP_P = 256, 0.7, 0.95
_SEED_BITS = 32
_REASONS: Final[dict[Ending, "pb.FinishReason.ValueType"]] = {
    "": pb.FINISH_REASON_UNSPECIFIED,
    "eos": pb.FINISH_REASON_END_OF_ANSWER,
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_MAX_NEW_TOKENS,
    "context": pb.FINISH_REASON_CONTEXT_FULL,
}


def open_model(model: FinishedModel) -> Answerer:
    """A finished fine-tuning's model. Raises InferenceError NOT_SUPPORTED, RecipeError."""
    torch.set_num_threads(model.cpu_threads)
    task = model.spec.training.WhichOneof("task")
    if task != "language_model":
        raise InferenceError("NOT_SUPPORTED", f"This trainer does not serve {task} models.")
    config = language_model_config(StartRunRequest(spec=model.spec))
    stored = StoredModel.read(model.dir)
    with _too_large("The model does not fit into the memory that is left."):
        loaded = load_finished(
            stored,
            config,
            lambda: base_folder(model, stored, config),
            device=torch.device(model.device),
        )
    return _Answers(loaded)


def base_folder(model: FinishedModel, stored: StoredModel, config: LanguageModelConfig) -> Path:
    """The base model's files: from the store, else from the hub or what is cached of it.

    Raises RecipeError BASE_MODEL_UNAVAILABLE.
    """
    folder = model.base() or hub_base(stored, config, model.cached)
    stored.require_base(model.base_sha256, name=config.base_model)
    stay_offline()
    return folder


class _Answers:
    def __init__(self, loaded: FinishedLanguageModel) -> None:
        self._loaded = loaded

    def answer(self, method: str, request: bytes, *, check: Callable[[], None]) -> Iterator[bytes]:
        if method != "GenerateText":
            text = f"A language model does not answer {method}: call GenerateText."
            raise InferenceError("NOT_SUPPORTED", text)
        question = pb.GenerateTextRequest.FromString(request)
        ids = self._prompt(question.messages)
        seed = question.seed if question.HasField("seed") else secrets.randbits(_SEED_BITS)
        yield from self._answer(self._loaded.model, question, ids, seed, check=check)
        if question.compare_with_base:
            with ExitStack() as held:
                with _too_large("The base model does not fit into memory beside the tuned one."):
                    base = held.enter_context(self._loaded.base())
                yield from self._answer(base, question, ids, seed, check=check, from_base=True)

    def _prompt(self, turns: Sequence[pb.ChatTurn]) -> list[int]:
        """The conversation in tokens, with room for an answer. Raises BadInput."""
        if faults := [(f"messages[{at}].{field}", text) for at, field, text in conversation_faults(turns)]:
            raise BadInput(faults)
        try:
            ids = self._loaded.template.prompt([Message(turn.role, turn.content) for turn in turns])
        except RecipeError as error:
            raise BadInput([("messages", error.message)]) from error
        limit = context_length(self._loaded.model)
        if limit is not None and len(ids) >= limit:
            length = counted(len(ids), "token")
            text = f"the conversation has {length}, and the model knows {limit} with its answer"
            raise BadInput([("messages", f"{text}: leave out earlier turns")])
        return ids

    def _answer(
        self,
        model: nn.Module,
        question: pb.GenerateTextRequest,
        ids: list[int],
        seed: int,
        *,
        check: Callable[[], None],
        from_base: bool = False,
    ) -> Iterator[bytes]:
        with self._loaded.computing():
            for piece in stream(
                model,
                self._loaded.tokenizer,
                ids,
                max_new_tokens=_given(question, "max_new_tokens", _DEFAULT_TOKENS),
                temperature=_given(question, "temperature", _DEFAULT_TEMPERATURE),
                top_p=_given(question, "top_p", _DEFAULT_TOP_P),
                seed=seed,
                stop=list(question.stop),
                ends=self._loaded.ends,
                check=check,
            ):
                response = pb.GenerateTextResponse(
                    text=piece.text, from_base=from_base, token_count=piece.tokens
                )
                if piece.ending:
                    response.done = True
                    response.finish_reason = _REASONS[piece.ending]
                    response.prompt_token_count = len(ids)
                    response.seed = seed
                yield response.SerializeToString()


@contextmanager
def _too_large(message: str) -> Iterator[None]:
    """Says of memory that runs out within it that the model is too large, whatever is asked."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()
        raise RecipeError(message, reason="OUT_OF_MEMORY") from error


def conversation_faults(turns: Sequence[pb.ChatTurn]) -> Iterator[tuple[int, str, str]]:
    """What keeps turns from being a conversation with an answer to come: position, field and a text."""
    expected = "user"
    for at, turn in enumerate(turns):
        if turn.role not in ("system", "user", "assistant"):
            yield at, "role", f"the role is system, user or assistant, not {turn.role!r}"
            return
        if turn.role == "system":
            if at:
                yield at, "role", "a turn of the system can only be the first"
        elif turn.role != expected:
            yield at, "role", f"the turns of user and assistant alternate: this one is the {expected}'s"
            return
        else:
            expected = "assistant" if expected == "user" else "user"
        if not turn.content.strip():
            yield at, "content", "the text is empty"
    if turns and turns[-1].role != "user":
        yield len(turns) - 1, "role", "the last turn is the user's: it is what is answered"


def _given(question: pb.GenerateTextRequest, field: Any, default: Any) -> Any:
    return getattr(question, field) if question.HasField(field) else default
