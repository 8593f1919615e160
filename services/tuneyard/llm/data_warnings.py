"""Tells the user what tokenizer, template and maximum length made of the examples, with counts and lines."""

from tuneyard.datasets import Code
from tuneyard.llm.token_cache import TokenizedSplit
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run

_LISTED = 3
_MUCH_CUT = 0.05
"""From this share of all tokens on, what is cut off is worth raising the maximum length."""


def warn_of_tokens(train: TokenizedSplit, validation: TokenizedSplit, run: Run, *, max_length: int) -> None:
    """One warning for each thing noticed, about both splits together."""
    splits = (train, validation)
    _warn_of_truncated(splits, run, max_length)
    _warn_of_masked(splits, run, max_length)
    _warn_of_noted(splits, run)


def refuse_nothing_to_train_on(train: TokenizedSplit, validation: TokenizedSplit, *, max_length: int) -> None:
    """Raises RecipeError DATASET_INVALID where a split has no sample left."""
    for name, split in (("training", train), ("validation", validation)):
        if len(split):
            continue
        refused = split.notes["counts"].get("refused", 0)
        seen = f"None of {split.report.examples + refused} {name} examples has a token to train on."
        remedies = [f"Raise max_length: it is {max_length} tokens; see token-report.json."]
        if refused:
            seen += f" The chat template refuses {refused} of them: {split.notes['refusal']}"
            remedies.insert(0, "Name a built-in template in language_model.chat_template.")
        raise RecipeError(seen, reason="DATASET_INVALID", remedies=tuple(remedies))


def _warn_of_truncated(splits: tuple[TokenizedSplit, ...], run: Run, max_length: int) -> None:
    truncated = sum(split.report.truncated for split in splits)
    if not truncated:
        return
    examples = sum(split.report.examples for split in splits)
    cut = sum(split.report.cut_tokens for split in splits)
    share = cut / max(1, sum(split.report.tokens for split in splits))
    longest = max(split.report.longest_tokens for split in splits)
    advice = f" Raise max_length to train on all of them: the longest has {longest} tokens."
    run.warn(
        "examples_truncated",
        f"{truncated} of {examples} examples are longer than {max_length} tokens and lose their ends, "
        f"{share:.1%} of all tokens: {_lines(splits, Code.EXAMPLE_TRUNCATED)}."
        + (advice if share >= _MUCH_CUT else ""),
    )


def _warn_of_masked(splits: tuple[TokenizedSplit, ...], run: Run, max_length: int) -> None:
    masked = sum(split.report.fully_masked for split in splits)
    if masked:
        run.warn(
            "examples_fully_masked",
            f"{masked} examples have nothing to train on within {max_length} tokens and are left out: "
            f"{_lines(splits, Code.EXAMPLE_FULLY_MASKED)}. Raise max_length, or shorten their prompts.",
        )


def _warn_of_noted(splits: tuple[TokenizedSplit, ...], run: Run) -> None:
    counts = {
        code: sum(split.notes["counts"].get(code, 0) for split in splits)
        for code in (
            "refused",
            "unproven",
            "system_folded",
            "control_tokens",
            "prompts_checked",
            "prompts_differ",
        )
    }
    if counts["refused"]:
        why = next(split.notes["refusal"] for split in splits if split.notes["refusal"])
        run.warn(
            "examples_refused_by_template",
            f"The chat template refuses {counts['refused']} examples, which are left out: {why} "
            f"({_places(splits, 'refused')})",
        )
    if counts["unproven"]:
        run.warn(
            "earlier_answers_not_trained_on",
            f"In {counts['unproven']} examples the chat template writes earlier answers differently once "
            f"others follow; only the last answer is trained on there: {_places(splits, 'unproven')}.",
        )
    if counts["system_folded"]:
        run.warn(
            "system_message_folded",
            f"The chat template takes no system message: in {counts['system_folded']} examples it is put "
            "before the first user's message. Do the same when you use the model.",
        )
    if counts["control_tokens"]:
        run.warn(
            "control_tokens_in_text",
            f"{counts['control_tokens']} examples spell a control token of the tokenizer in their text, "
            f"which the model reads as one: {_places(splits, 'control_tokens')}.",
        )
    if counts["prompts_differ"]:
        run.warn(
            "prompts_tokenized_differently",
            f"In {counts['prompts_differ']} of the first {counts['prompts_checked']} examples the end of the "
            "prompt becomes other tokens when an answer follows than when the model is asked. A chat "
            "template that ends its prompts with a control token or one line end avoids it.",
        )


def _lines(splits: tuple[TokenizedSplit, ...], code: Code) -> str:
    """The first lines that a code was found at: "train.jsonl:17, train.jsonl:30, …"."""
    places = [
        f"{finding.path}:{finding.line}"
        for split in splits
        for finding in split.report.findings
        if finding.code is code
    ]
    return _listed(places)


def _places(splits: tuple[TokenizedSplit, ...], code: str) -> str:
    return _listed([place for split in splits for place in split.notes["places"].get(code, [])])


def _listed(places: list[str]) -> str:
    return ", ".join(places[:_LISTED]) + (", …" if len(places) > _LISTED else "")
