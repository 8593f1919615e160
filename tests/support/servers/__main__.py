"""`python -m tests.support.servers prepare | postgres | s3`: get servers, or run one until stdin closes."""

import argparse
import json
import os
import signal
import sys
from contextlib import AbstractContextManager

from tests.support.servers import postgres, s3
from tests.support.servers.process import ServerUnavailable


def prepare() -> int:
    """Makes each server available where possible; a missing one is an error only with REQUIRE_SERVERS=1."""
    missing = 0
    for name, module in (("PostgreSQL", postgres), ("an S3 server", s3)):
        try:
            print(f"servers: {module.prepare()}", flush=True)
        except ServerUnavailable as error:
            missing += 1
            print(f"servers: {name} is not available, its tests will be skipped: {error}", flush=True)
    return 1 if missing and os.environ.get("REQUIRE_SERVERS") == "1" else 0


def run(server: AbstractContextManager[dict[str, str]]) -> int:
    """Prints a line of JSON when the server answers (or why there is none), then waits for stdin's end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with server as description:
            print(json.dumps(description), flush=True)
            sys.stdin.buffer.read()
    except ServerUnavailable as error:
        print(json.dumps({"unavailable": str(error)}), flush=True)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.servers", description=__doc__)
    parser.add_argument("what", choices=("prepare", "postgres", "s3"))
    what = parser.parse_args().what
    if what == "prepare":
        return prepare()
    return run(postgres.serve() if what == "postgres" else s3.serve())


if __name__ == "__main__":
    sys.exit(main())
