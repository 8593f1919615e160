"""YOLO datasets on their way through real processes: the CLI, a gateway, and its limited check."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, platform
from tests.support.shapes import write_shapes

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("platform")) as started:
        yield started


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "shapes", train=40, val=8)


def upload(server: Platform, path: Path, name: str) -> tuple[int, dict[str, object]]:
    return run(server, "datasets", "upload", str(path), "--format", "yolo", "--name", name)


def run(server: Platform, *arguments: str) -> tuple[int, dict[str, object]]:
    """Runs the CLI; returns its exit status and the dataset it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tuneyard.cli", *arguments, "--json", "--server", server.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_a_folder_and_its_zip_become_ready(server: Platform, shapes: Path) -> None:
    archive = Path(shutil.make_archive(str(shapes), "zip", shapes.parent, shapes.name))
    for path, name in ((shapes, "from-folder"), (archive, "from-zip")):
        status, dataset = upload(server, path, name)
        assert (status, dataset["state"]) == (0, "DATASET_STATE_READY")
        report = server.dataset(name).report
        assert list(report.classes) == ["circle", "square", "triangle"]
        assert {split.split: split.samples for split in report.splits} == {"train": 40, "val": 8}
        assert set(report.counts) <= {"CLASS_SMALL"}


def test_a_wrong_label_is_named_at_its_line(server: Platform, shapes: Path) -> None:
    label = shapes / "labels/train/train-00003.txt"
    label.write_text(label.read_text() + "9 0.5 0.5 0.1 0.1\n")
    line = label.read_text().count("\n")
    status, dataset = upload(server, shapes, "wrong-class")
    assert (status, dataset["state"]) == (1, "DATASET_STATE_INVALID")
    first = server.dataset("wrong-class").report.findings[0]
    assert (first.code, first.path, first.line) == (
        "LABEL_CLASS_UNKNOWN",
        "labels/train/train-00003.txt",
        line,
    )
    assert first.remedy


def test_a_version_without_the_wrong_label_is_ready(server: Platform, shapes: Path) -> None:
    (shapes / "labels/train/train-00003.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    (shapes / "data.yaml").write_text((shapes / "data.yaml").read_text() + "license: MIT\n")
    status, _ = upload(server, shapes, "one-wrong")
    assert status == 1
    by_code = ("--code", "LABEL_CLASS_UNKNOWN", "--code", "YAML_KEY_IGNORED")
    status, dataset = run(server, "datasets", "without", "one-wrong", *by_code, "--name", "repaired")
    assert (status, dataset["state"]) == (0, "DATASET_STATE_READY")
    report = server.dataset("repaired").report
    assert list(report.excluded) == ["images/train/train-00003.jpg", "labels/train/train-00003.txt"]
    assert list(report.classes) == ["circle", "square", "triangle"]
    assert report.samples == 47


def test_a_yaml_that_names_a_script_is_only_remarked_on(
    server: Platform, shapes: Path, tmp_path: Path
) -> None:
    yaml = shapes / "data.yaml"
    yaml.write_text(yaml.read_text() + f"download: open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    status, _ = upload(server, shapes, "with-script")
    assert status == 0
    assert server.dataset("with-script").report.counts["YAML_DOWNLOAD_IGNORED"] == 1
    assert not (tmp_path / "ran").exists()
