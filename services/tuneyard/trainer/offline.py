"""Keeps a worker off the hub once it has its base model."""

from huggingface_hub import constants


def stay_offline() -> None:
    """From here on every request that huggingface_hub would send raises OfflineModeIsEnabled.

    As HF_HUB_OFFLINE=1 does, which is read when the library is imported, in the process that workers are
    forked from: there it is too early to know whether a run has to fetch its base model first. Without it
    peft looks up base models by name when it saves an adapter.
    """
    constants.HF_HUB_OFFLINE = True
