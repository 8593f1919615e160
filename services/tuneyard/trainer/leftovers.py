"""Ends what a trainer's earlier life may have left running, before its runs are served again.

Workers die with their trainer by the kernel's doing; their own children may not.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from tuneyard.trainer.process import kill_group, processes_writing_to
from tuneyard.trainer.run_folder import RunFolder

_log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.002
_COMPLAIN_SECONDS = 5.0


def end_leftovers(folders: Sequence[RunFolder]) -> None:
    """Kill the runs' processes and return when nothing of them is alive.

    They are known by the worker's identity and its group, and by the output that they inherited.
    """
    outputs = [folder.output for folder in folders]
    leaders = [leader for folder in folders if (leader := folder.read_worker()) is not None]
    complain_at = time.monotonic() + _COMPLAIN_SECONDS
    while True:
        writers = [process for found in processes_writing_to(outputs).values() for process in found]
        for process in writers:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        groups_alive = [leader for leader in leaders if kill_group(leader)]
        if not writers and not groups_alive:
            return
        if time.monotonic() > complain_at:
            _log.error("processes of old runs do not end", pids=[process.pid for process in writers])
            complain_at += 60
        time.sleep(_POLL_SECONDS)
