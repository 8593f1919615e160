"""What a merged model is tried on: a few of the job's held-out samples, else generated rows."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tuneyard.llm.merge_config import MergeConfig
from tuneyard.llm.proof_size import ROW_TOKENS, proof_row_count
from tuneyard.llm.splits import make_splits
from tuneyard.llm.templates import chat_template
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run

_SEED = 20


@dataclass(frozen=True)
class ProofRows:
    """Token ids, (rows, tokens), the shorter ones filled up behind: no token sees what comes after it."""

    ids: Tensor
    real: Tensor
    """Which of them are no filling."""
    source: str
    """Where they are from, for people."""

    @property
    def tokens(self) -> int:
        return int(self.real.sum())


def proof_rows(
    config: MergeConfig, run: Run, tokenizer: PreTrainedTokenizerBase, *, vocabulary: int, template: str
) -> ProofRows:
    """Rows of the job's own validation samples; `template` is the chat template's name in the manifest."""
    rows = proof_row_count(vocabulary)
    if config.dataset:
        try:
            samples = _held_out(config, run, tokenizer, template=template, rows=rows)
        except RecipeError as error:
            run.log(f"The held-out samples of {config.dataset} cannot be had ({error.message})")
        else:
            if samples:
                return _as_rows(samples, f"held-out samples of {config.dataset}")
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(vocabulary, (rows, ROW_TOKENS // 2), generator=generator)
    return ProofRows(ids, torch.ones_like(ids, dtype=torch.bool), "rows of random tokens")


def _held_out(
    config: MergeConfig, run: Run, tokenizer: PreTrainedTokenizerBase, *, template: str, rows: int
) -> list[list[int]]:
    examples = make_splits(config.source, run).validation
    order = examples.in_seeded_order(config.source.seed)[:rows].tolist()
    writer = chat_template(tokenizer, "" if template == "tokenizer" else template)
    encoded = writer.encode([examples[number] for number in order], train_on=config.source.train_on)
    found = [each.sample.ids[:ROW_TOKENS].tolist() for each in encoded]
    return [ids for ids in found if len(ids) > 1]


def _as_rows(samples: list[list[int]], source: str) -> ProofRows:
    width = max(map(len, samples))
    ids, real = torch.zeros(len(samples), width, dtype=torch.long), torch.zeros(len(samples), width).bool()
    for row, sample in enumerate(samples):
        ids[row, : len(sample)] = torch.tensor(sample)
        real[row, : len(sample)] = True
    return ProofRows(ids, real, source)
