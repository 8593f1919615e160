"""Takes to import until the file exists that SCRIPTED_IMPORTED names, as a large library takes its time."""

import os
import time
from pathlib import Path

while not Path(os.environ["SCRIPTED_IMPORTED"]).exists():
    time.sleep(0.01)
