"""What the estimate knows of a dataset before its images are read: the sizes of its splits."""

from dataclasses import dataclass

from tuneyard.v1 import dataset_pb2, trainer_service_pb2, training_pb2


@dataclass(frozen=True)
class DataFacts:
    """Images after the split and the subset, without class images."""

    train_samples: int
    validation_samples: int
    brings_validation: bool
    class_images: int

    def samples_per_epoch(self, *, prior_preservation: bool) -> int:
        """What an epoch sees, but for repeats of folders, which the report does not tell."""
        return 2 * self.train_samples if prior_preservation and self.class_images else self.train_samples


def format_word(format: "dataset_pb2.DatasetFormat.ValueType") -> str:
    """A dataset's format as people write it: "captioned-images"."""
    name = dataset_pb2.DatasetFormat.Name(format)
    return name.removeprefix("DATASET_FORMAT_").lower().replace("_", "-")


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
    return DataFacts(train, validation, brings_validation, dataset.report.counts.get("class_images", 0))
