"""What the estimate knows of a dataset before it is tokenized: the sizes of its splits. Imports no torch."""

from dataclasses import dataclass

from tuneyard.v1 import trainer_service_pb2, training_pb2

_BYTES_PER_TOKEN = 4
"""Of English text and its JSON; a compressed upload, or other scripts, have other ratios."""
_FEWEST_TOKENS = 16


@dataclass(frozen=True)
class DataFacts:
    """Samples after the split and the subset."""

    train_samples: int
    validation_samples: int
    brings_validation: bool
    mean_tokens: int
    """Of a sample, by the dataset's size: a guess, good for times only."""


def data_facts(
    resolved: training_pb2.TrainingSpec, dataset: trainer_service_pb2.DatasetSource
) -> DataFacts | None:
    """The facts, or None while the dataset is not validated."""
    samples = {facts.split: facts.samples for facts in dataset.report.splits}
    if "train" not in samples:
        return None
    split, train, brings_validation = resolved.data_split, samples["train"], samples.get("val", 0) > 0
    if split.validation_dataset:
        validation = 0
    elif brings_validation:
        validation = samples["val"]
    else:
        validation = min(max(round(split.validation_fraction * train), 1), train - 1) if train > 1 else 0
        train -= validation
    if split.HasField("max_train_samples"):
        train = min(train, split.max_train_samples)
    guess = dataset.size_bytes // _BYTES_PER_TOKEN // max(1, sum(samples.values()))
    longest = resolved.language_model.max_length
    tokens = min(max(guess, _FEWEST_TOKENS), longest)
    return DataFacts(train, validation, brings_validation, tokens)
