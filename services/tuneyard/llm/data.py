"""A fine-tuning's data from the dataset's files to tokenized splits, and what the user is told about it.

Here the stages are put together and everything noticed is reported; each stage has a module of its own.
"""

from dataclasses import dataclass
from typing import Any

from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.datasets.jsonl_tokens import BUCKETS_TOKENS, TokenReport
from tuneyard.llm.catalogue import find
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.data_warnings import refuse_nothing_to_train_on, warn_of_tokens
from tuneyard.llm.sample_page import marked_text, write_sample_page
from tuneyard.llm.splits import Splits, make_splits
from tuneyard.llm.templates import ChatTemplate, Warn, chat_template
from tuneyard.llm.token_cache import TokenizedSplit, report_to_json
from tuneyard.llm.tokenizing import fingerprint, tokenize_split
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run

MAX_PROMPTS = 4
_CANDIDATES = 32
_SHOWN_SAMPLES = 6
_TEXT_PROMPT_WORDS, _REFERENCE_CHARACTERS = 32, 2000


@dataclass(frozen=True)
class HeldOutPrompt:
    """A conversation up to the user's last message, or the begin of a text, to be answered while training."""

    messages: tuple[Message, ...]
    reference: str = ""
    """What the dataset answers; "" for a prompt of the user's own."""

    @property
    def text(self) -> str:
        """For people."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n".join(f"{role}: {content}" for role, content in self.messages)


@dataclass(frozen=True)
class TokenReports:
    """What tokenizer, template and length make of both splits."""

    train: TokenReport
    validation: TokenReport


@dataclass(frozen=True)
class LanguageData:
    """Everything that a fine-tuning learns from and is measured on."""

    train: TokenizedSplit
    validation: TokenizedSplit
    prompts: tuple[HeldOutPrompt, ...]
    token_report: TokenReports
    template: ChatTemplate
    held_out: str
    """A hash of what the held-out examples say; see `Examples.sha256`."""


def prepare_data(config: LanguageModelConfig, run: Run, tokenizer: Any) -> LanguageData:
    """Splits, tokenizes or finds what was tokenized before, and tells what came of it.

    Stores the artifacts token-report.json and training-sample.html. Raises RecipeError: DATASET_INVALID where
    nothing is left to train on, INVALID_FIELD for a chat template that cannot be used; and Stopped.
    """
    template = job_template(config, tokenizer, run.warn)
    with run.stage("split_dataset"):
        splits = make_splits(config, run)
    tokenizer_fingerprint = fingerprint(tokenizer)
    train, validation = (
        tokenize_split(
            examples,
            template,
            tokenizer_fingerprint=tokenizer_fingerprint,
            train_on=config.train_on,
            max_length=config.max_length,
            name=name,
            run=run,
        )
        for name, examples in (("training", splits.train), ("validation", splits.validation))
    )
    _save_report(config, template, train, validation, run)
    warn_of_tokens(train, validation, run, max_length=config.max_length)
    refuse_nothing_to_train_on(train, validation, max_length=config.max_length)
    _show_samples(config, template, splits, train, tokenizer=tokenizer, run=run)
    return LanguageData(
        train=train,
        validation=validation,
        prompts=_prompts(config, splits, validation),
        token_report=TokenReports(train.report, validation.report),
        template=template,
        held_out=splits.validation.sha256,
    )


def job_template(config: LanguageModelConfig, tokenizer: Any, warn: Warn) -> ChatTemplate:
    """The chat template of a job, with a warning for each thing about it that a user should know."""
    known = find(config.base_model)
    return chat_template(
        tokenizer, config.chat_template, recommended=known.chat_template if known else "", warn=warn
    )


def _prompts(
    config: LanguageModelConfig, splits: Splits, validation: TokenizedSplit
) -> tuple[HeldOutPrompt, ...]:
    """The user's own prompts, or those of a few held-out examples: drawn by the seed, short ones first."""
    if config.validation_prompts:
        role = "text" if splits.train[0].kind == "text" else "user"
        return tuple(HeldOutPrompt((Message(role, prompt),)) for prompt in config.validation_prompts)
    lengths = dict(zip(validation.numbers.tolist(), validation.lengths.tolist(), strict=True))
    drawn = [
        number for number in splits.validation.in_seeded_order(config.seed).tolist() if number in lengths
    ][:_CANDIDATES]
    found: dict[tuple[Message, ...], HeldOutPrompt] = {}
    for number in sorted(drawn, key=lengths.__getitem__):
        prompt = held_out_prompt(splits.validation[number])
        found.setdefault(prompt.messages, prompt)
    return tuple(found.values())[:MAX_PROMPTS]


def held_out_prompt(example: Example) -> HeldOutPrompt:
    """An example's prompt, with its last answer as the reference; of a text the first words."""
    if example.kind == "chat":
        return HeldOutPrompt(example.messages[:-1], example.messages[-1].content)
    text = example.messages[0].content
    words = text.split(" ")
    kept = min(_TEXT_PROMPT_WORDS, max(1, len(words) // 2))
    begin = " ".join(words[:kept])
    return HeldOutPrompt((Message("text", begin),), text[len(begin) :][:_REFERENCE_CHARACTERS])


def _save_report(
    config: LanguageModelConfig,
    template: ChatTemplate,
    train: TokenizedSplit,
    validation: TokenizedSplit,
    run: Run,
) -> None:
    content = {
        "max_length_tokens": config.max_length,
        "chat_template": template.name,
        "train_on": config.train_on,
        "histogram_upper_bounds_tokens": BUCKETS_TOKENS,
        "train": report_to_json(train.report) | {"noticed": dict(train.notes)},
        "validation": report_to_json(validation.report) | {"noticed": dict(validation.notes)},
    }
    save_json(
        run,
        "token-report.json",
        content,
        kind=ArtifactKind.REPORT,
        description="Lengths in tokens, what is cut off and what is left out",
    )


def _show_samples(
    config: LanguageModelConfig,
    template: ChatTemplate,
    splits: Splits,
    train: TokenizedSplit,
    *,
    tokenizer: Any,
    run: Run,
) -> None:
    step = max(1, len(train) // _SHOWN_SAMPLES)
    positions = range(0, len(train), step)[:_SHOWN_SAMPLES]
    shown = [(_place(splits.train[int(train.numbers[each])]), train[each]) for each in positions]
    facts = {
        "Base model": config.base_model,
        "Chat template": "the tokenizer's own" if template.name == "tokenizer" else template.name,
        "An answer ends with": template.end_token,
        "Trained on": "the assistant's turns" if config.train_on == "assistant" else "every token",
        "Maximum length": f"{config.max_length} tokens",
        "Training samples": f"{len(train):,} of {train.tokens:,} tokens, {train.trained_tokens:,} trained on",
    }
    path = write_sample_page(
        run.work_dir / "training-sample.html", shown, tokenizer, facts, lengths=train.report
    )
    run.save_artifact(
        path,
        name=path.name,
        kind=ArtifactKind.REPORT,
        media_type="text/html",
        description="What the model reads and what it learns to write, decoded and coloured",
    )
    if run.checkpoint() is None:
        title = "What is trained on: the parts in ⟦ ⟧"
        run.sample_text(title=title, step=0, prompt=marked_text(shown[0][1], tokenizer), tuned="")


def _place(example: Example) -> str:
    return f"{example.path}:{example.line}"
