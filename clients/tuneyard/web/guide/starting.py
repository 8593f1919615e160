"""Starts trainings from the guide's settings, as JSON or as a form with its dataset."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from tuneyard.client import AsyncClient, names
from tuneyard.client.errors import InvalidField, Violation
from tuneyard.web.guide.bodies import Start
from tuneyard.web.guide.own_names import Naming, told_as
from tuneyard.web.guide.sources import dataset_name, store_key, upload
from tuneyard.web.guide.specs import FORMATS, spec_naming, training_spec
from tuneyard.web.guide.tasks import task_id

_OUTPUT_LABEL: Final = "output_dir"
_NAMESPACE: Final = uuid.UUID("6f0c1f3e-5d0b-4c62-9b39-6a4f2a1f2d10")


async def start(
    client: AsyncClient,
    model_type: str,
    body: Start,
    *,
    request: Request,
    more: Mapping[str, Any] | None = None,
) -> str:
    """Creates the job of a JSON body; returns its task id."""
    settings = {**body.settings(), **(more or {})}
    # Before a folder is imported: what is wrong with the settings shows at once.
    training_spec(model_type, body.base_model, "datasets/unknown", settings)
    of_dataset = request_id(request, of="dataset")
    dataset = await dataset_name(client, body.dataset_path, format=FORMATS[model_type], request_id=of_dataset)
    spec = training_spec(model_type, body.base_model, dataset, settings)
    labels = {_OUTPUT_LABEL: store_key(body.output_dir, field="output_dir")} if body.output_dir else None
    with told_as(_naming(spec_naming(model_type, settings))):
        job = await client.train(spec, request_id=request_id(request), labels=labels)
    return task_id(job.snapshot)


async def start_form(
    client: AsyncClient,
    model_type: str,
    form: FormData,
    *,
    request: Request,
    more: Mapping[str, Any] | None = None,
) -> str:
    """Creates the job of a form: its `dataset` file is stored and checked, its other fields are settings."""
    file = form.get("dataset")
    if not isinstance(file, UploadFile):
        raise invalid("dataset", "send the dataset's file in the field dataset")
    settings = _settings(form)
    base_model = settings.pop("base_model", "")
    if not isinstance(base_model, str) or not base_model:
        raise invalid("base_model", "is required")
    given_classes = settings.pop("num_labels", None)
    settings |= more or {}
    training_spec(model_type, base_model, "datasets/unknown", settings)
    of_dataset = request_id(request, of="dataset")
    dataset = await upload(client, file, format=FORMATS[model_type], field="dataset", request_id=of_dataset)
    classes = len(dataset.report.classes)
    if given_classes is not None and str(classes) != str(given_classes).strip():
        raise invalid("num_labels", f"is {given_classes}, and the dataset has {classes} classes")
    spec = training_spec(model_type, base_model, dataset.name, settings)
    with told_as(spec_naming(model_type, settings, dataset="dataset")):
        labels = _name_after(file.filename or "", base_model)
        job = await client.train(spec, request_id=request_id(request), labels=labels)
    return task_id(job.snapshot)


def _name_after(file_name: str, base_model: str) -> dict[str, str]:
    """What a job is to be called where its file's name leaves no letter for the dataset's id."""
    if names.id_after(file_name) or not file_name:
        return {}
    return {"name": f"{names.stem(file_name)}-{base_model.rpartition('/')[2]}"[:100]}


def _naming(of_spec: Naming) -> Naming:
    """Also of what goes beside the spec."""
    return lambda path: _OUTPUT_LABEL if path.startswith("labels[") else of_spec(path)


def _settings(form: FormData) -> dict[str, Any]:
    """A form's other fields. One that is there several times is a list, as programs send lists."""
    fields = [name for name in form if name != "dataset"]
    given = {name: [value for value in form.getlist(name) if value != ""] for name in fields}
    return {name: values if len(values) > 1 else values[0] for name, values in given.items() if values}


def request_id(request: Request, *, of: str = "job") -> str:
    """The `Idempotency-Key` as the request id of what the request makes; "" without one."""
    key = request.headers.get("idempotency-key", "")
    return str(uuid.uuid5(_NAMESPACE, f"{of}:{key}")) if key else ""


def invalid(field: str, description: str) -> InvalidField:
    """The error about one field of a body or form."""
    return InvalidField(
        f"{field}: {description}", reason="INVALID_FIELD", violations=[Violation(field, description)]
    )
