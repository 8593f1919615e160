"""The application under /api: its routes, and its errors with a `detail` that is always one text."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tuneyard.client import AsyncClient, errors
from tuneyard.web import problems
from tuneyard.web.guide import finetuning, training
from tuneyard.web.guide.body_limit import BodyLimit
from tuneyard.web.guide.own_names import in_path

_WRONG = 422


def make_guide_app(client: AsyncClient) -> FastAPI:
    """The application; mount it at /api."""
    app = FastAPI(title="Tuneyard, as the training guide has it", docs_url=None, redoc_url=None)
    app.state.client = client
    app.add_middleware(BodyLimit)
    app.include_router(training.router)
    app.include_router(finetuning.router)
    app.add_exception_handler(errors.TuneyardError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TuneyardError)
    told = problems.of_error(error)
    # What is wrong with a field is the caller's to mend, also where it asks for what no trainer does.
    if told["status"] == 400 or error.violations:
        told |= problems.plain(_WRONG, told["detail"])
    if error.violations:
        fields = [in_path(each.field, request.path_params) for each in error.violations]
        told["violations"] = [
            {"field": field, "description": each.description}
            for field, each in zip(fields, error.violations, strict=True)
        ]
        told["detail"] = "; ".join(
            f"{each['field']}: {each['description']}".removeprefix(": ") for each in told["violations"]
        )
    if isinstance(error, errors.JobFailed):
        told["detail"] = " ".join((error.message, *error.remedies))
    if isinstance(error, errors.JobFailed | errors.JobCancelled) and error.resource:
        # Of a task that this call made and waited for: its page and log tell more.
        told["task_id"] = error.resource.removeprefix("jobs/")
    return problems.answer(told, headers=problems.headers_of(error))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    violations = [_violation(each) for each in error.errors()]
    detail = "; ".join(f"{each['field']}: {each['description']}".lstrip(": ") for each in violations)
    more: dict[str, Any] = {"reason": "INVALID_FIELD", "violations": violations}
    return problems.answer(problems.plain(_WRONG, detail, **more))


def _violation(error: dict[str, Any]) -> dict[str, str]:
    if error["type"] == "json_invalid":
        where = f"{error['ctx']['error']} at character {error['loc'][-1]}"
        return {"field": "", "description": f"the body is not JSON: {where}"}
    field = ".".join(str(part) for part in error["loc"][1:])
    # As curl -d sends it, unless it is told otherwise.
    description = str(error["msg"]) if field else "send a JSON object, with Content-Type: application/json"
    return {"field": field, "description": description}


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problems.answer(
        problems.plain(error.status_code, str(error.detail)), headers=dict(error.headers or {})
    )
