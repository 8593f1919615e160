"""The collections of the blocking client, one module each; how they wait is `tuneyard.client.portal`."""

from tuneyard.client.blocking.artifacts import Artifacts
from tuneyard.client.blocking.datasets import Datasets
from tuneyard.client.blocking.inference import Inference
from tuneyard.client.blocking.jobs import Jobs
from tuneyard.client.blocking.models import Models

__all__ = ["Artifacts", "Datasets", "Inference", "Jobs", "Models"]
