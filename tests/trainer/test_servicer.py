from tuneyard.trainer.servicer import Servicer
from tuneyard.v1 import trainer_service_pb2


def test_every_method_of_the_service_is_served() -> None:
    methods = trainer_service_pb2.DESCRIPTOR.services_by_name["TrainerService"].methods_by_name
    assert set(methods) <= set(vars(Servicer))
