"""Where a job's bytes lie in the object store. It stores nothing itself."""


def job_prefix(job_id: str) -> str:
    """The prefix of everything that a job stores."""
    return f"jobs/{job_id}/"


def checkpoint_prefix(job_id: str, attempt: int, step: int) -> str:
    """The prefix of a checkpoint's files."""
    return f"jobs/{job_id}/attempts/{attempt}/checkpoints/{step:010d}/"
