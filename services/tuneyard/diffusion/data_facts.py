"""What the estimate knows of a dataset before its images are read: the sizes of its splits."""

from dataclasses import dataclass

from tuneyard.v1 import trainer_service_pb2, training_pb2


@dataclass(frozen=True)
class DataFacts:
    """Images after the split and the subset, without class images."""

    train_samples: int
    validation_samples: int
    brings_validation: bool
    class_images: int = 0
    """Samples that they make: with the repeats of their folders."""
    repeats: float = 1.0
    """How often an epoch sees a training image, on average."""

    @property
    def images(self) -> int:
        """All that latents may be computed of."""
        return self.train_samples + self.validation_samples + self.class_images

    def samples_per_epoch(self, *, prior_preservation: bool) -> int:
        """What an epoch sees: about, where only some of the images of different folders are trained on."""
        seen = round(self.repeats * self.train_samples)
        return 2 * seen if prior_preservation and self.class_images else seen


def data_facts(
    resolved: training_pb2.TrainingSpec, dataset: trainer_service_pb2.DatasetSource
) -> DataFacts | None:
    """The facts, or None while the dataset is not validated."""
    splits = {facts.split: facts for facts in dataset.report.splits}
    if "train" not in splits:
        return None
    # An epoch's samples of a captioned dataset, by kind.
    seen = dict(splits["train"].samples_per_class)
    split, train = resolved.data_split, splits["train"].samples
    brings_validation = "val" in splits and splits["val"].samples > 0
    repeats = seen["instance"] / train if train and "instance" in seen else 1.0
    if split.validation_dataset:
        validation = 0
    elif brings_validation:
        validation = splits["val"].samples
    else:
        validation = min(max(round(split.validation_fraction * train), 1), train - 1) if train > 1 else 0
        train -= validation
    if split.HasField("max_train_samples"):
        train = min(train, split.max_train_samples)
    return DataFacts(train, validation, brings_validation, seen.get("class", 0), repeats)
