"""What follows for a job from an attempt that was lost, or whose memory ran out."""

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.db import Database
from tuneyard.v1 import errors_pb2, job_pb2


async def test_a_lost_attempt_queues_the_job_again_from_its_newest_checkpoint(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, ledger.checkpoint(10), ledger.checkpoint(20, superseded=((1, 10),)))
    await ledger.lose(name, attempt)
    newest = (await ledger.jobs.kept_checkpoints(name))[-1]
    assert (newest.attempt, newest.step) == (1, 20)
    await ledger.open(name)
    change = (await ledger.log(name))[-1].state_change
    assert (change.to, change.resumed_from_step) == (job_pb2.JOB_STATE_STARTING, 20)


async def test_a_second_attempt_without_a_checkpoint_says_that_it_begins_at_0(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.lose(name, attempt)
    await ledger.open(name)
    change = (await ledger.log(name))[-1].state_change
    assert change.HasField("resumed_from_step") and change.resumed_from_step == 0
    assert not (await ledger.jobs.get(name)).HasField("resumed_from")


async def _lose_again(ledger: LedgerDriver, name: str, *bodies: dict[str, object]) -> str:
    attempt = await ledger.open(name)
    await ledger.write(name, attempt, ledger.started(), *bodies)
    await ledger.lose(name, attempt, exit_code=1)
    return (await ledger.states(name))[-1]


async def test_three_losses_in_a_row_without_a_checkpoint_are_a_crash_loop(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    assert [await _lose_again(ledger, name) for _ in range(3)] == ["QUEUED", "QUEUED", "FAILED"]
    error = (await ledger.jobs.get(name)).error
    assert error.reason == errors_pb2.ERROR_REASON_CRASH_LOOP
    assert "it was lost" in error.message


async def test_a_new_checkpoint_ends_the_count_of_losses(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    states = [await _lose_again(ledger, name) for _ in range(2)]
    states += [await _lose_again(ledger, name, ledger.checkpoint(5))]
    states += [await _lose_again(ledger, name) for _ in range(3)]
    assert states == ["QUEUED"] * 5 + ["FAILED"]


async def test_a_checkpoint_that_repeats_an_old_step_is_no_progress(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    states = [await _lose_again(ledger, name, ledger.checkpoint(5)) for _ in range(4)]
    assert states == ["QUEUED", "QUEUED", "QUEUED", "FAILED"]


async def test_resuming_a_paused_job_begins_the_count_anew(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    states = [await _lose_again(ledger, name) for _ in range(2)]
    await ledger.jobs.request_pause(name)
    await ledger.jobs.request_resume(name)
    states += [await _lose_again(ledger, name) for _ in range(3)]
    assert states == ["QUEUED"] * 4 + ["FAILED"]


async def test_the_number_of_losses_is_a_setting(db: Database) -> None:
    driver = LedgerDriver(db, max_lost_attempts=1)
    await driver.lead()
    name, attempt = await driver.running()
    await driver.lose(name, attempt)
    assert (await driver.states(name))[-1] == "FAILED"


async def test_out_of_memory_halves_the_micro_batch_until_it_is_one_sample(ledger: LedgerDriver) -> None:
    name = await ledger.create(batch_size=4)
    for halvings, expected in ((1, "QUEUED"), (2, "QUEUED"), (2, "FAILED")):
        attempt = await ledger.open(name)
        await ledger.lose(name, attempt, signal=9, out_of_memory=True)
        assert (await ledger.states(name))[-1] == expected
        assert (await ledger.jobs.get(name)).micro_batch_halvings == halvings
    error = (await ledger.jobs.get(name)).error
    assert error.reason == errors_pb2.ERROR_REASON_OUT_OF_MEMORY
    words = ["batch_size", "gradient checkpointing", "image size", "base model"]
    assert [word in remedy for word, remedy in zip(words, error.remedies, strict=True)] == [True] * 4


async def test_out_of_memory_while_pausing_leaves_the_job_paused(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running(batch_size=1)
    await ledger.jobs.request_pause(name)
    await ledger.lose(name, attempt, signal=9, out_of_memory=True)
    job = await ledger.jobs.get(name)
    assert (job.state, job.HasField("error")) == (job_pb2.JOB_STATE_PAUSED, False)
