"""Both runs behind one face: what was reported, from a FakeRun's lists or from a worker's journal."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.worker_folder import WorkerFolder
from tuneyard.trainer.errors import Stop
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import Run


class ContractRun(Protocol):
    """A run under test, what it reported, and the attempt after it."""

    @property
    def run(self) -> Run: ...

    def stages(self) -> list[tuple[str, bool]]: ...

    def metrics(self) -> list[tuple[int, dict[str, float]]]: ...

    def steps(self) -> list[int]: ...

    def checkpoints(self) -> list[tuple[int, bool]]:
        """Step and whether it is the best of those that are kept."""
        ...

    def artifact(self, name: str) -> bytes: ...

    def samples(self) -> list[str]: ...

    def advice(self) -> list[str]: ...

    def warnings(self) -> list[str]: ...

    def count(self, kind: str) -> int: ...

    def stop(self, stop: Stop) -> None: ...

    def next(self) -> "ContractRun": ...


@dataclass
class OfFakeRun:
    run: FakeRun

    def stages(self) -> list[tuple[str, bool]]:
        return [(s["name"], s["done"]) for s in self.run.all_of("stage")]

    def metrics(self) -> list[tuple[int, dict[str, float]]]:
        return [(m["step"], m["values"]) for m in self.run.all_of("metrics")]

    def steps(self) -> list[int]:
        return [p["step"] for p in self.run.all_of("progress")]

    def checkpoints(self) -> list[tuple[int, bool]]:
        return [(c.step, c.best) for c in self.run.checkpoints]

    def artifact(self, name: str) -> bytes:
        return self.run.artifacts[name].path.read_bytes()

    def samples(self) -> list[str]:
        return [s["title"] for s in self.run.all_of("sample")]

    def advice(self) -> list[str]:
        return [a["kind"].value for a in self.run.all_of("advice")]

    def warnings(self) -> list[str]:
        return [w["code"] for w in self.run.all_of("warning")]

    def count(self, kind: str) -> int:
        return len(self.run.all_of(kind))

    def stop(self, stop: Stop) -> None:
        self.run.request_stop(stop)

    def next(self) -> "OfFakeRun":
        return OfFakeRun(self.run.resumed())


_RECORDS: Mapping[str, str] = {"out_of_memory_recovered": "oom_recovered"}


class OfWorkerRun:
    def __init__(self, folder: WorkerFolder, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.run = folder.run()
        stack.callback(self.run.close)

    def _bodies(self, name: str) -> list[Any]:
        self.run.reporter.flush()
        return self.folder.bodies(name)

    def stages(self) -> list[tuple[str, bool]]:
        return [(s.name, s.done) for s in self._bodies("stage")]

    def metrics(self) -> list[tuple[int, dict[str, float]]]:
        return [(m.step, dict(m.values)) for m in self._bodies("metrics")]

    def steps(self) -> list[int]:
        return [p.step for p in self._bodies("progress")]

    def checkpoints(self) -> list[tuple[int, bool]]:
        self.run.finish_uploads()
        return [(c.step, c.best) for c in self.folder.kept()]

    def artifact(self, name: str) -> bytes:
        newest = [a.file.key for a in self._bodies("artifact") if a.artifact.path == name][-1]
        return b"".join(self.folder.store().read(newest))

    def samples(self) -> list[str]:
        return [s.title for s in self._bodies("sample")]

    def advice(self) -> list[str]:
        from tuneyard.v1.event_pb2 import AdviceKind

        return [AdviceKind.Name(a.kind).removeprefix("ADVICE_KIND_").lower() for a in self._bodies("advice")]

    def warnings(self) -> list[str]:
        return [w.code for w in self._bodies("warning")]

    def count(self, kind: str) -> int:
        return len(self._bodies(_RECORDS.get(kind, kind)))

    def stop(self, stop: Stop) -> None:
        self.folder.control(stop)

    def next(self) -> "OfWorkerRun":
        self.run.finish_uploads()
        return OfWorkerRun(self.folder.next(), self._stack)


MakeRun = Callable[[], ContractRun]


@pytest.fixture(params=["fake", "worker"])
def contract(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContractRun]:
    """A first attempt, of either kind."""
    with ExitStack() as stack:
        if request.param == "fake":
            yield OfFakeRun(FakeRun(root=tmp_path))
        else:
            yield OfWorkerRun(WorkerFolder(tmp_path), stack)
