"""The language model trainer: `python -m tuneyard.llm`."""

from functools import partial

from tuneyard.llm.catalogue import base_models
from tuneyard.llm.estimate import estimate
from tuneyard.llm.timing import SPEEDS_FILE
from tuneyard.trainer.app import serve
from tuneyard.trainer.config import load_config
from tuneyard.trainer.family import TrainerFamily
from tuneyard.v1.training_pb2 import FAMILY_LLM, TASK_KIND_LANGUAGE_MODEL

if __name__ == "__main__":
    config = load_config("llm")
    llm = TrainerFamily(
        family=FAMILY_LLM,
        entry="tuneyard.llm.entry",
        tasks=(TASK_KIND_LANGUAGE_MODEL,),
        estimate=partial(estimate, offline=config.offline, speeds=config.data_dir / "cache" / SPEEDS_FILE),
        base_models=partial(base_models, offline=config.offline),
        methods=("GenerateText",),
        convert="tuneyard.llm.convert",
    )
    serve(llm, config)
