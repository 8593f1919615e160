"""A trainer of the fake family: `python -m tuneyard.trainer.fake`.

TUNEYARD_FAKE_FAMILY says which family it stands for: vision (the default), diffusion or llm.
"""

import os
from functools import partial

from tuneyard.trainer.app import serve
from tuneyard.trainer.config import load_config
from tuneyard.trainer.fake.estimate import ENTRY, METHODS, TASKS, base_models, estimate
from tuneyard.trainer.family import TrainerFamily

if __name__ == "__main__":
    config = load_config(os.environ.get("TUNEYARD_FAKE_FAMILY", "vision"))
    family, tasks = TASKS[config.family]
    models = partial(base_models, family, tasks)
    fake = TrainerFamily(
        family=family, entry=ENTRY, tasks=tasks, estimate=estimate, base_models=models, methods=METHODS
    )
    serve(fake, config)
