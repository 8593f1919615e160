"""The collections of the blocking client: each method runs its namesake of the asyncio client to the end."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from tuneyard.client.artifacts import AsyncArtifacts
from tuneyard.client.datasets import AsyncDatasets
from tuneyard.client.inference import AsyncInference
from tuneyard.client.job import Job
from tuneyard.client.jobs import AsyncJobs
from tuneyard.client.models import AsyncModels
from tuneyard.client.portal import Portal
from tuneyard.client.transfer import ProgressCallback
from tuneyard.v1 import (
    artifact_service_pb2,
    dataset_pb2,
    dataset_service_pb2,
    event_pb2,
    inference_service_pb2,
    job_pb2,
    model_service_pb2,
    training_pb2,
    training_service_pb2,
)


class Jobs:
    """The jobs of a server. See `AsyncJobs`."""

    def __init__(self, jobs: AsyncJobs, portal: Portal) -> None:
        self._jobs = jobs
        self._portal = portal

    def get(self, name: str) -> job_pb2.Job:
        """One job as it is now."""
        return self._portal.run(self._jobs.get(name))

    def cancel(self, name: str) -> job_pb2.Job:
        """Asks a job to end; it is CANCELLED within seconds."""
        return self._portal.run(self._jobs.cancel(name))

    def pause(self, name: str) -> job_pb2.Job:
        """Asks a job to save and rest."""
        return self._portal.run(self._jobs.pause(name))

    def resume(self, name: str) -> job_pb2.Job:
        """Queues a paused job again."""
        return self._portal.run(self._jobs.resume(name))

    def rerun(
        self,
        name: str,
        *,
        spec: job_pb2.JobSpec | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        request_id: str = "",
    ) -> Job:
        """Creates a new job from a terminal one, with the same spec unless changed."""
        creating = self._jobs.rerun(name, spec=spec, labels=labels, priority=priority, request_id=request_id)
        return Job(self._portal.run(creating), self._portal)

    def delete(self, name: str) -> None:
        """Deletes a terminal job with its events, checkpoints and artifacts."""
        self._portal.run(self._jobs.delete(name))

    def metrics(
        self, name: str, *, metrics: Sequence[str] = (), max_points: int = 0
    ) -> training_service_pb2.GetJobMetricsResponse:
        """Metric curves as columns, and the sequence that they reach."""
        return self._portal.run(self._jobs.metrics(name, metrics=metrics, max_points=max_points))

    def events(self, name: str, *, kinds: Sequence[str] = (), after: int = 0) -> Sequence[event_pb2.JobEvent]:
        """A job's committed events beyond a sequence, of some kinds, in order."""
        return self._portal.run(self._jobs.events(name, kinds=kinds, after=after))

    def checkpoints(self, name: str) -> Sequence[event_pb2.Checkpoint]:
        """A job's checkpoints, oldest first."""
        return self._portal.run(self._jobs.checkpoints(name))

    def watch_batches(
        self, name: str, *, after: int = 0
    ) -> Generator[Sequence[event_pb2.JobEvent], None, None]:
        """Yields a job's events as they arrive together; otherwise as `watch_job`."""
        yield from self._portal.iterate(self._jobs.watch_batches(name, after=after))

    def watch_job(self, name: str, *, after: int = 0) -> Generator[event_pb2.JobEvent, None, None]:
        """Yields a job's events after a sequence, without a gap, until the job is terminal."""
        for batch in self._portal.iterate(self._jobs.watch_batches(name, after=after)):
            yield from batch

    def watch(
        self, filter: training_service_pb2.JobFilter | None = None
    ) -> Generator[training_service_pb2.WatchJobsResponse, None, None]:
        """Yields the current jobs, then changes, without end. After a broken connection it begins anew."""
        yield from self._portal.iterate(self._jobs.watch(filter))

    def list(
        self, filter: training_service_pb2.JobFilter | None = None, *, limit: int | None = None
    ) -> list[job_pb2.Job]:
        """Jobs that meet every condition of the filter, newest first; at most `limit`."""
        return self._portal.run(self._jobs.list(filter, limit=limit))


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

        async def following() -> AsyncIterator[bytes]:
            each = iter(chunks)
            # In a thread: making the next chunk may take its time.
            while (chunk := await asyncio.to_thread(next, each, None)) is not None:
                yield chunk

        return self._portal.run(self._datasets.send(name, following(), offset=offset))

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

    def list(
        self,
        *,
        format: "str | dataset_pb2.DatasetFormat.ValueType" = dataset_pb2.DATASET_FORMAT_UNSPECIFIED,
        limit: int | None = None,
    ) -> list[dataset_pb2.Dataset]:
        """Datasets, newest first, with empty findings; at most `limit`."""
        return self._portal.run(self._datasets.list(format=format, limit=limit))


