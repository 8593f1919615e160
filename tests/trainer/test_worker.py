import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.servers import S3Server
from tests.support.worker_folder import MakeFolder, WorkerFolder
from tuneyard.storage import StoreSettings, open_store
from tuneyard.trainer.errors import Stop, Stopped
from tuneyard.trainer.run import Run
from tuneyard.v1.trainer_service_pb2 import StartRunRequest

DEADLINE_SECONDS = 20.0


def outcome(folder: WorkerFolder) -> tuple[bytes, bytes]:
    return folder.artifact("losses.json"), folder.artifact("weights.npy")


def stop_when(folder: WorkerFolder, stop: Stop, *, step: int) -> threading.Thread:
    """Asks for a stop once the journal shows that the run has come to a step."""

    def watch() -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if any(p.step >= step for p in folder.bodies("progress")):
                break
            time.sleep(0.005)
        folder.control(stop)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_run_is_recorded_from_its_start_to_its_result(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=20,save=10,eval=5,sample=10")
    assert folder.work() == 0
    kinds = [record.WhichOneof("body") for record in folder.records()]
    assert kinds[0] == "started" and kinds[-1] == "result"
    assert {"stage", "progress", "metrics", "checkpoint", "sample", "artifact", "finalizing"} <= set(kinds)
    assert [record.run_sequence for record in folder.records()] == list(range(1, len(kinds) + 1))


def test_the_result_comes_after_every_artifact_and_checkpoint(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=10,save=5,checkpoint_bytes=1000000")
    folder.work()
    assert [c.checkpoint.step for c in folder.bodies("checkpoint")] == [5, 10]
    assert {a.artifact.path for a in folder.bodies("artifact")} == {
        "weights.npy",
        "losses.json",
        "manifest.json",
    }
    assert folder.bodies("result")[0].step == 10


def test_the_last_progress_and_loss_are_always_there(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=500")
    folder.work()
    assert len(folder.bodies("progress")) < 100
    assert folder.bodies("progress")[-1].step == 500
    assert folder.bodies("metrics")[-1].step == 500


def test_every_artifact_has_the_bytes_that_its_record_names(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=3,artifact_bytes=100000")
    folder.work()
    for stored in folder.bodies("artifact"):
        info = folder.store().stat(stored.file.key)
        assert (info.size_bytes, info.sha256) == (stored.file.size_bytes, stored.file.sha256)
        assert stored.file.key.startswith("jobs/one/attempts/1/artifacts/")


def test_progress_says_how_far_and_how_fast_in_which_stage(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=100,step_ms=5")
    folder.work()
    newest = folder.bodies("progress")[-1]
    assert (newest.fraction, newest.stage, newest.unit) == (1, "train", "samples")
    assert 0 < newest.rate < 8 / 0.005
    assert newest.HasField("remaining")


def test_memory_is_measured_while_a_run_goes_on(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=1,prepare_ms=500")
    folder.work()
    assert folder.bodies("peak_memory")[0].host_bytes > 10 << 20


def test_pausing_and_resuming_changes_no_number(tmp_path: Path) -> None:
    whole = WorkerFolder(tmp_path / "whole", base_model="fake:steps=120,save=50,eval=25")
    whole.work()
    first = WorkerFolder(tmp_path / "parts", base_model="fake:steps=120,save=50,eval=25,step_ms=5")
    stopper = stop_when(first, Stop.PAUSE, step=3)
    assert first.work() == 0
    stopper.join()
    assert first.last() == "paused"
    second = first.next()
    second.work()
    assert 0 < first.bodies("paused")[0].step < 120
    assert first.kept()[-1].step == first.bodies("paused")[0].step
    assert outcome(second) == outcome(whole)


def test_running_out_of_memory_changes_no_number(tmp_path: Path) -> None:
    whole = WorkerFolder(tmp_path / "whole", base_model="fake:steps=40")
    whole.work()
    short = WorkerFolder(tmp_path / "short", base_model="fake:steps=40,oom_at=7,oom_above=3")
    short.work()
    assert [o.new_batch_size for o in short.bodies("oom_recovered")] == [4, 2, 1]
    assert outcome(short) == outcome(whole)


def test_cancelling_saves_nothing(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=100000,step_ms=5")
    stopper = stop_when(folder, Stop.CANCEL, step=2)
    assert folder.work() == 0
    stopper.join()
    assert folder.last() == "cancelled"
    assert folder.bodies("checkpoint") == folder.bodies("artifact") == []


@pytest.mark.parametrize(("stop", "end"), [(Stop.PAUSE, "paused"), (Stop.CANCEL, "cancelled")])
def test_a_stop_during_preparation_leaves_at_once(worker_folder: MakeFolder, stop: Stop, end: str) -> None:
    folder = worker_folder("fake:prepare_ms=60000")
    folder.control(stop)
    assert folder.work() == 0
    assert folder.last() == end
    assert folder.bodies("checkpoint") == []


@pytest.mark.parametrize(
    ("stop", "end", "stored"), [(Stop.PAUSE, "paused", [5]), (Stop.CANCEL, "cancelled", [])]
)
def test_a_stop_between_steps_keeps_the_checkpoint_under_way_of_a_pause_only(
    worker_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, stop: Stop, end: str, stored: list[int]
) -> None:
    folder = worker_folder()

    def execute(_: StartRunRequest, run: Run) -> None:
        def write(files: Path) -> None:
            (files / "weights").write_bytes(b"w")

        run.save_checkpoint(step=5, epoch=1, write=write, metrics={}, best=False)
        folder.control(stop)
        run.check_stop()

    monkeypatch.setattr("tuneyard.trainer.fake.entry.execute", execute)
    folder.settings = {"faults": "store_down=0.5s"}
    folder.worker_settings().write(folder.path / "settings.json")
    assert folder.work() == 0
    assert [c.step for c in folder.kept()] == stored
    assert folder.last() == end
    assert [p.step for p in folder.bodies("paused")] == stored


def test_a_cancel_that_comes_after_a_pause_is_what_is_told(
    worker_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worker_folder()

    def execute(_: StartRunRequest, run: Run) -> None:
        folder.control(Stop.CANCEL)
        raise Stopped(Stop.PAUSE, 3)

    monkeypatch.setattr("tuneyard.trainer.fake.entry.execute", execute)
    assert folder.work() == 0
    assert folder.last() == "cancelled"


def test_training_goes_on_while_the_store_is_away(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=60,save=10,step_ms=5")
    folder.settings = {"faults": "store_down=0.5s"}
    folder.worker_settings().write(folder.path / "settings.json")
    assert folder.work() == 0
    assert [w.code for w in folder.bodies("warning")] == ["store_unavailable"]
    assert [c.checkpoint.step for c in folder.bodies("checkpoint")] == [10, 20, 30, 40, 50, 60]
    assert folder.last() == "result"


def test_superseded_checkpoints_are_told_across_attempts(worker_folder: MakeFolder) -> None:
    first = worker_folder("fake:steps=50,save=10,fail_at=35")
    first.work()
    assert [(c.attempt, c.step) for c in first.kept()] == [(1, 20), (1, 30)]
    second = first.next()
    second.base_model = "fake:steps=50,save=10"
    (second.path / "request.pb").write_bytes(second.start_request().SerializeToString())
    second.work()
    assert [(c.attempt, c.step) for c in second.kept(first.kept())] == [(2, 40), (2, 50)]


def test_the_manifest_says_where_everything_came_from(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=3")
    folder.work()
    manifest = json.loads(folder.artifact("manifest.json"))
    assert manifest["spec"]["training"]["base_model"] == "fake:steps=3"
    assert manifest["packages"]["numpy"] and manifest["machine"]["python"]
    assert manifest["job"] == "jobs/one" and manifest["attempt"] == 1


def test_a_manifest_names_no_folder_of_the_machine(worker_folder: MakeFolder) -> None:
    folder = worker_folder("fake:steps=3")
    folder.work()
    assert str(folder.root).encode() not in folder.artifact("manifest.json")


def test_a_worker_imports_no_grpc_and_no_torch() -> None:
    script = (
        "import sys, tuneyard.trainer.worker as w; sys.exit(bool({'grpc', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


@pytest.mark.integration
def test_a_run_keeps_its_bytes_on_an_s3_server(tmp_path: Path, s3: S3Server) -> None:
    settings = StoreSettings(
        s3_endpoint=s3.endpoint,
        s3_access_key=s3.access_key,
        s3_secret_key=s3.secret_key,
        s3_secure=s3.secure,
    )
    url = f"s3://{s3.bucket}/runs"
    remote = {"store_url": url, "store": settings}
    first = WorkerFolder(tmp_path, base_model="fake:steps=20,save=8,fail_at=19", settings=remote)
    first.work()
    second = first.next(**remote)
    second.base_model = "fake:steps=20,save=8"
    (second.path / "request.pb").write_bytes(second.start_request().SerializeToString())
    assert second.work() == 0
    assert second.last() == "result"
    store = open_store(url, settings=settings)
    for stored in second.bodies("artifact"):
        assert store.stat(stored.file.key).sha256 == stored.file.sha256


@pytest.mark.integration
@pytest.mark.parametrize("crash_at", [7, 23, 38])
def test_a_killed_run_ends_with_the_same_numbers(tmp_path: Path, crash_at: int) -> None:
    whole = WorkerFolder(tmp_path / "whole", base_model="fake:steps=40,save=10,eval=5")
    whole.work()
    model = f"fake:steps=40,save=10,eval=5,crash_at={crash_at}"
    first = WorkerFolder(tmp_path / "killed", base_model=model)
    command = [sys.executable, "-m", "tuneyard.trainer.worker", str(first.path)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    second = first.next()
    assert second.work() == 0
    assert outcome(second) == outcome(whole)


def test_a_run_that_reports_nothing_for_long_gets_a_warning(tmp_path: Path) -> None:
    folder = WorkerFolder(tmp_path, settings={"silence_warning": timedelta(seconds=0.05)})
    run = folder.run()
    run.watch()
    with run.stage("evaluate"):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not folder.bodies("warning") and time.monotonic() < deadline:
            time.sleep(0.01)
    run.close()
    [warning] = folder.bodies("warning")
    assert warning.code == "silent_run" and "in the stage evaluate" in warning.message
