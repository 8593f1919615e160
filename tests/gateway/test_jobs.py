"""What users ask of jobs: create, list, cancel, pause, resume, delete. On SQLite and on PostgreSQL."""

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.db import Database
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.gateway.jobs import JobRepository, RequestKey, request_key
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import errors_pb2, job_pb2, training_pb2, training_service_pb2

KEY = RequestKey("alice", "Train", "request-1", "body")


def _job(**fields: Any) -> job_pb2.Job:
    return job_pb2.Job(spec=LedgerDriver.spec(), family=training_pb2.FAMILY_VISION, **fields)


async def _page(
    ledger: LedgerDriver, token: str = "", *, size: int = 0, **conditions: Any
) -> tuple[list[str], str, int]:
    wanted = training_service_pb2.JobFilter(**conditions)
    jobs, next_token, total = await ledger.jobs.list(wanted, page_size=size, page_token=token)
    return [job.name for job in jobs], next_token, total


async def test_a_created_job_is_queued_with_its_first_event(ledger: LedgerDriver) -> None:
    job = await ledger.jobs.create(_job(priority=7, labels={"team": "a"}))
    assert (job.state, job.desired) == (job_pb2.JOB_STATE_QUEUED, job_pb2.DESIRED_STATE_RUN)
    assert (job.priority, job.labels["team"], job.queue_position) == (7, "a", 1)
    (event,) = await ledger.log(job.name)
    assert (event.sequence, event.attempt, event.state_change.to) == (1, 0, job_pb2.JOB_STATE_QUEUED)
    assert event.state_change.ListFields()[0][0].name == "to"


