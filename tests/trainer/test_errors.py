from typing import get_args

from tuneyard.trainer.errors import Reason
from tuneyard.trainer.records import advice_kind, artifact_kind, log_level
from tuneyard.trainer.run import AdviceKind, ArtifactKind, LogLevel
from tuneyard.v1.errors_pb2 import ErrorReason
from tuneyard.v1.event_pb2 import AdviceKind as AdviceKindProto
from tuneyard.v1.event_pb2 import ArtifactKind as ArtifactKindProto
from tuneyard.v1.event_pb2 import LogLevel as LogLevelProto


def test_every_reason_is_one_of_the_apis() -> None:
    known = {name.removeprefix("ERROR_REASON_") for name, _ in ErrorReason.items()}
    assert set(get_args(Reason)) <= known


def test_the_kinds_are_those_of_the_api() -> None:
    assert {0, *map(advice_kind, AdviceKind)} == set(AdviceKindProto.values())
    assert {0, *map(artifact_kind, ArtifactKind)} == set(ArtifactKindProto.values())
    assert {0, *map(log_level, LogLevel)} == set(LogLevelProto.values())
