"""Finished models that answer, one caller after the other, and what callers hear of what goes wrong."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.model_trainer import ModelTrainer, until_busy, until_gone
from tuneyard.rpc.errors import TuneyardError
from tuneyard.trainer.fake import entry as fake_entry
from tuneyard.trainer.finished_model import FinishedModel
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.v1.inference_service_pb2 import (
    ChatTurn,
    ClassifyRequest,
    GenerateTextRequest,
    GenerateTextResponse,
    ImageInput,
)
from tuneyard.v1.trainer_service_pb2 import ModelSource


async def test_a_model_is_loaded_once_and_answers_again_and_again(trainer: ModelTrainer) -> None:
    first = await trainer.ask()
    assert [each.name for each in first.classifications] == ["0.png"]
    assert await trainer.ask() == first
    assert trainer.launches == 1


async def test_callers_at_the_same_time_are_answered_one_after_the_other(trainer: ModelTrainer) -> None:
    answers = await asyncio.gather(*(trainer.ask(images=number) for number in range(1, 6)))
    assert [len(answer.classifications) for answer in answers] == [1, 2, 3, 4, 5]
    assert trainer.launches == 1


async def test_the_pieces_of_a_stream_come_as_they_are_made(trainer: ModelTrainer) -> None:
    turns = [ChatTurn(role="user", content="one two three")]
    request = trainer.request()
    request.method, request.request = "GenerateText", GenerateTextRequest(messages=turns).SerializeToString()
    pieces = [GenerateTextResponse.FromString(piece) async for piece in trainer.models.infer(request)]
    assert [(piece.text, piece.done) for piece in pieces] == [
        ("one ", False),
        ("two ", False),
        ("three ", True),
    ]


async def test_the_worker_is_told_where_it_works_and_its_folder_goes_with_it(trainer: ModelTrainer) -> None:
    await trainer.ask()
    [folder] = (trainer.root / "models").iterdir()
    settings = WorkerSettings.read(folder / "settings.json")
    assert (settings.device, settings.parent_pid, settings.wake_socket) == ("cpu", 1, None)
    await trainer.models.close()
    assert not list((trainer.root / "models").iterdir())


async def test_what_is_wrong_with_an_image_is_a_violation(trainer: ModelTrainer) -> None:
    request = trainer.request()
    images = [ImageInput(name="a.png", content=b"1"), ImageInput(name="b.txt", content=b"not an image")]
    request.request = ClassifyRequest(images=images).SerializeToString()
    with pytest.raises(TuneyardError) as refused:
        async for _ in trainer.models.infer(request):
            pass
    [violation] = refused.value.violations
    assert (refused.value.reason, violation.field) == ("INVALID_FIELD", "images[1].content")
    assert (await trainer.ask()).classifications
    assert trainer.launches == 1


async def test_a_fault_of_the_model_is_told_without_paths_and_the_model_stays(trainer: ModelTrainer) -> None:
    error = await trainer.refusal("a", "answer_fail=1")
    assert error.reason == "RECIPE_FAILED"
    assert "ValueError" in error.message and "/srv" not in error.message
    assert (await trainer.refusal("a", "answer_fail=1")).reason == "RECIPE_FAILED"
    assert trainer.launches == 1


async def test_a_model_that_cannot_be_loaded_says_why_each_time(trainer: ModelTrainer) -> None:
    for _ in range(2):
        error = await trainer.refusal("a", "load_fail=1")
        assert (error.reason, error.message) == (
            "RECIPE_FAILED",
            "The script says that the model cannot be loaded.",
        )
    assert trainer.launches == 2


async def test_files_that_are_gone_or_changed_in_the_store_are_told(trainer: ModelTrainer) -> None:
    assert (await trainer.refusal("a", key="nothing")).reason == "ARTIFACT_NOT_FOUND"
    assert (await trainer.refusal("b", digest="0" * 64)).reason == "CHECKSUM_MISMATCH"


async def test_who_leaves_early_ends_the_answer_and_not_the_model(trainer: ModelTrainer) -> None:
    async with aclosing(trainer.models.infer(trainer.request("a", "answer_ms=60000"))) as pieces:
        asking = asyncio.create_task(anext(pieces))
        await until_busy(trainer)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    async with asyncio.timeout(30):
        while trainer.models._by_job["jobs/a"].is_busy:
            await asyncio.sleep(0.002)
    assert trainer.launches == 1
    assert trainer.models._by_job["jobs/a"].is_open


async def test_who_leaves_while_waiting_is_not_answered(trainer: ModelTrainer) -> None:
    asked = asyncio.create_task(trainer.ask("a", "answer_ms=300"))
    await until_busy(trainer)
    second = asyncio.create_task(trainer.ask("a"))
    await asyncio.sleep(0)
    assert len(trainer.models._by_job["jobs/a"]._waiting) == 1
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not trainer.models._by_job["jobs/a"]._waiting
    assert (await asked).classifications


async def test_a_model_that_goes_on_with_a_cancelled_answer_is_ended(tmp_path: Path) -> None:
    trainer = ModelTrainer(tmp_path, cancel_grace=timedelta(seconds=0.05))
    asked = asyncio.create_task(trainer.ask("a", "answer_ms=400,answer_ignore_cancel=1"))
    await until_busy(trainer)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await until_gone(trainer)
    assert (await trainer.ask()).classifications
    await trainer.models.close()


async def test_more_callers_than_can_wait_are_turned_away(trainer: ModelTrainer) -> None:
    calls = [asyncio.create_task(trainer.ask("a", "answer_ms=60000"))]
    await until_busy(trainer)
    calls += [asyncio.create_task(trainer.ask("a")) for _ in range(16)]
    await asyncio.sleep(0)
    assert (await trainer.refusal("a")).reason == "TOO_MANY_REQUESTS"
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_method_that_the_family_does_not_serve_says_so(trainer: ModelTrainer) -> None:
    request = trainer.request()
    request.method = "GenerateImages"
    with pytest.raises(TuneyardError, match="NOT_SUPPORTED"):
        await anext(trainer.models.infer(request))


async def test_without_a_store_nothing_is_loaded(trainer: ModelTrainer) -> None:
    trainer.store_problem = "the store is a folder, and it is not on this machine"
    assert (await trainer.refusal()).reason == "STORE_UNAVAILABLE"


def test_the_worker_never_imports_grpc() -> None:
    program = "import sys, tuneyard.trainer.inference_worker; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_the_base_model_is_fetched_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FinishedModel] = []
    open_model = fake_entry.open_model
    monkeypatch.setattr(fake_entry, "open_model", lambda model: (opened.append(model), open_model(model))[1])
    trainer = ModelTrainer(tmp_path)
    request = trainer.request()
    request.model.CopyFrom(ModelSource(name="models/base", sha256="b" * 64, files=request.artifacts))
    assert [piece async for piece in trainer.models.infer(request)]
    [model] = opened
    assert model.base_sha256 == "b" * 64
    assert not (tmp_path / "cache" / "models" / ("b" * 64)).exists()
    base = model.base()
    assert base is not None
    assert (base / "weights.npy").read_bytes() == trainer.weights
    await trainer.models.close()


async def test_a_model_without_a_base_of_the_store_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FinishedModel] = []
    open_model = fake_entry.open_model
    monkeypatch.setattr(fake_entry, "open_model", lambda model: (opened.append(model), open_model(model))[1])
    trainer = ModelTrainer(tmp_path)
    await trainer.ask()
    assert (opened[0].base(), opened[0].base_sha256) == (None, "")
    await trainer.models.close()
