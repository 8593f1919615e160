"""The text-to-image trainer: `python -m tuneyard.diffusion`."""

import os
from functools import partial

from tuneyard.diffusion.catalogue import base_models
from tuneyard.diffusion.estimate import estimate
from tuneyard.trainer.app import serve
from tuneyard.trainer.config import load_config
from tuneyard.trainer.family import TrainerFamily
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.trainer.speeds import SPEEDS_FILE
from tuneyard.v1.training_pb2 import FAMILY_DIFFUSION, TASK_KIND_TEXT_TO_IMAGE_LORA

if __name__ == "__main__":
    config = load_config("diffusion")
    cache = config.data_dir / "cache"
    places = HubPlaces.of(os.environ, trainer_cache=cache, offline=config.offline)
    diffusion = TrainerFamily(
        family=FAMILY_DIFFUSION,
        entry="tuneyard.diffusion.entry",
        tasks=(TASK_KIND_TEXT_TO_IMAGE_LORA,),
        estimate=partial(estimate, places=places, speeds=cache / SPEEDS_FILE),
        base_models=partial(base_models, places),
        methods=("GenerateImages",),
        convert="tuneyard.diffusion.convert",
    )
    serve(diffusion, config)
