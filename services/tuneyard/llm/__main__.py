"""The language model trainer: `python -m tuneyard.llm`."""

import os
from functools import partial

from tuneyard.llm.catalogue import base_models
from tuneyard.llm.estimate import estimate
from tuneyard.trainer.app import serve
from tuneyard.trainer.config import load_config
from tuneyard.trainer.family import TrainerFamily
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.trainer.speeds import SPEEDS_FILE
from tuneyard.v1.training_pb2 import FAMILY_LLM, TASK_KIND_LANGUAGE_MODEL

if __name__ == "__main__":
    config = load_config("llm")
    cache = config.data_dir / "cache"
    places = HubPlaces.of(os.environ, trainer_cache=cache, offline=config.offline)
    llm = TrainerFamily(
        family=FAMILY_LLM,
        entry="tuneyard.llm.entry",
        tasks=(TASK_KIND_LANGUAGE_MODEL,),
        estimate=partial(estimate, places=places, speeds=cache / SPEEDS_FILE),
        base_models=partial(base_models, places),
        methods=("GenerateText",),
        previews=True,
        convert="tuneyard.llm.convert",
    )
    serve(llm, config)
