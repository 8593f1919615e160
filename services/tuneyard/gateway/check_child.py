"""`python -m tuneyard.gateway.check_child PARENT_PID …`: a dataset check that dies with the gateway.

What follows the pid is the command line of `tuneyard.datasets`, which limits its own memory and time.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Thumbnails of very many images go to a file without a name, so that they need no memory; standard error may
# be a file too.
_MAX_FILE_BYTES = 1024**3
_MAX_OPEN_FILES = 256


def main() -> int:
    """Bind this process to its parent, then check."""
    parent_pid = int(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        # The parent died before the kernel was asked to watch it.
        return 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    os.nice(5)
    from tuneyard.datasets.__main__ import main as check

    return check(sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
