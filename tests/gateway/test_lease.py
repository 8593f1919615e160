"""The controller's lease."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import delete

from tests.support.ledger import LEASE, LedgerDriver
from tuneyard.gateway.db import Database
from tuneyard.gateway.ledger import check_epoch
from tuneyard.gateway.schema import controller


@pytest.fixture
def driver(db: Database) -> LedgerDriver:
    return LedgerDriver(db)


async def test_each_claim_has_a_greater_epoch(driver: LedgerDriver) -> None:
    claim = driver.jobs.claim_controller
    epochs = [await claim("a", LEASE) or 0 for _ in range(3)]
    assert epochs == sorted(set(epochs))


async def test_only_the_current_epoch_can_be_renewed(driver: LedgerDriver) -> None:
    old = await driver.jobs.claim_controller("a", LEASE)
    new = await driver.jobs.claim_controller("a", LEASE)
    assert old and new
    assert not await driver.jobs.renew_controller(old, LEASE)
    assert await driver.jobs.renew_controller(new, LEASE)


async def test_another_gateway_waits_until_the_lease_is_over(driver: LedgerDriver) -> None:
    if driver.db.dialect == "sqlite":
        first = await driver.jobs.claim_controller("a", LEASE)
        second = await driver.jobs.claim_controller("b", LEASE)
        assert first and second and second > first
        return
    epoch = await driver.jobs.claim_controller("a", LEASE)
    assert epoch
    assert await driver.jobs.claim_controller("b", LEASE) is None
    driver.clock.advance(LEASE / 2)
    assert await driver.jobs.renew_controller(epoch, LEASE)
    driver.clock.advance(LEASE / 2 + timedelta(seconds=1))
    assert await driver.jobs.claim_controller("b", LEASE) is None
    driver.clock.advance(LEASE)
    assert (await driver.jobs.claim_controller("b", LEASE) or 0) > epoch


async def test_a_released_lease_is_free_at_once(driver: LedgerDriver) -> None:
    epoch = await driver.jobs.claim_controller("a", LEASE)
    assert epoch
    await driver.jobs.release_controller(epoch)
    assert (await driver.jobs.claim_controller("b", LEASE) or 0) > epoch


async def test_a_database_that_was_made_anew_outranks_the_one_before_it(driver: LedgerDriver) -> None:
    for _ in range(3):
        old = await driver.jobs.claim_controller("a", LEASE)
    async with driver.db.transaction() as connection:
        await connection.execute(delete(controller))
    driver.clock.advance(timedelta(minutes=1))
    assert (await driver.jobs.claim_controller("a", LEASE) or 0) > (old or 0)


async def test_a_claim_waits_until_transactions_of_the_old_epoch_have_ended(ledger: LedgerDriver) -> None:
    epoch = ledger.epoch
    async with ledger.db.transaction() as connection:
        await check_epoch(connection, epoch)
        claim = asyncio.create_task(ledger.jobs.claim_controller("test", LEASE))
        done, _ = await asyncio.wait([claim], timeout=0.2)
        assert not done
    assert await claim == epoch + 1


@pytest.mark.integration
async def test_a_renewal_does_not_wait_for_transactions(postgres_url: str) -> None:
    db = Database.open(postgres_url)
    await db.migrate()
    driver = LedgerDriver(db)
    await driver.lead()
    async with db.transaction() as connection, asyncio.timeout(30):
        await check_epoch(connection, driver.epoch)
        assert await driver.jobs.renew_controller(driver.epoch, LEASE)
    await db.close()
