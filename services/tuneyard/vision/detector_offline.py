"""The only door to ultralytics: it is imported here, silent and without any look-up, and nowhere else.

ultralytics reads its environment when it is first imported: it would ask name servers whether it is online,
send usage events, fetch fonts, install packages that a checkpoint names, and unpickle any object. Whoever
needs a part of it that is not listed here imports this module first.
"""

import contextlib
import importlib.util
import logging
import os
import tempfile
from pathlib import Path

from PIL import Image

_SETTINGS = {
    "sync": False,
    "clearml": False,
    "comet": False,
    "dvc": False,
    "mlflow": False,
    "raytune": False,
    "tensorboard": False,
    "wandb": False,
    "vscode_msg": False,
    "openvino_msg": False,
}


def _own_folder() -> Path:
    """A folder of this user's own for ultralytics' settings file and font."""
    folder = Path(tempfile.gettempdir()) / f"tuneyard-ultralytics-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        # Another user could have made a folder of this name: what lies in there must not be trusted.
        if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
            return folder
    return Path(tempfile.mkdtemp(prefix="tuneyard-ultralytics-"))


def _provide_font(folder: Path) -> None:
    """Puts matplotlib's font where ultralytics looks for its own, which it would fetch otherwise."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return
    font = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    target = folder / "Ultralytics"
    with contextlib.suppress(OSError):
        target.mkdir(exist_ok=True)
        for name in ("Arial.ttf", "Arial.Unicode.ttf"):
            with contextlib.suppress(FileExistsError):
                (target / name).symlink_to(font)


def _prepare() -> None:
    folder = _own_folder()
    _provide_font(folder)
    os.environ.update(
        YOLO_OFFLINE="1",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        YOLO_CONFIG_DIR=str(folder),
        ULTRALYTICS_SAFE_LOAD="1",
    )


_threads = os.environ.get("OMP_NUM_THREADS")
_open_image = Image.open
_prepare()

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.augment import Albumentations  # noqa: E402
from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.nn.modules import Detect  # noqa: E402
from ultralytics.nn.tasks import DetectionModel, torch_safe_load  # noqa: E402
from ultralytics.utils import DEFAULT_CFG, LOGGER, ROOT, SETTINGS, YAML  # noqa: E402
from ultralytics.utils.downloads import attempt_download_asset  # noqa: E402
from ultralytics.utils.metrics import ConfusionMatrix, DetMetrics, box_iou  # noqa: E402
from ultralytics.utils.nms import non_max_suppression  # noqa: E402
from ultralytics.utils.torch_utils import ModelEMA  # noqa: E402

LOGGER.setLevel(logging.CRITICAL)
# In this process only: ultralytics' own `update` would write them to its file, which other processes share.
dict.update(SETTINGS, _SETTINGS)
# Replaced by the import, for everybody: a file that is no image would then lack a package instead.
Image.open = _open_image
if _threads is None:
    # Set by the import, for every process that this one starts.
    os.environ.pop("OMP_NUM_THREADS", None)

__all__ = [
    "DEFAULT_CFG",
    "ROOT",
    "YAML",
    "Albumentations",
    "ConfusionMatrix",
    "DetMetrics",
    "Detect",
    "DetectionModel",
    "ModelEMA",
    "YOLODataset",
    "attempt_download_asset",
    "box_iou",
    "get_cfg",
    "non_max_suppression",
    "torch_safe_load",
]
