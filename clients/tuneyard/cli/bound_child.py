"""Becomes `python -m MODULE`, to be killed by the kernel when the process that started it ends.

Run as a file by a bare interpreter, `python -I -S bound_child.py PARENT_PID MODULE`: the signal must be asked
for between fork and exec, where the starter, which holds gRPC's threads, must run no Python of its own.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks for the signal, makes sure that the parent still lives, and executes the module."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the starter is gone")
    os.execv(sys.executable, [sys.executable, "-m", module])


if __name__ == "__main__":
    main()
