"""The test servers themselves: they start, are separate for each test, and leave nothing behind."""

import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.servers import S3Server

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


async def test_a_database_is_fresh_and_its_server_syncs_to_disk(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_user_tables") == 0
        await connection.execute("CREATE TABLE rows (id bigint)")
    finally:
        await connection.close()


async def test_the_next_test_sees_nothing_of_the_first(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('rows')") is None
    finally:
        await connection.close()


def test_a_bucket_is_fresh_and_writable(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    assert list(s3.client().list_objects(s3.bucket)) == []
    s3.client().fput_object(s3.bucket, "a/b", str(tmp_path / "file"))
    assert [item.object_name for item in s3.client().list_objects(s3.bucket, recursive=True)] == ["a/b"]


@pytest.mark.parametrize(("fixture", "server"), [("postgres_url", "postgres_server"), ("s3", "s3_server")])
def test_no_server_outlives_a_killed_test_run(
    fixture: str, server: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(fixture)  # skips where there is no server
    code = f"from tests.support.servers import {server}\nwith {server}(): print('up', flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"up\n"
        started = psutil.Process(caller.pid).children(recursive=True)
        caller.kill()
    _, alive = psutil.wait_procs(started, timeout=15)
    assert len(started) >= 2
    assert alive == []
