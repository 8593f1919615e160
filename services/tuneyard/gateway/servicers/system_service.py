"""The system service on the wire."""

from tuneyard.gateway.server_info import ServerInfo
from tuneyard.gateway.trainers import Trainers
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import system_service_pb2 as pb
from tuneyard.v1 import system_service_pb2_grpc


class SystemServicer(system_service_pb2_grpc.SystemServiceServicer):
    """Tells what the installation is made of and how it is."""

    def __init__(self, *, trainers: Trainers, info: ServerInfo) -> None:
        self._trainers = trainers
        self._info = info

    async def ListTrainers(
        self, request: pb.ListTrainersRequest, context: Context
    ) -> pb.ListTrainersResponse:
        check(request)
        return pb.ListTrainersResponse(trainers=self._trainers.list(request.family))

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        return await self._info.describe()
