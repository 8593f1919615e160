"""The blocking calls about datasets: each runs its namesake of the asyncio client to the end."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from tuneyard.client.datasets import AsyncDatasets
from tuneyard.client.portal import Portal
from tuneyard.client.transfer import ProgressCallback, in_turn
from tuneyard.v1 import dataset_pb2, dataset_service_pb2


class Datasets:
    """The datasets of a server. See `AsyncDatasets`."""

    def __init__(self, datasets: AsyncDatasets, portal: Portal) -> None:
        self._datasets = datasets
        self._portal = portal

    def upload(
        self,
        path: Path | str,
        *,
        format: "str | dataset_pb2.DatasetFormat.ValueType",
        name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> dataset_pb2.Dataset:
        """Uploads a file, or a folder as a ZIP; the same bytes are uploaded once."""
        return self._portal.run(
            self._datasets.upload(
                path, format=format, name=name, display_name=display_name, labels=labels, progress=progress
            )
        )

    def create(self, request: dataset_service_pb2.CreateDatasetRequest) -> dataset_pb2.Dataset:
        """Creates a dataset that waits for its bytes, for callers who send these themselves."""
        return self._portal.run(self._datasets.create(request))

    def send(self, name: str, chunks: Iterable[bytes], *, offset: int = 0) -> dataset_pb2.Dataset:
        """Sends bytes of a dataset that is UPLOADING, which begin at `offset`."""
        return self._portal.run(self._datasets.send(name, in_turn(chunks), offset=offset))

    def sign_upload(
        self, name: str, *, part_numbers: Sequence[int]
    ) -> Sequence[dataset_service_pb2.SignedPart]:
        """URLs to which single parts, counted from 1, can be PUT."""
        return self._portal.run(self._datasets.sign_upload(name, part_numbers=part_numbers))

    def complete_upload(self, name: str) -> dataset_pb2.Dataset:
        """Ends an upload whose parts were PUT to signed URLs."""
        return self._portal.run(self._datasets.complete_upload(name))

    def import_(
        self,
        source: str,
        *,
        format: "str | dataset_pb2.DatasetFormat.ValueType",
        name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> dataset_pb2.Dataset:
        """Makes a dataset from a path on the server below an allowed root, or from an s3:// URI."""
        return self._portal.run(
            self._datasets.import_(
                source,
                format=format,
                name=name,
                display_name=display_name,
                labels=labels,
                request_id=request_id,
            )
        )

    def without(
        self,
        name: str,
        *,
        paths: Sequence[str] = (),
        codes: Sequence[str] = (),
        new_name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> dataset_pb2.Dataset:
        """Makes a version of a dataset without some files; the dataset itself stays as it is."""
        return self._portal.run(
            self._datasets.without(
                name,
                paths=paths,
                codes=codes,
                new_name=new_name,
                display_name=display_name,
                labels=labels,
                request_id=request_id,
            )
        )

    def files(self, name: str, *, prefix: str = "") -> Sequence[dataset_service_pb2.DatasetFile]:
        """The files of a dataset whose bytes are there, by path."""
        return self._portal.run(self._datasets.files(name, prefix=prefix))

    def stream_file(self, name: str, path: str) -> Generator[bytes, None, None]:
        """Yields the bytes of one file of a dataset."""
        yield from self._portal.iterate(self._datasets.stream_file(name, path))

    def read_lines(
        self, name: str, path: str = "", *, first: int = 1, count: int = 20
    ) -> Sequence[dataset_service_pb2.DatasetLine]:
        """Some lines of a text file of a dataset, from line `first` on; long ones are cut."""
        return self._portal.run(self._datasets.read_lines(name, path, first=first, count=count))

    def get(self, name: str) -> dataset_pb2.Dataset:
        """One dataset with its report."""
        return self._portal.run(self._datasets.get(name))

    def delete(self, name: str) -> None:
        """Deletes a dataset; DatasetInUse while a job that waits or runs uses it."""
        self._portal.run(self._datasets.delete(name))

    def wait_ready(self, name: str, *, timeout: timedelta | None = None) -> dataset_pb2.Dataset:
        """Waits until the dataset's validation has ended; DatasetInvalid where it ended badly."""
        return self._portal.run(self._datasets.wait_ready(name, timeout=timeout))

    def named(self, word: str, *, of_use: bool = False) -> list[dataset_pb2.Dataset]:
        """The datasets that a person may mean by a word: the one of that id, else those of that title."""
        return self._portal.run(self._datasets.named(word, of_use=of_use))

    def list(
        self,
        *,
        format: "str | dataset_pb2.DatasetFormat.ValueType" = dataset_pb2.DATASET_FORMAT_UNSPECIFIED,
        limit: int | None = None,
    ) -> list[dataset_pb2.Dataset]:
        """Datasets, newest first, with empty findings; at most `limit`."""
        return self._portal.run(self._datasets.list(format=format, limit=limit))
