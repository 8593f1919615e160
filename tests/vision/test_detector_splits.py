from dataclasses import replace
from pathlib import Path

from tests.support.shapes import write_shapes
from tuneyard.datasets import check
from tuneyard.trainer.run import DatasetFiles
from tuneyard.vision.detector_splits import make_splits


def test_near_copies_stay_on_one_side_of_an_automatic_split(tmp_path: Path, configure_detector) -> None:
    root = write_shapes(tmp_path, train=20, val=0)
    report = check(root, format="yolo")
    paths = sorted(f"images/train/{file.name}" for file in (root / "images" / "train").iterdir())
    alike = set(paths[::2])
    groups = tuple(0 if path in alike else number for number, path in enumerate(paths, start=1))
    files = DatasetFiles(root, "0" * 64, replace(report, groups=groups))
    splits = make_splits(files, None, configure_detector(validation_fraction=0.3))
    validation = {sample.path for sample in splits.validation.samples}
    assert validation and (alike <= validation or not alike & validation)
