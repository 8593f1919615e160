"""The routes below /v1 that carry bytes and no JSON, as OpenAPI has them: `tuneyard.web.transfers`."""

from typing import Any

Json = dict[str, Any]

_BYTES: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ZIP: Json = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_CONTENT_RANGE = r"^bytes \d{1,18}-(\d{1,18})?/(\d{1,18}|\*)$"
_FROM: list[Json] = [
    {
        "name": "Content-Range",
        "in": "header",
        "description": "Which bytes these are: `bytes 1000-1999/5000`. Default: all.",
        "schema": {"type": "string", "pattern": _CONTENT_RANGE},
    },
    {
        "name": "offset",
        "in": "query",
        "description": "The same in bytes, for clients that cannot set the header.",
        "schema": {"type": "integer", "minimum": 0},
    },
]
_JOB = ("job", "The job's id.")
_DATASET = ("dataset", "The dataset's id.")


def transfers(problem: Json) -> Json:
    """The routes by path; `problem` is the content of an answer that says what went wrong."""
    return {
        "/v1/datasets/{dataset}:upload": {
            "put": {
                "operationId": "PutDataset",
                "tags": ["Transfers"],
                "description": "Stores the bytes of a dataset that is UPLOADING, from an offset on. While the"
                " answer says UPLOADING, more is to come from its upload.receivedBytes on: so is an upload"
                " resumed.",
                "parameters": [_in_path(*_DATASET), *_FROM],
                "requestBody": {"content": _BYTES},
                "responses": _answers(
                    problem,
                    {"application/json": {"schema": {"$ref": "#/components/schemas/UploadDatasetResponse"}}},
                ),
            }
        },
        "/v1/models:upload": {
            "put": {
                "operationId": "PutModel",
                "tags": ["Transfers"],
                "description": "Stores the bytes of a model, a file or a ZIP of its files, as one. The model"
                " is then IMPORTING: a trainer of its family checks it.",
                "parameters": [
                    _in_query("family", "#/components/schemas/Family", "The family.", required=True),
                    _in_query("fileName", "", "The file's name, which tells its kind.", required=True),
                    _in_query("sizeBytes", "", "The bytes to come. Default: Content-Length."),
                    _in_query("modelId", "", "The id. Default: made of the file's name."),
                    _in_query("displayName", "", "A name for people. Default: the id."),
                    _in_query("architecture", "", "The architecture, where the files do not tell it."),
                    _in_query("sha256", "", "The SHA-256 of the bytes, in hex, to be compared."),
                ],
                "requestBody": {"content": _BYTES},
                "responses": _answers(
                    problem,
                    {"application/json": {"schema": {"$ref": "#/components/schemas/UploadModelResponse"}}},
                ),
            }
        },
        "/v1/models/{model}:upload": {
            "put": {
                "operationId": "PutModelBytes",
                "tags": ["Transfers"],
                "description": "Stores the bytes of a model that POST /v1/models has created, from an offset"
                " on. While the answer says UPLOADING, more is to come from its upload.receivedBytes on.",
                "parameters": [_in_path("model", "The model's id."), *_FROM],
                "requestBody": {"content": _BYTES},
                "responses": _answers(
                    problem,
                    {"application/json": {"schema": {"$ref": "#/components/schemas/UploadModelResponse"}}},
                ),
            }
        },
        "/v1/datasets/{dataset}/files/{path}:download": {
            "get": {
                "operationId": "GetDatasetFile",
                "tags": ["Transfers"],
                "description": "Returns one file of a dataset as it lies in the uploaded bytes.",
                "parameters": [_in_path(*_DATASET), _in_path("path", "The file's path in the dataset.")],
                "responses": _answers(problem, _BYTES),
            }
        },
        "/v1/jobs/{job}/artifacts:download": {
            "get": {
                "operationId": "GetArtifacts",
                "tags": ["Transfers"],
                "description": "Returns all artifacts of a job as one ZIP.",
                "parameters": [_in_path(*_JOB)],
                "responses": _answers(problem, _ZIP),
            }
        },
        "/v1/jobs/{job}/artifacts/{path}:download": {
            "get": {
                "operationId": "GetArtifactFile",
                "tags": ["Transfers"],
                "description": "Returns an artifact, whole or by one range of bytes, with its SHA-256 as"
                ' ETag. A path that ends in "/" is a folder and comes as a ZIP.',
                "parameters": [
                    _in_path(*_JOB),
                    _in_path("path", "The artifact's path."),
                    {
                        "name": "Range",
                        "in": "header",
                        "description": "Such as `bytes=1000-1999`, to go on where a download broke off.",
                        "schema": {"type": "string", "pattern": r"^bytes=\d{1,18}-(\d{1,18})?$"},
                    },
                ],
                "responses": _answers(problem, _BYTES)
                | {"206": {"description": "The range", "content": _BYTES}},
            }
        },
    }


def _in_path(name: str, description: str) -> Json:
    pattern = "^.+$" if name == "path" else "^[^/:]+$"
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "pattern": pattern},
    }


def _in_query(name: str, schema: str, description: str, *, required: bool = False) -> Json:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": {"$ref": schema} if schema else {"type": "string"},
    }


def _answers(problem: Json, content: Json) -> Json:
    return {
        "200": {"description": "OK", "content": content},
        "default": {"description": "What went wrong", "content": problem},
    }
