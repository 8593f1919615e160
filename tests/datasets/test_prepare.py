"""What trainers find in their cache."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tuneyard.datasets import FormatNotSupported, check, image_folder, open_source, prepare


def test_the_folder_holds_exactly_what_the_report_found_usable(
    clean_files: dict[str, bytes], write_zip: Callable[..., Path], tmp_path: Path
) -> None:
    clean_files |= {"train/cat/broken.png": b"", "train/cat/.DS_Store": b"junk"}
    archive = write_zip(clean_files, prefix="set/")
    report = check(archive, format="image-folder")
    summary = prepare(archive, tmp_path / "cache" / "set", format="image-folder", report=report)
    with open_source(tmp_path / "cache" / "set") as source:
        samples = image_folder.index(source).samples
    assert len(samples) == summary.files == report.samples
    assert all((tmp_path / "cache" / "set" / sample.path).is_file() for sample in samples)


def test_an_unknown_format_is_refused_before_anything_is_written(
    write_zip: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(FormatNotSupported):
        prepare(write_zip({}), tmp_path / "out", format="imagefolder")
    assert not (tmp_path / "out").exists()
