"""The vision trainer: `python -m tuneyard.vision`."""

from tuneyard.trainer.app import serve
from tuneyard.trainer.config import load_config
from tuneyard.trainer.family import TrainerFamily
from tuneyard.v1.training_pb2 import FAMILY_VISION, TASK_KIND_IMAGE_CLASSIFIER
from tuneyard.vision.catalogue import base_models
from tuneyard.vision.estimate import estimate

if __name__ == "__main__":
    vision = TrainerFamily(
        family=FAMILY_VISION,
        entry="tuneyard.vision.entry",
        tasks=(TASK_KIND_IMAGE_CLASSIFIER,),
        estimate=estimate,
        base_models=base_models,
        methods=("Classify", "Detect"),
    )
    serve(vision, load_config("vision"))