async def test_a_commit_is_told_with_the_bytes_that_a_reader_gets(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    (committed,) = ledger.commits
    assert committed.job.name == name
    stored = await ledger.jobs.events_after(name.removeprefix("jobs/"), 0, 10)
    assert committed.chunks == tuple(chunk for _, chunk in stored)


async def test_a_repeated_request_returns_the_first_job(ledger: LedgerDriver) -> None:
    first = await ledger.jobs.create(_job(), request=KEY)
    again = await ledger.jobs.create(_job(), request=KEY)
    assert again == first
    assert len(ledger.commits) == 1


async def test_a_request_id_with_another_body_is_refused(ledger: LedgerDriver) -> None:
    first = await ledger.jobs.create(_job(), request=KEY)
    with pytest.raises(TuneyardError) as raised:
        await ledger.jobs.create(_job(), request=RequestKey("alice", "Train", "request-1", "other"))
    assert raised.value.reason == "REQUEST_ID_REUSED"
    assert raised.value.resource == first.name


async def test_request_ids_of_other_principals_and_methods_are_apart(ledger: LedgerDriver) -> None:
    keys = [
        KEY,
        RequestKey("bob", "Train", "request-1", "body"),
        RequestKey("alice", "Merge", "request-1", "x"),
    ]
    names = {(await ledger.jobs.create(_job(), request=key)).name for key in keys}
    assert len(names) == 3


async def test_twenty_calls_with_one_request_id_make_one_job(ledger: LedgerDriver) -> None:
    jobs = await asyncio.gather(*(ledger.jobs.create(_job(), request=KEY) for _ in range(20)))
    assert len({job.name for job in jobs}) == 1
    assert (await _page(ledger))[2] == 1


async def test_a_request_is_forgotten_after_two_days_and_not_before(ledger: LedgerDriver) -> None:
    await ledger.jobs.create(_job(), request=KEY)
    ledger.clock.advance(timedelta(hours=47))
    assert await ledger.jobs.purge_requests() == 0
    ledger.clock.advance(timedelta(hours=2))
    assert await ledger.jobs.purge_requests() == 1


async def test_a_repeated_request_for_a_deleted_job_makes_no_second_one(ledger: LedgerDriver) -> None:
    job = await ledger.jobs.create(_job(), request=KEY)
    await ledger.jobs.request_cancel(job.name)
    await ledger.jobs.delete(job.name)
    with pytest.raises(TuneyardError, match="JOB_NOT_FOUND"):
        await ledger.jobs.create(_job(), request=KEY)


def test_a_request_key_covers_everything_but_the_request_id() -> None:
    request = training_service_pb2.TrainRequest(request_id="a", priority=1)
    other_id = training_service_pb2.TrainRequest(request_id="b", priority=1)
    other_body = training_service_pb2.TrainRequest(request_id="a", priority=2)
    key, same, different = (request_key("p", "Train", each) for each in (request, other_id, other_body))
    assert key and same and different
    assert key.body_sha256 == same.body_sha256 != different.body_sha256
    assert request_key("p", "Train", training_service_pb2.TrainRequest(priority=1)) is None


async def test_a_caller_that_leaves_does_not_undo_nor_hide_its_commit(ledger: LedgerDriver) -> None:
    told = asyncio.Event()
    ledger.listeners.append(lambda _: told.set())
    call = asyncio.create_task(ledger.jobs.create(_job()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(60):
        await told.wait()
    names, _, total = await _page(ledger)
    assert total == len(ledger.commits) == 1
    assert names == [ledger.commits[0].job.name]


async def test_pages_are_newest_first_and_stable_while_jobs_are_created(ledger: LedgerDriver) -> None:
    names = [await ledger.create() for _ in range(5)]
    first, token, total = await _page(ledger, size=2)
    await ledger.create()
    second, token, _ = await _page(ledger, token, size=2)
    third, token, _ = await _page(ledger, token, size=2)
    assert first + second + third == names[::-1]
    assert (token, total) == ("", 5)


async def test_a_page_has_no_more_bytes_than_its_readers_take(ledger: LedgerDriver) -> None:
    names = []
    for size_bytes in (9, 700_000, 9, 700_000, 1_900_000, 9):
        spec = training_pb2.TrainingSpec(base_model_revision="r" * size_bytes)
        job = job_pb2.Job(spec=job_pb2.JobSpec(training=spec))
        names.append((await ledger.jobs.create(job)).name)
    pages, token = [], ""
    while not pages or token:
        page, token, total = await _page(ledger, token, size=50)
        pages.append(page)
        assert total == 6
    assert [len(page) for page in pages] == [1, 1, 2, 2]
    assert [name for page in pages for name in page] == names[::-1]


async def test_jobs_of_one_moment_are_listed_once_each(db: Database) -> None:
    driver = LedgerDriver(db)
    moment = driver.clock()
    ids = iter(["b", "a", "c"])
    jobs = JobRepository(db, clock=lambda: moment, new_id=lambda: next(ids), on_commit=lambda _: None)
    for _ in range(3):
        await jobs.create(_job())
    seen, token = [], ""
    for _ in range(3):
        page, token, _ = await jobs.list(training_service_pb2.JobFilter(), page_size=1, page_token=token)
        seen += [job.name for job in page]
    assert (seen, token) == (["jobs/c", "jobs/b", "jobs/a"], "")


async def test_a_token_is_refused_with_another_filter_or_when_forged(ledger: LedgerDriver) -> None:
    await ledger.create()
    await ledger.create()
    _, token, _ = await _page(ledger, size=1)
    for forged, dataset in ((token, "datasets/other"), (token[:-3], ""), ("æ", ""), ("WzEsMl0", "")):
        with pytest.raises(TuneyardError, match="INVALID_PAGE_TOKEN"):
            await _page(ledger, forged, size=1, dataset=dataset)


@pytest.mark.parametrize(
    "identifier", ['"\\ud800"', '"a\\u0000"', "[" * 100_000, "1"], ids=["surrogate", "zero", "deep", "number"]
)
async def test_a_token_whose_place_cannot_be_is_refused(ledger: LedgerDriver, identifier: str) -> None:
    await ledger.create()
    await ledger.create()
    _, token, _ = await _page(ledger, size=1)
    digest, created, _ = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    forged = base64.urlsafe_b64encode(f'["{digest}",{created},{identifier}]'.encode()).decode()
    with pytest.raises(TuneyardError, match="INVALID_PAGE_TOKEN"):
        await _page(ledger, forged, size=1)


async def test_each_condition_of_a_filter_narrows_the_list(ledger: LedgerDriver) -> None:
    plain = await ledger.create()
    labelled = await ledger.create(labels={"team": "a", "x": "1"}, dataset="datasets/other")
    llm = await ledger.create(family=training_pb2.FAMILY_LLM)
    await ledger.jobs.request_cancel(llm)
    created = (await ledger.jobs.get(labelled)).create_time
    conditions: list[tuple[dict[str, Any], list[str]]] = [
        ({"labels": {"team": "a", "x": "1"}}, [labelled]),
        ({"labels": {"team": "a", "x": "2"}}, []),
        ({"dataset": "datasets/other"}, [labelled]),
        ({"families": [training_pb2.FAMILY_LLM]}, [llm]),
        ({"states": [job_pb2.JOB_STATE_QUEUED]}, [labelled, plain]),
        ({"tasks": [training_pb2.TASK_KIND_LANGUAGE_MODEL]}, []),
        ({"tasks": [training_pb2.TASK_KIND_IMAGE_CLASSIFIER]}, [llm, labelled, plain]),
        ({"created_after": created}, [llm, labelled]),
        ({"created_before": created}, [plain]),
    ]
    for condition, expected in conditions:
        assert (await _page(ledger, **condition))[0::2] == (expected, len(expected)), condition


async def test_places_in_the_queue_go_by_priority_then_age_within_a_family(ledger: LedgerDriver) -> None:
    first, second = await ledger.create(), await ledger.create()
    urgent = await ledger.create(priority=5)
    llm = await ledger.create(family=training_pb2.FAMILY_LLM)
    places = {name: (await ledger.jobs.get(name)).queue_position for name in (first, second, urgent, llm)}
    assert places == {urgent: 1, first: 2, second: 3, llm: 1}
    queue = await ledger.jobs.queue(training_pb2.FAMILY_VISION)
    assert [queued.job.name for queued in queue] == [urgent, first, second]
    await ledger.open(urgent)
    assert [(await ledger.jobs.get(name)).queue_position for name in (urgent, first)] == [0, 1]


async def test_waiting_jobs_pause_resume_and_cancel_at_once(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    assert (await ledger.jobs.request_pause(name)).state == job_pb2.JOB_STATE_PAUSED
    assert (await ledger.jobs.request_resume(name)).state == job_pb2.JOB_STATE_QUEUED
    await ledger.jobs.request_pause(name)
    job = await ledger.jobs.request_cancel(name)
    assert job.HasField("end_time")
    assert await ledger.states(name) == ["QUEUED", "PAUSED", "QUEUED", "PAUSED", "CANCELLED"]


async def test_wishes_that_change_nothing_make_no_event(ledger: LedgerDriver) -> None:
    name, _ = await ledger.running()
    before = len(ledger.commits)
    await ledger.jobs.request_resume(name)
    assert len(ledger.commits) == before
    await ledger.jobs.request_cancel(name)
    again = await ledger.jobs.request_cancel(name)
    assert again.state == job_pb2.JOB_STATE_CANCELLING
    assert len(ledger.commits) == before + 1


async def test_what_the_state_forbids_is_a_conflict_that_names_it(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.jobs.request_cancel(name)
    with pytest.raises(TuneyardError) as raised:
        await ledger.jobs.request_pause(name)
    assert (raised.value.reason, raised.value.metadata["state"]) == ("JOB_STATE_CONFLICT", "CANCELLING")
    with pytest.raises(TuneyardError, match="wait for its end"):
        await ledger.jobs.delete(name)
    await ledger.write(name, attempt, ledger.result())
    for ask in (ledger.jobs.request_cancel, ledger.jobs.request_pause, ledger.jobs.request_resume):
        with pytest.raises(TuneyardError, match="JOB_STATE_CONFLICT"):
            await ask(name)


async def test_jobs_that_do_not_exist_are_not_found(ledger: LedgerDriver) -> None:
    jobs = ledger.jobs
    for call in (jobs.get, jobs.request_cancel, jobs.delete, jobs.checkpoints, jobs.artifacts):
        with pytest.raises(TuneyardError, match="JOB_NOT_FOUND"):
            await call("jobs/none")


@pytest.mark.parametrize("kind", ["merge", "export", "evaluate"])
async def test_a_job_is_not_deleted_while_another_needs_its_model(ledger: LedgerDriver, kind: str) -> None:
    source, attempt = await ledger.running()
    await ledger.write(source, attempt, ledger.result())
    spec = job_pb2.JobSpec()
    getattr(spec, kind).source_job = source
    user = await ledger.jobs.create(job_pb2.Job(spec=spec, family=training_pb2.FAMILY_VISION))
    with pytest.raises(TuneyardError, match=user.name) as refused:
        await ledger.jobs.delete(source)
    assert refused.value.reason == "JOB_STATE_CONFLICT"
    await ledger.jobs.request_cancel(user.name)
    await ledger.jobs.delete(source)


async def test_deleting_a_job_leaves_nothing_but_its_bytes_as_garbage(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running(labels={"a": "b"})
    with pytest.raises(TuneyardError, match="JOB_STATE_CONFLICT"):
        await ledger.jobs.delete(name)
    await ledger.write(
        name, attempt, ledger.checkpoint(1), ledger.artifact("m", key="jobs/k"), ledger.result()
    )
    await ledger.jobs.delete(name)
    assert ledger.deleted == [name]
    assert await ledger.jobs.events_after(name.removeprefix("jobs/"), 0, 10) == []
    assert (await _page(ledger))[2] == 0
    ledger.clock.advance(timedelta(hours=1))
    assert f"{name}/" in await GarbageRepository(ledger.db).due(ledger.clock())


async def test_datasets_and_models_are_in_use_until_their_jobs_end(ledger: LedgerDriver) -> None:
    name = await ledger.create(dataset="datasets/cats")
    assert await ledger.jobs.uses_dataset("datasets/cats") == [name]
    assert await ledger.jobs.uses_model("resnet18") == [name]
    assert await ledger.jobs.uses_dataset("datasets/digits") == []
    await ledger.jobs.request_cancel(name)
    assert await ledger.jobs.uses_dataset("datasets/cats") == []


async def test_a_model_that_scores_pictures_is_in_use_as_well(ledger: LedgerDriver) -> None:
    spec = ledger.spec()
    spec.training.text_to_image_lora.clip_model = "models/clip"
    training = await ledger.jobs.create(job_pb2.Job(spec=spec, family=training_pb2.FAMILY_DIFFUSION))
    evaluation = job_pb2.JobSpec(evaluate=job_pb2.EvaluateSpec(source_job="jobs/1", clip_model="models/clip"))
    measuring = await ledger.jobs.create(job_pb2.Job(spec=evaluation, family=training_pb2.FAMILY_DIFFUSION))
    assert await ledger.jobs.uses_model("models/clip") == [training.name, measuring.name]
    for job in (training, measuring):
        await ledger.jobs.request_cancel(job.name)
    assert await ledger.jobs.uses_model("models/clip") == []


async def test_a_model_and_a_dataset_that_a_job_was_resolved_to_are_in_use(ledger: LedgerDriver) -> None:
    training = await ledger.create()
    resolved = ledger.spec()
    resolved.training.base_model = "models/resnet18"
    await ledger.jobs.set_resolved(ledger.epoch, training, job_pb2.Estimate(resolved_spec=resolved))
    assert await ledger.jobs.uses_model("models/resnet18") == [training]
    spec = job_pb2.JobSpec(evaluate=job_pb2.EvaluateSpec(source_job="jobs/1"))
    evaluation = await ledger.jobs.create(job_pb2.Job(spec=spec, family=training_pb2.FAMILY_VISION))
    spec.evaluate.dataset = "datasets/cats"
    await ledger.jobs.set_resolved(ledger.epoch, evaluation.name, job_pb2.Estimate(resolved_spec=spec))
    assert await ledger.jobs.uses_dataset("datasets/cats") == [evaluation.name]


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_job_that_ended_while_it_was_resolved_stays_as_it_is(
    ledger: LedgerDriver, is_deleted: bool
) -> None:
    name = await ledger.create()
    ended = await ledger.jobs.request_cancel(name)
    if is_deleted:
        await ledger.jobs.delete(name)
    estimate = job_pb2.Estimate(resolved_spec=ledger.spec(batch_size=8), total_steps=120)
    assert await ledger.jobs.set_resolved(ledger.epoch, name, estimate) is None
    if not is_deleted:
        assert await ledger.jobs.get(name) == ended


async def test_resolving_a_job_records_its_estimate_and_warnings(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    estimate = job_pb2.Estimate(
        resolved_spec=ledger.spec(batch_size=8),
        total_steps=120,
        warnings=[errors_pb2.FieldViolation(field="epochs", description="unusual")],
    )
    await ledger.jobs.set_waiting_for(ledger.epoch, name, "the validation of its dataset")
    assert (await ledger.jobs.get(name)).waiting_for == "the validation of its dataset"
    job = await ledger.jobs.set_resolved(ledger.epoch, name, estimate)
    assert job.resolved_spec == estimate.resolved_spec
    assert (job.planned_steps, list(job.warnings)) == (120, ["epochs: unusual"])
    await ledger.open(name)
    assert (await ledger.jobs.get(name)).waiting_for == ""


async def test_changes_tell_other_gateways_how_far_jobs_are(ledger: LedgerDriver) -> None:
    await ledger.create()
    ledger.clock.advance(timedelta(minutes=1))
    since = ledger.clock()
    name, _ = await ledger.running()
    (change,) = await ledger.jobs.changes_since(since)
    assert (change.job, change.last_sequence) == (name, 3)
    assert await ledger.jobs.last_sequence(name.removeprefix("jobs/")) == 3
    assert await ledger.jobs.counts() == (1, 1)
