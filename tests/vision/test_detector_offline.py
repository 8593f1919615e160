"""ultralytics asks nobody anything: neither when it is imported nor when a detector is trained."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

import tuneyard.vision.detector_offline
from tuneyard.vision.detector_offline import SETTINGS

SOURCES = Path(tuneyard.vision.detector_offline.__file__).parent

GUARDED = """
import os, sys
for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "OMP_NUM_THREADS"):
    os.environ.pop(name, None)
def refuse(event, details):
    # ctypes looks for libraries that way.
    harmless = event == "subprocess.Popen" and details[0] == "/sbin/ldconfig"
    if not harmless and event in ("socket.getaddrinfo", "socket.connect", "subprocess.Popen", "os.system"):
        print(event, details, file=sys.stderr)
        os._exit(3)
sys.addaudithook(refuse)
from tuneyard.vision import detector, detector_model
detector_model.build("yolov8n", ["a"])
assert "OMP_NUM_THREADS" not in os.environ
"""


def test_neither_the_import_nor_a_network_asks_the_net_or_starts_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GUARDED], capture_output=True, text=True, timeout=90, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "" and ran.stderr == ""


def test_ultralytics_is_imported_through_one_door() -> None:
    direct = {
        path.name
        for path in SOURCES.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ultralytics"))
        or (isinstance(node, ast.Import) and any(name.name.startswith("ultralytics") for name in node.names))
    }
    through = {name for name in direct if "detector_offline" in (SOURCES / name).read_text()}
    assert direct - through <= {"detector_offline.py"}


def test_a_file_that_is_no_image_is_still_called_so(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no image")
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "broken.jpg")


def test_no_integration_is_on() -> None:
    kinds = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
    assert not any(SETTINGS[kind] for kind in kinds)
