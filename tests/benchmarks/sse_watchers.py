"""Many watchers of one job's server-sent events in a process of their own.

    python -m tests.benchmarks.sse_watchers URL JOB COUNT

Prints one JSON object when all streams have ended: the last sequence of each, and whether any was missing.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit


async def watch(url: str, job: str) -> list[int]:
    """The sequences of one stream, on a connection of its own, up to its end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    request = f"GET /v1/{job}:watch HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    sequences: list[int] = []
    try:
        while line := await reader.readline():
            if line.startswith(b"id: "):
                sequences.append(int(line[4:]))
            elif line.startswith(b"event: end"):
                break
    finally:
        writer.close()
    return sequences


async def watch_all(url: str, job: str, count: int) -> list[list[int]]:
    """Every stream at once."""
    return await asyncio.gather(*(watch(url, job) for _ in range(count)))


if __name__ == "__main__":
    started = time.monotonic()
    seen = asyncio.run(watch_all(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    print(
        json.dumps(
            {
                "last": [each[-1] if each else 0 for each in seen],
                "gapless": all(each == list(range(1, len(each) + 1)) for each in seen),
                "seconds": time.monotonic() - started,
            }
        )
    )
