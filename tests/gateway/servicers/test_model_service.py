"""Models over the wire: the catalogue, imports, uploads."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge import Edge, eventually, image_folder, refusal, sha256_of
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, ObjectInfo, StoreFull
from tuneyard.v1 import model_service_pb2 as pb
from tuneyard.v1 import trainer_service_pb2, training_pb2, training_service_pb2

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


async def test_an_import_that_fails_on_the_way_leaves_nothing(edge: Edge) -> None:
    folder = edge.folder / "imports" / "model"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(WEIGHTS)
    (folder / "b\u0085.json").write_bytes(b"{}")
    begun = (await edge.models.ImportModel(pb.ImportModelRequest(family=VISION, source=str(folder)))).model
    model = await imported(edge, begun.name)
    assert (model.state, model.error) == (pb.MODEL_STATE_FAILED, "the source cannot be read")
    assert list(edge.store.list("models/")) == []


async def test_an_import_that_finds_the_store_full_waits_and_lets_others_pass(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, put_file = True, FolderStore.put_file

    def put(store: FolderStore, key: str, path: Path, **more: Any) -> ObjectInfo:
        if full and key.startswith("models/first/"):
            raise StoreFull("the store has no room")
        return put_file(store, key, path, **more)

    monkeypatch.setattr(FolderStore, "put_file", put)
    for name in ("first", "second"):
        file = edge.folder / "imports" / f"{name}.safetensors"
        file.write_bytes(WEIGHTS)
        await edge.models.ImportModel(pb.ImportModelRequest(family=VISION, source=str(file), model_id=name))
    assert (await imported(edge, "models/second")).state == pb.MODEL_STATE_READY
    waiting = (await edge.models.GetModel(pb.GetModelRequest(name="models/first"))).model
    assert waiting.detail == "waiting: the store has no room"
    full = False
    assert (await imported(edge, "models/first")).state == pb.MODEL_STATE_READY


async def test_an_uploaded_file_becomes_a_model(edge: Edge) -> None:
    requests = upload(WEIGHTS, model_id="mine", sha256=sha256_of(WEIGHTS), architecture="resnet18")
    begun = (await edge.models.UploadModel(requests)).model
    assert (begun.name, begun.state) == ("models/mine", pb.MODEL_STATE_IMPORTING)
    model = await imported(edge, "models/mine")
    assert (model.state, model.size_bytes) == (pb.MODEL_STATE_READY, len(WEIGHTS))
    listed = (await edge.models.ListModels(pb.ListModelsRequest())).models
    assert [each.name for each in listed] == ["models/mine"]
    taken = await refusal(edge.models.UploadModel(upload(WEIGHTS, model_id="mine")))
    assert taken.reason == "ALREADY_EXISTS"


async def test_an_uploaded_zip_becomes_its_files(edge: Edge) -> None:
    content = image_folder(per_class=2)
    await edge.models.UploadModel(upload(content, file_name="model.zip", model_id="z"))
    model = await imported(edge, "models/z")
    keys = [info.key for info in edge.store.list("models/z/")]
    assert model.state == pb.MODEL_STATE_READY
    assert len(keys) == 6
    assert all(key.endswith(".png") for key in keys)


async def test_what_torch_wrote_may_lie_in_an_uploaded_zip(edge: Edge) -> None:
    """Since torch 1.6 its files are ZIPs themselves: folders of a hub hold such a pytorch_model.bin."""
    weights, content = io.BytesIO(), io.BytesIO()
    for buffer, name, data in ((weights, "archive/data.pkl", b"x"), (content, "pytorch_model.bin", None)):
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, weights.getvalue() if data is None else data)
    await edge.models.UploadModel(upload(content.getvalue(), file_name="model.zip", model_id="t"))
    await imported(edge, "models/t")
    assert any(info.key.endswith("pytorch_model.bin") for info in edge.store.list("models/t/"))


async def created(edge: Edge, content: bytes, **more: Any) -> pb.Model:
    values: dict[str, Any] = {
        "model_id": "mine",
        "family": VISION,
        "file_name": "model.safetensors",
        "size_bytes": len(content),
    } | more
    model: pb.Model = (await edge.models.CreateModel(pb.CreateModelRequest(**values))).model
    return model


def sent(content: bytes, offset: int = 0, name: str = "models/mine") -> Iterator[pb.UploadModelRequest]:
    yield pb.UploadModelRequest(place=pb.ModelUploadPlace(name=name, offset=offset))
    for start in range(offset, len(content), 200_000):
        yield pb.UploadModelRequest(chunk=content[start : start + 200_000])


async def test_an_upload_goes_on_where_it_broke_off(edge: Edge) -> None:
    begun = await created(edge, WEIGHTS, sha256=sha256_of(WEIGHTS), request_id="r")
    assert (begun.state, begun.upload.received_bytes) == (pb.MODEL_STATE_UPLOADING, 0)
    broken = (await edge.models.UploadModel(sent(WEIGHTS[:300_000]))).model
    assert (broken.state, broken.upload.received_bytes) == (pb.MODEL_STATE_UPLOADING, 300_000)
    again = await created(edge, WEIGHTS, sha256=sha256_of(WEIGHTS), request_id="r")
    listed = (await edge.models.ListModels(pb.ListModelsRequest())).models
    assert [each.upload.received_bytes for each in (again, *listed)] == [300_000, 300_000]
    elsewhere = await refusal(edge.models.UploadModel(sent(WEIGHTS)))
    assert (elsewhere.reason, elsewhere.metadata["offset"]) == ("UPLOAD_OFFSET_MISMATCH", "300000")
    whole = (await edge.models.UploadModel(sent(WEIGHTS, 300_000))).model
    assert whole.state == pb.MODEL_STATE_IMPORTING
    model = await imported(edge, "models/mine")
    assert (model.state, model.size_bytes) == (pb.MODEL_STATE_READY, len(WEIGHTS))
    assert not model.HasField("upload")


async def test_a_zip_that_came_in_two_calls_becomes_its_files(edge: Edge) -> None:
    content = image_folder(per_class=2)
    await created(edge, content, file_name="model.zip")
    await edge.models.UploadModel(sent(content[:100]))
    await edge.models.UploadModel(sent(content, 100))
    assert (await imported(edge, "models/mine")).state == pb.MODEL_STATE_READY
    keys = [info.key for info in edge.store.list("models/mine/")]
    assert len(keys) == 6
    assert all(key.endswith(".png") for key in keys)


async def test_a_zip_that_is_none_fails_and_leaves_nothing(edge: Edge) -> None:
    await created(edge, b"abc", file_name="model.zip")
    await edge.models.UploadModel(sent(b"abc"))
    model = await imported(edge, "models/mine")
    assert model.state == pb.MODEL_STATE_FAILED
    assert model.error.startswith("the ZIP is refused")
    assert list(edge.store.list("models/")) == []


async def test_bytes_that_are_not_those_announced_are_to_come_again(edge: Edge) -> None:
    await created(edge, b"abc", sha256=sha256_of(b"abd"))
    assert (await refusal(edge.models.UploadModel(sent(b"abc")))).reason == "CHECKSUM_MISMATCH"
    assert (await edge.models.UploadModel(sent(b"abd"))).model.state == pb.MODEL_STATE_IMPORTING


async def test_a_model_whose_bytes_are_to_come_has_its_name_cannot_be_used_and_can_be_deleted(
    edge: Edge,
) -> None:
    await created(edge, WEIGHTS)
    assert (await refusal(edge.models.UploadModel(upload(WEIGHTS, model_id="mine")))).reason == (
        "ALREADY_EXISTS"
    )
    spec = training_pb2.TrainingSpec(dataset=await edge.ready_dataset(), base_model="models/mine")
    spec.image_classifier.SetInParent()
    error = await refusal(edge.training.Train(training_service_pb2.TrainRequest(spec=spec)))
    assert error.reason == "BASE_MODEL_UNAVAILABLE"
    await edge.models.DeleteModel(pb.DeleteModelRequest(name="models/mine"))
    gone = await refusal(edge.models.UploadModel(sent(WEIGHTS)))
    assert gone.reason == "MODEL_NOT_FOUND"
    assert list(edge.store.list("models/")) == []


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


@pytest.mark.parametrize(
    ("source", "reason"),
    [("/etc", "SOURCE_NOT_ALLOWED"), ("../x", "INVALID_FIELD"), ("resnet50", "INVALID_FIELD")],
)
async def test_forbidden_paths_and_nonsense_are_refused(edge: Edge, source: str, reason: str) -> None:
    request = pb.ImportModelRequest(family=VISION, source=source)
    assert (await refusal(edge.models.ImportModel(request))).reason == reason


async def test_what_no_trainer_can_fetch_fails_and_says_what_to_do(edge: Edge) -> None:
    begun = (
        await edge.models.ImportModel(pb.ImportModelRequest(family=VISION, source="timm/resnet50"))
    ).model
    model = await imported(edge, begun.name)
    assert model.state == pb.MODEL_STATE_FAILED
    assert "import its folder" in model.error


async def test_the_name_of_a_failed_import_is_free_again(edge: Edge) -> None:
    failing = pb.ImportModelRequest(family=VISION, source="timm/resnet50", model_id="mine")
    await edge.models.ImportModel(failing)
    assert (await imported(edge, "models/mine")).state == pb.MODEL_STATE_FAILED
    await edge.models.ImportModel(failing)
    assert (await imported(edge, "models/mine")).state == pb.MODEL_STATE_FAILED
    await edge.models.UploadModel(upload(WEIGHTS, model_id="mine"))
    model = await imported(edge, "models/mine")
    assert (model.state, model.error) == (pb.MODEL_STATE_READY, "")
    assert (await refusal(edge.models.ImportModel(failing))).reason == "ALREADY_EXISTS"


def converter(edge: Edge, architecture: str) -> Callable[[Any], trainer_service_pb2.ConvertModelResponse]:
    """A trainer that finds this architecture in any file."""

    def convert(request: trainer_service_pb2.ConvertModelRequest) -> trainer_service_pb2.ConvertModelResponse:
        response = trainer_service_pb2.ConvertModelResponse(detail=f"{architecture}, 7 classes")
        response.model.architecture = architecture
        info = edge.store.put(f"{request.prefix}model.safetensors", b"converted")
        response.model.files.add(
            path="model.safetensors", key=info.key, size_bytes=info.size_bytes, sha256=info.sha256
        )
        return response

    return convert


async def test_a_model_is_what_the_trainer_made_of_its_files(edge: Edge) -> None:
    edge.trainer.convert = converter(edge, "resnet18")
    await edge.models.UploadModel(upload(WEIGHTS, model_id="mine", file_name="w.pth"))
    model = await imported(edge, "models/mine")
    assert (model.architecture, model.detail) == ("resnet18", "resnet18, 7 classes")
    assert model.size_bytes == len(b"converted")
    [request] = edge.trainer.conversions
    assert [file.path for file in request.model.files] == ["w.pth"]


async def test_a_refused_file_fails_the_import_with_the_trainers_words(edge: Edge) -> None:
    def refuse(request: Any) -> trainer_service_pb2.ConvertModelResponse:
        raise TuneyardError("BASE_MODEL_UNAVAILABLE", "3 missing: layer4.weight")

    edge.trainer.convert = refuse
    await edge.models.UploadModel(upload(WEIGHTS, model_id="mine"))
    model = await imported(edge, "models/mine")
    assert (model.state, model.error) == (pb.MODEL_STATE_FAILED, "3 missing: layer4.weight")


async def test_an_import_waits_for_what_passes_by_itself(edge: Edge) -> None:
    answers = [TuneyardError("STORE_UNAVAILABLE", "the store is away")]

    def convert(request: Any) -> trainer_service_pb2.ConvertModelResponse:
        if answers:
            raise answers.pop()
        return converter(edge, "resnet18")(request)

    edge.trainer.convert = convert
    await edge.models.UploadModel(upload(WEIGHTS, model_id="mine"))
    assert (await imported(edge, "models/mine")).state == pb.MODEL_STATE_READY
    assert len(edge.trainer.conversions) == 2


async def test_a_model_named_like_its_architecture_stands_for_it(edge_with_shapes: Edge) -> None:
    edge = edge_with_shapes
    edge.trainer.convert = converter(edge, "resnet18")
    await edge.models.UploadModel(upload(WEIGHTS, model_id="resnet18"))
    await imported(edge, "models/resnet18")
    listed = (await edge.models.ListBaseModels(pb.ListBaseModelsRequest())).base_models
    assert {model.id: model.model for model in listed if model.model} == {"resnet18": "models/resnet18"}
    spec = training_pb2.TrainingSpec(dataset="datasets/shapes", base_model="resnet18")
    spec.image_classifier.SetInParent()
    job = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job
    assert job.spec.training.base_model == "resnet18"
    assert job.resolved_spec.training.base_model == "models/resnet18"
    in_use = await refusal(edge.models.DeleteModel(pb.DeleteModelRequest(name="models/resnet18")))
    assert in_use.reason == "MODEL_IN_USE"
    spec.image_classifier.pretrained = False
    random = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job
    assert random.resolved_spec.training.base_model == "resnet18"


async def test_a_hub_id_is_what_was_imported_from_there(edge_with_shapes: Edge) -> None:
    edge = edge_with_shapes
    edge.trainer.convert = converter(edge, "vit_b_16")
    request = pb.ImportModelRequest(family=VISION, source="google/vit-base-patch16-224", model_id="vit")
    await edge.models.ImportModel(request)
    await imported(edge, "models/vit")
    assert edge.trainer.conversions[0].hub_id == "google/vit-base-patch16-224"
    spec = training_pb2.TrainingSpec(dataset="datasets/shapes", base_model="google/vit-base-patch16-224")
    spec.image_classifier.SetInParent()
    job = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job
    assert job.resolved_spec.training.base_model == "models/vit"


async def test_an_alias_is_imported_from_its_place_on_the_hub_at_the_pinned_revision(edge: Edge) -> None:
    edge.trainer.catalogue.append(
        pb.BaseModel(id="small", family=VISION, hub_id="org/Small", revision="c0ffee")
    )
    edge.trainer.convert = converter(edge, "SmallForCausalLM")

    async def listed() -> bool | None:
        page = await edge.models.ListBaseModels(pb.ListBaseModelsRequest())
        return any(known.id == "small" for known in page.base_models) or None

    await eventually(listed)
    model = (await edge.models.ImportModel(pb.ImportModelRequest(family=VISION, source="small"))).model
    assert (model.name, model.source, model.revision) == ("models/small", "org/Small", "c0ffee")
    await imported(edge, "models/small")
    [request] = edge.trainer.conversions
    assert (request.hub_id, request.model.revision) == ("org/Small", "c0ffee")
    again = (await edge.models.ImportModel(pb.ImportModelRequest(family=VISION, source="small"))).model
    assert again.name.startswith("models/small-")


async def test_a_model_in_use_is_not_deleted(edge_with_shapes: Edge) -> None:
    edge = edge_with_shapes
    await edge.models.UploadModel(upload(WEIGHTS, model_id="mine"))
    await imported(edge, "models/mine")
    spec = training_pb2.TrainingSpec(dataset="datasets/shapes", base_model="models/mine")
    spec.image_classifier.SetInParent()
    job = (await edge.training.Train(training_service_pb2.TrainRequest(spec=spec))).job
    error = await refusal(edge.models.DeleteModel(pb.DeleteModelRequest(name="models/mine")))
    assert error.reason == "MODEL_IN_USE"
    assert job.name in error.message
    await edge.training.CancelJob(training_service_pb2.CancelJobRequest(name=job.name))
    await edge.models.DeleteModel(pb.DeleteModelRequest(name="models/mine"))
    gone = await refusal(edge.models.GetModel(pb.GetModelRequest(name="models/mine")))
    assert gone.reason == "MODEL_NOT_FOUND"


async def test_an_unknown_model_is_not_found_when_it_is_trained(edge_with_shapes: Edge) -> None:
    edge = edge_with_shapes
    spec = training_pb2.TrainingSpec(dataset="datasets/shapes", base_model="models/none")
    spec.image_classifier.SetInParent()
    error = await refusal(edge.training.Train(training_service_pb2.TrainRequest(spec=spec)))
    assert error.reason == "MODEL_NOT_FOUND"
