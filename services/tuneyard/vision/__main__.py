"""The vision trainer: `python -m tuneyard.vision`."""

import os
from functools import partial

from tuneyard.trainer.app import serve
from tuneyard.trainer.config import load_config
from tuneyard.trainer.family import TrainerFamily
from tuneyard.trainer.speeds import SPEEDS_FILE
from tuneyard.v1.training_pb2 import (
    FAMILY_VISION,
    TASK_KIND_IMAGE_CLASSIFIER,
    TASK_KIND_OBJECT_DETECTOR,
)
from tuneyard.vision.catalogue import base_models
from tuneyard.vision.detector_architectures import HAS_DETECTORS
from tuneyard.vision.estimate import estimate
from tuneyard.vision.weight_places import WeightPlaces

if __name__ == "__main__":
    config = load_config("vision")
    cache = config.data_dir / "cache"
    places = WeightPlaces.of(os.environ, trainer_cache=cache, offline=config.offline)
    vision = TrainerFamily(
        family=FAMILY_VISION,
        entry="tuneyard.vision.entry",
        tasks=(TASK_KIND_IMAGE_CLASSIFIER, *([TASK_KIND_OBJECT_DETECTOR] if HAS_DETECTORS else [])),
        estimate=partial(estimate, places=places, speeds=cache / SPEEDS_FILE),
        base_models=partial(base_models, places),
        methods=("Classify", *(["Detect"] if HAS_DETECTORS else [])),
        convert="tuneyard.vision.convert",
    )
    serve(vision, config)
