"""Wires the edge: which path is answered by what."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from tuneyard.client import AsyncClient
from tuneyard.client.connection import ConnectionSettings
from tuneyard.web import guide_page, problems
from tuneyard.web.assets import assets_of
from tuneyard.web.attempts import Attempts
from tuneyard.web.config import WebConfig
from tuneyard.web.guard import Guard
from tuneyard.web.guide.app import make_guide_app
from tuneyard.web.guide.sockets import tell_tasks
from tuneyard.web.openapi import document
from tuneyard.web.openapi_page import STYLE, page
from tuneyard.web.session import PATH as SESSION
from tuneyard.web.session import SessionEndpoints, Sessions
from tuneyard.web.transcoder import Transcoder
from tuneyard.web.transfers import Transfers

STATIC = Path(__file__).parent / "static"
_NO_UI = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tuneyard</title></head><body>
<h1>Tuneyard</h1><p>The web UI is not built: run <code>make ui</code>. The API answers under <a
href="/docs">/v1</a>.</p></body></html>"""


def make_app(config: WebConfig, *, static: Path = STATIC) -> Starlette:
    """The ASGI application; its connection to the gateway is opened by the first call."""
    client = AsyncClient(ConnectionSettings(server=config.server, token=config.token or None))
    transcoder, transfers = Transcoder(client.raw), Transfers(client)
    sessions = Sessions(config.token)
    attempts = Attempts()
    session = SessionEndpoints(sessions, attempts, is_needed=not config.is_loopback)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await client.close()

    async def schema(_: Request) -> Response:
        return JSONResponse(document())

    async def docs(_: Request) -> Response:
        return HTMLResponse(page(document()))

    async def docs_style(_: Request) -> Response:
        return Response(STYLE, media_type="text/css")

    async def healthy(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def index(_: Request) -> Response:
        file = static / "index.html"
        if not file.exists():
            return HTMLResponse(_NO_UI)
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    everything = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    assets = [Mount("/assets", assets_of(static))] if static.exists() else []
    app = Starlette(
        routes=[
            *(
                WebSocketRoute(f"{root}/ws/training{path}", tell_tasks)
                for root in ("", "/api")
                for path in ("", "/{task_id:str}")
            ),
            Route("/v1/datasets/{dataset:str}:upload", transfers.put_dataset, methods=["PUT"]),
            Route("/v1/models:upload", transfers.put_model, methods=["PUT"]),
            Route("/v1/models/{model:str}:upload", transfers.put_model_on, methods=["PUT"]),
            Route("/v1/datasets/{dataset:str}/files/{path:path}:download", transfers.get_dataset_file),
            Route("/v1/jobs/{job:str}/artifacts:download", transfers.get_artifact, methods=["GET", "HEAD"]),
            Route(
                "/v1/jobs/{job:str}/artifacts/{path:path}:download",
                transfers.get_artifact,
                methods=["GET", "HEAD"],
            ),
            Route("/v1/{path:path}", transcoder.handle, methods=everything),
            Mount("/api", make_guide_app(client)),
            Route(SESSION, session.get),
            Route(SESSION, session.put, methods=["PUT"]),
            Route(SESSION, session.delete, methods=["DELETE"]),
            Route("/openapi.json", schema),
            Route("/docs", docs),
            Route("/docs.css", docs_style),
            *_guide_routes(),
            Route("/healthz", healthy),
            *assets,
            Route("/{path:path}", index),
        ],
        middleware=[Middleware(Guard, config=config, sessions=sessions, attempts=attempts)],
        exception_handlers={HTTPException: _http_problem, Exception: _fault},
        lifespan=lifespan,
    )
    app.state.client = client
    return app


def _guide_routes() -> Iterator[Route]:
    """The guide in each of its languages, and its style."""
    for edition in guide_page.EDITIONS:

        async def show(_: Request, edition: guide_page.Edition = edition) -> Response:
            return HTMLResponse(guide_page.page(edition), headers={"Cache-Control": "no-cache"})

        yield Route(edition.path, show)

    async def style(_: Request) -> Response:
        return Response(guide_page.STYLE, media_type="text/css")

    yield Route("/guide.css", style)


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = problems.plain(error.status_code, error.detail)
    return problems.answer(told, headers=dict(error.headers or {}))


async def _fault(_: Request, error: Exception) -> Response:
    told = problems.plain(500, "The web server has a fault; its log says more.", reason="INTERNAL")
    return problems.answer(told)
