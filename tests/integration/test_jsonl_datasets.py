"""JSONL datasets through real processes: the command line sends, the gateway checks, a trainer unpacks."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.defects_jsonl import TRAIN, clean_files, encoded, pairs
from tests.support.platform import Platform, fake_spec
from tuneyard.v1 import dataset_pb2, job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

Packed = Callable[[Path], Path]


def tuneyard(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "tuneyard.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def upload(fakes: Platform, path: Path, name: str) -> tuple[int, dict[str, Any]]:
    return tuneyard(
        "datasets", "upload", str(path), "--format", "jsonl", "--name", name, "--server", fakes.address
    )


def as_file(folder: Path) -> Path:
    path = folder / "mine.jsonl"
    path.write_bytes(clean_files()[TRAIN])
    return path


def as_gzip(folder: Path) -> Path:
    path = folder / "mine.jsonl.gz"
    path.write_bytes(gzip.compress(clean_files()[TRAIN]))
    return path


def as_folder(folder: Path) -> Path:
    path = folder / "mine"
    path.mkdir()
    for name, data in clean_files().items():
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize(("pack", "samples"), [(as_file, 120), (as_gzip, 120), (as_folder, 140)])
def test_a_clean_set_is_ready_and_reaches_the_worker(
    fakes: Platform, tmp_path: Path, pack: Packed, samples: int
) -> None:
    name = f"clean-{pack.__name__}"
    status, dataset = upload(fakes, pack(tmp_path), name)
    assert (status, dataset["state"]) == (0, "DATASET_STATE_READY")
    assert int(dataset["report"]["samples"]) == samples and "findings" not in dataset["report"]
    spec = fake_spec("steps=2,dataset=1")
    spec.dataset = f"datasets/{name}"
    job = fakes.train(spec)
    fakes.watch(job.name).wait(within=30)
    assert fakes.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, fakes.job(job.name).error


def test_a_bad_set_is_invalid_and_names_its_lines(fakes: Platform, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(encoded(pairs(20)) + b"oops\n" * 3)
    status, dataset = upload(fakes, path, "bad")
    assert (status, dataset["state"]) == (1, "DATASET_STATE_INVALID")
    places = {
        (each["code"], each.get("path"), int(each.get("line", 0))) for each in dataset["report"]["findings"]
    }
    assert {("LINE_NOT_JSON", "bad.jsonl", line) for line in (21, 22, 23)} <= places
    assert fakes.dataset("bad").state == dataset_pb2.DATASET_STATE_INVALID


def test_the_command_line_says_the_same_without_a_server(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(encoded(pairs(20)) + b"oops\n" * 3)
    status, report = tuneyard("datasets", "check", str(path), "--format", "jsonl")
    assert status == 1 and report["counts"] == {"LINES_BROKEN": 1, "EXAMPLES_FEW": 1, "LINE_NOT_JSON": 3}
    assert [each["line"] for each in report["findings"] if each["code"] == "LINE_NOT_JSON"] == [21, 22, 23]


def test_a_bad_set_is_ready_without_the_lines_that_were_found(fakes: Platform, tmp_path: Path) -> None:
    path = tmp_path / "worse.jsonl"
    path.write_bytes(encoded(pairs(120)) + b"oops\n" * 30 + encoded(pairs(2)))
    assert upload(fakes, path, "worse")[0] == 1
    codes = ("--code", "LINE_NOT_JSON", "--code", "DUPLICATE_EXAMPLE")
    status, version = tuneyard(
        "datasets", "without", "worse", *codes, "--name", "better", "--server", fakes.address
    )
    assert (status, version["state"], version["report"]["samples"]) == (0, "DATASET_STATE_READY", "120")
    assert version["report"]["excluded"] == sorted(f"worse.jsonl:{line}" for line in range(121, 153))
    spec = fake_spec("steps=2,dataset=1")
    spec.dataset = "datasets/better"
    job = fakes.train(spec)
    fakes.watch(job.name).wait(within=30)
    assert fakes.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED, fakes.job(job.name).error
