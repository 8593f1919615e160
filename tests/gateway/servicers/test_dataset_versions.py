"""Versions of a dataset without some of its files: validated by themselves, on the bytes they share."""

import io
import zipfile

import pytest

from tests.support.edge import Edge, image_folder, refusal
from tuneyard.v1 import dataset_pb2
from tuneyard.v1 import dataset_service_pb2 as pb

READY, INVALID = dataset_pb2.DATASET_STATE_READY, dataset_pb2.DATASET_STATE_INVALID


def with_copies(count: int) -> bytes:
    """The clean image folder with copies of one of its images in the same class."""
    data = io.BytesIO(image_folder())
    with zipfile.ZipFile(data, "a") as archive:
        original = next(name for name in archive.namelist() if name.endswith(".png"))
        for number in range(count):
            archive.writestr(f"{original.rpartition('/')[0]}/copy-{number}.png", archive.read(original))
    return data.getvalue()


async def version(edge: Edge, parent: str, **fields: object) -> dataset_pb2.Dataset:
    request = pb.CreateDatasetVersionRequest(parent=parent, **fields)  # type: ignore[arg-type]
    created = (await edge.datasets.CreateDatasetVersion(request)).dataset
    return await edge.settled(created.name)


async def source_of(edge: Edge, name: str) -> list[str]:
    found = (await edge.datasets.GetDataset(pb.GetDatasetRequest(name=name))).dataset
    return [finding.path for finding in found.report.findings if finding.code == "DUPLICATE_IMAGE"]


async def test_a_version_leaves_out_the_named_file_and_the_original_keeps_it(edge: Edge) -> None:
    parent = await edge.ready_dataset(content=with_copies(1))
    (copy,) = await source_of(edge, parent)
    made = await version(edge, parent, exclude_paths=[copy], dataset_id="clean")
    assert (made.name, made.parent, made.state) == ("datasets/clean", parent, READY)
    assert list(made.report.excluded) == [copy]
    assert "DUPLICATE_IMAGE" not in made.report.counts
    assert await source_of(edge, parent) == [copy]


async def test_a_code_leaves_out_every_file_with_such_a_finding(edge: Edge) -> None:
    parent = await edge.ready_dataset(content=with_copies(3))
    made = await version(edge, parent, exclude_codes=["DUPLICATE_IMAGE"])
    assert len(made.report.excluded) == 3
    assert made.report.samples == 36
    assert made.sha256 == (await edge.settled(parent)).sha256


async def test_a_version_of_a_version_leaves_out_what_either_does(edge: Edge) -> None:
    parent = await edge.ready_dataset(content=with_copies(2))
    first, second = await source_of(edge, parent)
    child = await version(edge, parent, exclude_paths=[first])
    grandchild = await version(edge, child.name, exclude_paths=[second])
    assert sorted(grandchild.report.excluded) == sorted([first, second])


async def test_a_version_that_empties_a_class_is_invalid(edge: Edge) -> None:
    parent = await edge.settled(await edge.ready_dataset())
    with zipfile.ZipFile(io.BytesIO(image_folder())) as archive:
        red = [name.partition("/")[2] for name in archive.namelist() if "/red/" in name]
        paths = red or [name for name in archive.namelist() if name.startswith("red/")]
    made = await version(edge, parent.name, exclude_paths=paths)
    assert made.state == INVALID
    assert made.report.counts["CLASS_EMPTY"] >= 1


async def test_a_file_that_is_not_there_is_an_error_that_no_later_version_inherits(edge: Edge) -> None:
    parent = await edge.ready_dataset(content=with_copies(1))
    [copy] = await source_of(edge, parent)
    made = await version(edge, parent, exclude_paths=["nowhere.png", copy])
    assert made.state == INVALID
    assert made.report.counts["EXCLUDED_FILE_UNKNOWN"] == 1
    assert (await version(edge, made.name, exclude_codes=["IMAGE_BLANK"])).state == READY


async def test_either_may_be_deleted_and_the_other_keeps_its_bytes(edge: Edge) -> None:
    parent = await edge.ready_dataset(content=with_copies(1))
    made = await version(edge, parent, exclude_codes=["DUPLICATE_IMAGE"])
    await edge.datasets.DeleteDataset(pb.DeleteDatasetRequest(name=parent))
    again = await version(edge, made.name, exclude_codes=["IMAGE_BLANK"])
    assert again.state == READY


async def test_a_repeated_call_makes_one_version(edge: Edge) -> None:
    parent = await edge.ready_dataset()
    made = [await version(edge, parent, exclude_paths=["x"], request_id="one") for _ in range(2)]
    assert made[0].name == made[1].name


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "exclude_paths"),
        ({"exclude_codes": ["NO_SUCH_CODE"]}, "exclude_codes[0]"),
        ({"exclude_paths": ["x"], "parent": "shapes"}, "parent"),
    ],
)
async def test_a_senseless_version_is_refused(edge: Edge, fields: dict[str, object], field: str) -> None:
    request = pb.CreateDatasetVersionRequest(**({"parent": "datasets/shapes"} | fields))  # type: ignore[arg-type]
    error = await refusal(edge.datasets.CreateDatasetVersion(request))
    assert (error.reason, error.violations[0].field) == ("INVALID_FIELD", field)


async def test_a_version_of_what_is_still_uploading_is_refused(edge: Edge) -> None:
    created = await edge.create_dataset(image_folder(), dataset_id="late")
    request = pb.CreateDatasetVersionRequest(parent=created.name, exclude_paths=["x"])
    assert (await refusal(edge.datasets.CreateDatasetVersion(request))).reason == "DATASET_NOT_READY"


async def test_a_list_names_the_parent_and_no_files(edge: Edge) -> None:
    parent = await edge.ready_dataset(content=with_copies(1))
    made = await version(edge, parent, exclude_codes=["DUPLICATE_IMAGE"])
    listed = (await edge.datasets.ListDatasets(pb.ListDatasetsRequest())).datasets
    assert [each.name for each in listed] == [made.name, parent]
    assert listed[0].parent == parent and not listed[0].report.excluded
    assert not listed[1].HasField("exclusion")
