from pathlib import Path

import httpx
import pytest

from tuneyard.web.app import make_app
from tuneyard.web.config import WebConfig

SCRIPT = "export const answer = 42\n" * 1000


@pytest.fixture
async def assets(config: WebConfig, tmp_path: Path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "app-1.js").write_text(SCRIPT)
    transport = httpx.ASGITransport(make_app(config, static=tmp_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        yield client


async def test_scripts_are_compressed_for_whoever_can_read_that(assets: httpx.AsyncClient) -> None:
    packed = await assets.get("/assets/app-1.js", headers={"Accept-Encoding": "gzip"})
    plain = await assets.get("/assets/app-1.js", headers={"Accept-Encoding": "identity"})
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text == SCRIPT


async def test_files_named_after_their_content_are_asked_for_once(assets: httpx.AsyncClient) -> None:
    script, page = await assets.get("/assets/app-1.js"), await assets.get("/jobs")
    assert "immutable" in script.headers["cache-control"]
    assert page.headers["cache-control"] == "no-cache"


async def test_an_asset_that_is_gone_is_not_kept(assets: httpx.AsyncClient) -> None:
    gone = await assets.get("/assets/app-0.js")
    assert gone.status_code == 404
    assert "immutable" not in gone.headers.get("cache-control", "")
