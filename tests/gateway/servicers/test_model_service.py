"""Models over the wire: the catalogue, imports, uploads."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.edge import Edge, eventually, image_folder, refusal, sha256_of
from tuneyard.v1 import model_service_pb2 as pb
from tuneyard.v1 import training_pb2, training_service_pb2

VISION = training_pb2.FAMILY_VISION
WEIGHTS = b"weights" * 100_000


def upload(content: bytes, **header: Any) -> Iterator[pb.UploadModelRequest]:
    values: dict[str, Any] = {
        "family": VISION,
        "file_name": "model.safetensors",
        "size_bytes": len(content),
    } | header
    yield pb.UploadModelRequest(header=pb.ModelUploadHeader(**values))
    for start in range(0, len(content), 200_000):
        yield pb.UploadModelRequest(chunk=content[start : start + 200_000])


async def imported(edge: Edge, name: str) -> pb.Model:
    async def look() -> pb.Model | None:
        model: pb.Model = (await edge.models.GetModel(pb.GetModelRequest(name=name))).model
        return model if model.state != pb.MODEL_STATE_IMPORTING else None

    return await eventually(look)


async def test_the_catalogue_is_that_of_the_trainers_in_pages(edge: Edge) -> None:
    async def look() -> pb.ListBaseModelsResponse | None:
        page: pb.ListBaseModelsResponse = await edge.models.ListBaseModels(
            pb.ListBaseModelsRequest(page_size=2)
        )
        return page if page.base_models else None

    first = await eventually(look)
    request = pb.ListBaseModelsRequest(page_size=2, page_token=first.next_page_token)
    rest = await edge.models.ListBaseModels(request)
    ids = [model.id for page in (first, rest) for model in page.base_models]
    assert ids == ["resnet50", "alexnet", "resnet18"]
    other = await edge.models.ListBaseModels(pb.ListBaseModelsRequest(family=training_pb2.FAMILY_LLM))
    assert not other.base_models


async def test_a_folder_is_imported_with_all_its_files(edge: Edge) -> None:
    folder = edge.folder / "imports" / "my model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "sub" / "config.json").write_bytes(b"{}")
    request = pb.ImportModelRequest(family=VISION, source=str(folder), request_id="r")
    begun = (await edge.models.ImportModel(request)).model
    model = await imported(edge, begun.name)
    again = (await edge.models.ImportModel(request)).model
    assert (model.state, model.size_bytes) == (pb.MODEL_STATE_READY, len(WEIGHTS) + 2)
    assert again.name == begun.name
    assert begun.name.startswith("models/my-model-")


async def test_an_uploaded_file_is_a_model_at_once(edge: Edge) -> None:
    requests = upload(WEIGHTS, model_id="mine", sha256=sha256_of(WEIGHTS), architecture="resnet18")
    model = (await edge.models.UploadModel(requests)).model
    assert (model.name, model.state, model.size_bytes) == ("models/mine", pb.MODEL_STATE_READY, len(WEIGHTS))
    listed = (await edge.models.ListModels(pb.ListModelsRequest())).models
    assert [each.name for each in listed] == ["models/mine"]
    taken = await refusal(edge.models.UploadModel(upload(WEIGHTS, model_id="mine")))
    assert taken.reason == "ALREADY_EXISTS"


async def test_an_uploaded_zip_becomes_its_files(edge: Edge) -> None:
    content = image_folder(per_class=2)
    model = (await edge.models.UploadModel(upload(content, file_name="model.zip", model_id="z"))).model
    keys = [info.key for info in edge.store.list("models/z/")]
    assert model.state == pb.MODEL_STATE_READY
    assert len(keys) == 6
    assert all(key.endswith(".png") for key in keys)


@pytest.mark.parametrize(
    ("content", "header", "reason"),
    [
        (b"abc", {"sha256": "0" * 64}, "CHECKSUM_MISMATCH"),
        (b"abc", {"size_bytes": 5}, "CHECKSUM_MISMATCH"),
        (b"abc", {"size_bytes": 2}, "INVALID_FIELD"),
        (b"abc", {"file_name": "../x"}, "INVALID_FIELD"),
        (b"abc", {"file_name": "x.zip"}, "INVALID_FIELD"),
        (b"abc", {"family": 0}, "INVALID_FIELD"),
    ],
)
async def test_a_bad_upload_is_refused_and_leaves_nothing(
    edge: Edge, content: bytes, header: dict[str, Any], reason: str
) -> None:
    error = await refusal(edge.models.UploadModel(upload(content, **header)))
    assert error.reason == reason
    assert list(edge.store.list("models/")) == []


async def test_hubs_and_forbidden_paths_are_refused(edge: Edge) -> None:
    hub = pb.ImportModelRequest(family=VISION, source="timm/resnet50")
    path = pb.ImportModelRequest(family=VISION, source="/etc")
    assert (await refusal(edge.models.ImportModel(hub))).reason == "NOT_SUPPORTED"
    assert (await refusal(edge.models.ImportModel(path))).reason == "SOURCE_NOT_ALLOWED"


async def test_a_model_in_use_is_not_deleted(edge: Edge) -> None:
    dataset = await edge.ready_dataset()
    await edge.models.UploadModel(upload(WEIGHTS, model_id="mine"))
    spec = training_pb2.TrainingSpec(dataset=dataset, base_model="models/mine")
    spec.image_classifier.SetInParent()
    job = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job
    error = await refusal(edge.models.DeleteModel(pb.DeleteModelRequest(name="models/mine")))
    assert error.reason == "MODEL_IN_USE"
    assert job.name in error.message
    await edge.training.CancelJob(training_service_pb2.CancelJobRequest(name=job.name))
    await edge.models.DeleteModel(pb.DeleteModelRequest(name="models/mine"))
    gone = await refusal(edge.models.GetModel(pb.GetModelRequest(name="models/mine")))
    assert gone.reason == "MODEL_NOT_FOUND"


async def test_an_unknown_model_is_not_found_when_it_is_trained(edge: Edge) -> None:
    dataset = await edge.ready_dataset()
    spec = training_pb2.TrainingSpec(dataset=dataset, base_model="models/none")
    spec.image_classifier.SetInParent()
    error = await refusal(edge.training.Train(training_service_pb2.TrainRequest(spec=spec)))
    assert error.reason == "MODEL_NOT_FOUND"
