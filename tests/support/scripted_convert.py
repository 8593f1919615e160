"""A family's `convert` that does what the file "script" among the received files says."""

import os
import time

from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError


def convert(files: ModelFiles) -> Converted:
    """Copies the file, fails, crashes, or hangs."""
    match (files.source / "script").read_text():
        case "refuse":
            raise RecipeError(
                "these are no weights", reason="BASE_MODEL_UNAVAILABLE", remedies=("Try others.",)
            )
        case "refuse kind":
            raise RecipeError("models of this kind are not taken", reason="NOT_SUPPORTED")
        case "crash":
            os.abort()
        case "hang":
            (files.result.parent / "pid").write_text(str(os.getpid()))
            time.sleep(600)
        case text:
            (files.result / "copy").write_text(text)
    return Converted(
        architecture=files.architecture or "told", detail="a copy", tasks=("image_classifier",), revision="r1"
    )
