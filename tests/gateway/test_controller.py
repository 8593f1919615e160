"""The controller against a trainer that answers, refuses, is silent or comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.fake_trainer import FakeRun, FakeTrainer
from tests.support.fleet import SETTINGS, Fleet, until
from tests.support.ledger import LedgerDriver
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import job_pb2, system_pb2, trainer_service_pb2, training_pb2

GB = 10**9


@pytest.fixture
async def trainer() -> FakeTrainer:
    return FakeTrainer()


@pytest.fixture
async def fleet(ledger: LedgerDriver, trainer: FakeTrainer) -> AsyncIterator[Fleet]:
    fleet = Fleet(ledger, trainer)
    await fleet.start()
    yield fleet
    with suppress(asyncio.CancelledError):
        await fleet.stop()


async def test_a_job_runs_to_its_result_and_its_run_is_released(fleet: Fleet) -> None:
    name, run = await fleet.running()
    run.write(**fleet.ledger.result())
    run.end()
    await fleet.reaches(name, "SUCCEEDED")
    await until(lambda: not fleet.trainer.runs)


async def test_cancels_are_certain_though_the_trainer_answers_no_stop(ledger: LedgerDriver) -> None:
    fleet = Fleet(ledger, FakeTrainer(slots=3))
    await fleet.start()
    names = [(await fleet.running())[0] for _ in range(3)]
    fleet.hang("stop_run", "refresh")
    for name in names:
        await fleet.cancel(name)
    for name in names:
        await fleet.reaches(name, "CANCELLED")
    await fleet.stop()


async def test_a_cancel_is_certain_though_no_start_is_answered(fleet: Fleet) -> None:
    fleet.hang("start_run")
    name = await fleet.queued()
    await fleet.reaches(name, "STARTING")
    await fleet.cancel(name)
    await fleet.reaches(name, "CANCELLED")


async def test_a_cancel_is_certain_while_another_family_resolves_a_spec(fleet: Fleet) -> None:
    fleet.trainer.slots = 2
    name, _ = await fleet.running()
    fleet.hang("estimate")
    await fleet.ledger.create()
    fleet.controller.poke()
    await until(lambda: fleet.hung["estimate"] > 0)
    await fleet.cancel(name)
    await fleet.reaches(name, "CANCELLED")


@pytest.mark.parametrize("reason", ["SHUTTING_DOWN", "STORAGE_FULL", "STORE_UNAVAILABLE"])
async def test_a_job_waits_where_a_trainer_cannot_take_it_now(fleet: Fleet, reason: str) -> None:
    fleet.trainer.refusals["StartRun"] = TuneyardError(reason, "not now", retry_after=timedelta(seconds=0.3))
    await until(lambda: fleet.controller.is_leader)
    name = await fleet.queued()
    epoch = fleet.controller.epoch
    await until(lambda: fleet.trainer.calls["StartRun"] >= 2)
    assert fleet.controller.epoch == epoch
    assert (await fleet.ledger.jobs.get(name)).attempt_count <= 1
    fleet.trainer.refusals.clear()
    await until(lambda: bool(fleet.trainer.runs))


async def test_a_trainer_without_room_is_left_alone_for_a_while(fleet: Fleet) -> None:
    fleet.trainer.refusals["StartRun"] = TuneyardError(
        "STORAGE_FULL", "not now", retry_after=timedelta(minutes=1)
    )
    await fleet.queued()
    await until(lambda: fleet.trainer.calls["StartRun"] > 0)
    for _ in range(20):
        fleet.controller.poke()
        await asyncio.sleep(0.01)
    assert fleet.trainer.calls["StartRun"] == 1


async def test_a_stopping_trainers_run_is_read_to_its_end(fleet: Fleet) -> None:
    name, run = await fleet.running()
    fleet.trainer.refusals["WatchRun"] = TuneyardError("SHUTTING_DOWN", "the server is stopping")
    run.write(**fleet.ledger.result())
    run.end()
    fleet.trainer.refusals.clear()
    assert (await fleet.reaches(name, "SUCCEEDED")).attempt_count == 1


async def test_a_watch_that_is_refused_by_a_stopping_trainer_loses_nothing(fleet: Fleet) -> None:
    name, run = await fleet.running()
    await fleet.die()
    fleet.trainer.refusals["WatchRun"] = TuneyardError("SHUTTING_DOWN", "the server is stopping")
    calls = fleet.trainer.calls["WatchRun"]
    fleet.lead()
    await until(lambda: fleet.trainer.calls["WatchRun"] > calls + 1)
    run.write(**fleet.ledger.result())
    run.end()
    fleet.trainer.refusals.clear()
    assert (await fleet.reaches(name, "SUCCEEDED")).attempt_count == 1


async def test_a_run_that_never_arrived_is_started_again(fleet: Fleet) -> None:
    name = await fleet.queued()
    await until(lambda: bool(fleet.trainer.runs))
    await fleet.die()
    fleet.trainer.runs.clear()
    fleet.lead()
    await until(lambda: fleet.trainer.started == [(name, 1), (name, 1)])


async def test_a_cancelled_run_that_never_arrived_is_not_started(fleet: Fleet) -> None:
    name = await fleet.queued()
    await until(lambda: bool(fleet.trainer.runs))
    await fleet.die()
    fleet.trainer.runs.clear()
    await fleet.ledger.jobs.request_cancel(name)
    fleet.lead()
    await fleet.reaches(name, "CANCELLED")
    assert fleet.trainer.started == [(name, 1)]


async def test_a_run_that_nobody_follows_is_stopped_and_forgotten(fleet: Fleet) -> None:
    stranger = trainer_service_pb2.StartRunRequest(job="jobs/ghost", attempt=1)
    await until(lambda: fleet.trainer.calls["ListRuns"] > 0)
    fleet.trainer.runs["jobs/ghost", 1] = FakeRun(stranger)
    await until(lambda: not fleet.trainer.runs)


async def test_the_same_attempt_on_a_trainer_that_it_was_not_given_to_is_stale(fleet: Fleet) -> None:
    await fleet.die()
    await fleet.ledger.lead()
    name = await fleet.ledger.create(batch_size=8)
    opened = await fleet.ledger.jobs.open_attempt(
        fleet.ledger.epoch, name, trainer_id="another", address="127.0.0.1:1"
    )
    assert opened is not None
    fleet.trainer.runs[name, 1] = ghost = FakeRun(trainer_service_pb2.StartRunRequest(job=name, attempt=1))
    fleet.lead()
    await until(lambda: ghost.exit is not None)


async def test_attempts_of_a_trainer_that_stays_away_are_lost_after_its_lease(fleet: Fleet) -> None:
    name, _ = await fleet.running()
    await fleet.die()
    fleet.settings = replace(SETTINGS, trainer_lease=timedelta(seconds=1.5))
    fleet.lead()
    await until(lambda: fleet.trainers.links[0].reachable)
    fleet.trainer.silent |= {"GetTrainerInfo"}

    async def is_lost() -> bool:
        return (await fleet.ledger.states(name)).count("QUEUED") > 1

    await until(is_lost)


async def test_a_pause_while_a_start_is_refused_leaves_the_job_paused(fleet: Fleet) -> None:
    fleet.trainer.silent |= {"StartRun"}
    name = await fleet.queued()
    await fleet.reaches(name, "STARTING")
    await fleet.die()
    await fleet.ledger.jobs.request_pause(name)
    fleet.trainer.silent.clear()
    fleet.trainer.refusals["StartRun"] = TuneyardError("NO_FREE_SLOT", "every slot has a run")
    fleet.lead()
    await fleet.reaches(name, "PAUSED")


async def test_a_job_that_fits_nowhere_fails_though_it_is_resolved_late(fleet: Fleet) -> None:
    fleet.trainer.estimate.estimate.memory.device_bytes = 10**12
    name = await fleet.ledger.create()
    fleet.controller.poke()
    failed = await fleet.reaches(name, "FAILED")
    assert "1000.0 GB" in failed.error.message


async def test_a_job_deleted_while_its_spec_is_resolved_costs_the_controller_nothing(fleet: Fleet) -> None:
    resolving, deleted = asyncio.Event(), asyncio.Event()
    link = fleet.trainers.links[0]
    ask = link.estimate

    async def slowly(
        request: trainer_service_pb2.TrainerServiceEstimateRequest, *, timeout: float
    ) -> trainer_service_pb2.TrainerServiceEstimateResponse:
        answer = await ask(request, timeout=timeout)
        resolving.set()
        await deleted.wait()
        return answer

    link.estimate = slowly  # type: ignore[method-assign]
    name = await fleet.ledger.create()
    fleet.controller.poke()
    await resolving.wait()
    epoch = fleet.controller.epoch
    await fleet.cancel(name)
    await fleet.ledger.jobs.delete(name)
    deleted.set()
    await fleet.running()
    assert fleet.controller.epoch == epoch


async def test_a_job_deleted_while_the_disk_is_reckoned_up_costs_the_controller_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.trainer.slots = 2
    first, _ = await fleet.running()
    epoch = fleet.controller.epoch
    get = fleet.ledger.jobs.get

    async def get_others(name: str) -> job_pb2.Job:
        if name == first:
            raise TuneyardError("JOB_NOT_FOUND", "it had ended, and was deleted")
        return await get(name)

    monkeypatch.setattr(fleet.ledger.jobs, "get", get_others)
    await fleet.running()
    assert fleet.controller.epoch == epoch


async def test_a_job_whose_family_is_configured_no_longer_says_so(fleet: Fleet) -> None:
    name = await fleet.ledger.create(family=training_pb2.FAMILY_LLM)
    fleet.controller.poke()
    await until(fleet.waits_for(name, "an? llm trainer"))


DEMANDS = [
    ("disk_free_bytes", job_pb2.Estimate(disk_bytes=40 * GB), "40.0 GB of free disk space: .* has 3.0 GB"),
    ("host_memory_bytes", job_pb2.Estimate(memory=job_pb2.MemoryUse(host_bytes=8 * GB)), "8.0 GB of memory"),
]


@pytest.mark.parametrize(("resource", "estimate", "told"), DEMANDS)
async def test_a_job_waits_while_its_trainer_has_too_little_and_is_told_how_much(
    fleet: Fleet, resource: str, estimate: job_pb2.Estimate, told: str
) -> None:
    setattr(fleet.trainer, resource, 3 * GB)
    name = await fleet.queued(estimate)
    await until(fleet.waits_for(name, told))
    assert fleet.trainer.calls["StartRun"] == 0
    setattr(fleet.trainer, resource, 50 * GB)
    await fleet.reaches(name, "STARTING")


async def test_a_job_that_waits_for_room_lets_smaller_ones_pass(fleet: Fleet) -> None:
    fleet.trainer.disk_free_bytes = 3 * GB
    large = await fleet.queued(job_pb2.Estimate(disk_bytes=40 * GB))
    small = await fleet.queued(job_pb2.Estimate(disk_bytes=2 * GB))
    await fleet.reaches(small, "STARTING")
    assert (await fleet.ledger.jobs.get(large)).state == job_pb2.JOB_STATE_QUEUED


async def test_what_running_jobs_still_write_is_not_given_to_others(ledger: LedgerDriver) -> None:
    fleet = Fleet(ledger, FakeTrainer(slots=2))
    await fleet.start()
    fleet.trainer.disk_free_bytes = 50 * GB
    first = await fleet.queued(job_pb2.Estimate(disk_bytes=40 * GB, artifact_bytes=GB))
    await fleet.reaches(first, "STARTING")
    second = await fleet.queued(job_pb2.Estimate(disk_bytes=20 * GB))
    await until(fleet.waits_for(second, "20.0 GB of free disk space: .* has 10.0 GB"))
    run = fleet.trainer.runs[first, 1]
    run.write(**fleet.ledger.started())
    run.write(progress=job_pb2.ProgressEvent(step=1))
    await fleet.reaches(second, "STARTING")
    await fleet.stop()


async def test_a_large_job_goes_to_the_trainer_whose_free_device_can_hold_it(ledger: LedgerDriver) -> None:
    small, large = FakeTrainer(trainer_id="small"), FakeTrainer(trainer_id="large")
    small.devices = [
        system_pb2.Device(id="cuda:0", memory_total_bytes=24 * GB),
        system_pb2.Device(id="cuda:1", memory_total_bytes=80 * GB, job="jobs/other"),
    ]
    large.devices = [system_pb2.Device(id="cuda:0", memory_total_bytes=80 * GB)]
    fleet = Fleet(ledger, small, large)
    await fleet.start()
    name = await fleet.queued(job_pb2.Estimate(memory=job_pb2.MemoryUse(device_bytes=40 * GB)))
    await until(lambda: large.started == [(name, 1)])
    assert small.started == []
    await fleet.stop()


async def test_one_slot_gets_one_start(fleet: Fleet) -> None:
    names = [await fleet.queued() for _ in range(5)]
    await until(lambda: bool(fleet.trainer.runs))
    for _ in range(20):
        fleet.controller.poke()
        await asyncio.sleep(0.01)
    assert fleet.trainer.calls["StartRun"] == 1
    assert await fleet.ledger.states(names[0]) == ["QUEUED", "STARTING"]


async def test_a_standby_does_not_run_for_election_at_each_change(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = 0

    async def refused(holder: str, ttl: timedelta) -> int | None:
        nonlocal claims
        claims += 1
        return None

    await fleet.die()
    # However long this takes, it is less than the time between two claims.
    fleet.settings = replace(SETTINGS, poll=timedelta(hours=1))
    monkeypatch.setattr(fleet.ledger.jobs, "claim_controller", refused)
    fleet.lead()
    for _ in range(100):
        fleet.controller.poke()
        await asyncio.sleep(0)
    assert claims <= 1
