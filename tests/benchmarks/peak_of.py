"""Runs a command and prints the last line of its output and its peak memory, as JSON.

A process of its own, because on Linux a child's peak begins with the memory of whoever started it.
"""

import json
import resource
import subprocess
import sys


def main(command: list[str]) -> None:
    """Runs the command to its end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        *_, last = child.stdout
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"last": last, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main(sys.argv[1:])