class Models:
    """The models of a server. See `AsyncModels`."""

    def __init__(self, models: AsyncModels, portal: Portal) -> None:
        self._models = models
        self._portal = portal

    def base_models(
        self,
        *,
        family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED,
        task: "str | training_pb2.TaskKind.ValueType" = training_pb2.TASK_KIND_UNSPECIFIED,
    ) -> Sequence[model_service_pb2.BaseModel]:
        """The catalogue, recommended ones first."""
        return self._portal.run(self._models.base_models(family=family, task=task))

    def import_(
        self,
        source: str,
        *,
        family: "str | training_pb2.Family.ValueType",
        name: str = "",
        display_name: str = "",
        architecture: str = "",
        revision: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> model_service_pb2.Model:
        """Brings a model into the store from a hub id or a path on the server below an allowed root."""
        return self._portal.run(
            self._models.import_(
                source,
                family=family,
                name=name,
                display_name=display_name,
                architecture=architecture,
                revision=revision,
                labels=labels,
                request_id=request_id,
            )
        )

    def upload(
        self,
        file: Path | str,
        *,
        family: "str | training_pb2.Family.ValueType",
        name: str = "",
        display_name: str = "",
        architecture: str = "",
        progress: ProgressCallback | None = None,
    ) -> model_service_pb2.Model:
        """Sends a model's file, or a ZIP of its files."""
        return self._portal.run(
            self._models.upload(
                file,
                family=family,
                name=name,
                display_name=display_name,
                architecture=architecture,
                progress=progress,
            )
        )

    def get(self, name: str) -> model_service_pb2.Model:
        """One model of the store."""
        return self._portal.run(self._models.get(name))

    def wait_ready(self, name: str, *, timeout: timedelta | None = None) -> model_service_pb2.Model:
        """Waits until the model's import has ended; ServerError with its reason where it failed."""
        return self._portal.run(self._models.wait_ready(name, timeout=timeout))

    def delete(self, name: str) -> None:
        """Deletes a model; ModelInUse while a job that waits or runs uses it."""
        self._portal.run(self._models.delete(name))

    def list(
        self,
        *,
        family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED,
        limit: int | None = None,
    ) -> list[model_service_pb2.Model]:
        """The models of the store, newest first; at most `limit`."""
        return self._portal.run(self._models.list(family=family, limit=limit))


class Artifacts:
    """The artifacts of jobs. See `AsyncArtifacts`."""

    def __init__(self, artifacts: AsyncArtifacts, portal: Portal) -> None:
        self._artifacts = artifacts
        self._portal = portal

    def download(
        self,
        job: str,
        folder: Path | str,
        *,
        paths: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Sequence[Path]:
        """Fetches a job's artifacts, or those picked by `paths`, into `folder`; returns the files."""
        return self._portal.run(self._artifacts.download(job, folder, paths=paths, progress=progress))

    def download_archive(
        self, job: str, file: Path | str, *, path: str = "", progress: ProgressCallback | None = None
    ) -> Path:
        """Fetches a ZIP of all of a job's artifacts, or of all below `path`, into `file`."""
        return self._portal.run(self._artifacts.download_archive(job, file, path=path, progress=progress))

    def stream(self, job: str, path: str = "", *, offset: int = 0) -> Generator[bytes, None, None]:
        """Yields an artifact's bytes from `offset` on, or a ZIP of all below a path that ends in "/"."""
        yield from self._portal.iterate(self._artifacts.stream(job, path, offset=offset))

    def get(self, job: str, path: str) -> event_pb2.Artifact:
        """One artifact's record. ArtifactNotFound."""
        return self._portal.run(self._artifacts.get(job, path))

    def read(self, job: str, path: str) -> bytes:
        """The bytes of one small artifact."""
        return self._portal.run(self._artifacts.read(job, path))

    def create_download(
        self, job: str, path: str, *, lifetime: timedelta | None = None
    ) -> artifact_service_pb2.CreateDownloadResponse:
        """A URL from which one artifact can be fetched for a while without credentials."""
        return self._portal.run(self._artifacts.create_download(job, path, lifetime=lifetime))

    def list(self, job: str) -> list[event_pb2.Artifact]:
        """A job's artifacts by path."""
        return self._portal.run(self._artifacts.list(job))


class Inference:
    """Runs finished models. See `AsyncInference`."""

    def __init__(self, inference: AsyncInference, portal: Portal) -> None:
        self._inference = inference
        self._portal = portal

    def classify(
        self, request: inference_service_pb2.ClassifyRequest
    ) -> Sequence[inference_service_pb2.Classification]:
        """The likeliest classes of each image."""
        return self._portal.run(self._inference.classify(request))

    def detect(
        self, request: inference_service_pb2.DetectRequest
    ) -> Sequence[inference_service_pb2.ImageDetections]:
        """The objects in each image."""
        return self._portal.run(self._inference.detect(request))

    def generate_text(
        self, request: inference_service_pb2.GenerateTextRequest
    ) -> Generator[inference_service_pb2.GenerateTextResponse, None, None]:
        """Yields the answer piece by piece, with `compare_with_base` the base model's after the tuned one's.

        Each model's last piece is `done` and says why it ended. Leaving early ends the work on the answer.
        """
        yield from self._portal.iterate(self._inference.generate_text(request))

    def generate_images(
        self, request: inference_service_pb2.GenerateImagesRequest
    ) -> Sequence[inference_service_pb2.GeneratedImage]:
        """The images drawn for a prompt."""
        return self._portal.run(self._inference.generate_images(request))
