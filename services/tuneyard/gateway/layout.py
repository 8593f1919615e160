"""Where a job's bytes lie in the object store. It stores nothing itself."""


def job_prefix(job_id: str) -> str:
    """The prefix of everything that a job stores."""
    return f"jobs/{job_id}/"


def job_of(prefix: str) -> str | None:
    """The id of the job that a prefix or a key belongs to; None where it is no job's."""
    collection, _, rest = prefix.partition("/")
    return rest.partition("/")[0] if collection == "jobs" else None


def attempt_prefix(job_id: str, attempt: int) -> str:
    """The prefix of everything that an attempt stores."""
    return f"jobs/{job_id}/attempts/{attempt}/"


def checkpoint_prefix(key: str) -> str:
    """The prefix of a checkpoint's files, from the key of one of them.

    A step that is saved twice in an attempt has two of them, so that neither gets the other's bytes.
    """
    attempt, collection, rest = key.partition("/checkpoints/")
    return f"{attempt}{collection}{rest.partition('/')[0]}/"
