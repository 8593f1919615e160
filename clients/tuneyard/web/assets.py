"""The web UI's own files: sent compressed, and asked for once, as their names change with their content."""

import os
from pathlib import Path
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

_LEVEL: Final = 6
_KEPT: Final = "public, max-age=31536000, immutable"


def assets_of(static: Path) -> ASGIApp:
    """The application that serves them; `static` is the folder of the built web UI."""
    return GZipMiddleware(_Files(directory=static / "assets"), compresslevel=_LEVEL)


class _Files(StaticFiles):
    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = _KEPT
        return response
