"""A fake gateway, and the command line run against it in this process."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.fake_gateway import FakeGateway
from tuneyard.cli.main import app
from tuneyard.v1.dataset_pb2 import Dataset
from tuneyard.v1.dataset_service_pb2 import GetDatasetResponse


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """Standard output, which must be JSON, a document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    fake.on("GetDataset", lambda request, _: GetDatasetResponse(dataset=Dataset(name=request.name)))
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def run(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `tuneyard …` against the fake gateway."""
    monkeypatch.setenv("TUNEYARD_SERVER", gateway.address)
    monkeypatch.delenv("TUNEYARD_TOKEN", raising=False)

    def call(*arguments: object, stdin: str = "") -> Ran:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return call
