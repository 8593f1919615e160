"""The artifact service on the wire."""

from collections.abc import AsyncIterator

from tuneyard.gateway.artifacts import ArtifactLibrary
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import artifact_service_pb2 as pb
from tuneyard.v1 import artifact_service_pb2_grpc


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """Lists and hands out artifacts."""

    def __init__(self, library: ArtifactLibrary) -> None:
        self._library = library

    async def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: Context
    ) -> pb.ListArtifactsResponse:
        check(request)
        artifacts, token = await self._library.list(
            request.parent, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListArtifactsResponse(artifacts=artifacts, next_page_token=token)

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[pb.DownloadArtifactResponse]:
        check(request)
        async for response in self._library.download(request.name, offset=request.offset):
            yield response

    async def CreateDownload(
        self, request: pb.CreateDownloadRequest, context: Context
    ) -> pb.CreateDownloadResponse:
        check(request)
        lifetime = request.lifetime.ToTimedelta() if request.HasField("lifetime") else None
        signed = await self._library.sign(request.name, lifetime)
        response = pb.CreateDownloadResponse(url=signed.url)
        response.expire_time.FromDatetime(signed.expires)
        return response
