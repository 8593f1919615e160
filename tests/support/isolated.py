"""Imports, trains, evaluates, tries out and merges where no network is, and counts attempts to reach one.

python -m tests.support.isolated FAMILY FOLDER   prints {"states", "attempts", "attempts_when_asked_for"}

The process leaves for a network namespace of its own, which has nothing but a loopback device. The kernel
counts there what had no way out: name look-ups and connections alike.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41
IMPOSSIBLE = 77
"""The exit code where the machine allows no such namespace."""


def isolate() -> None:
    """Moves this process, which must have one thread, into a network namespace; raises OSError."""
    wanted = _NEW_NET if os.geteuid() == 0 else _NEW_NET | _NEW_USER
    if ctypes.CDLL(None, use_errno=True).unshare(wanted):
        raise OSError(ctypes.get_errno(), "no network namespace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


def attempts() -> int:
    """How many packets and connections found no route since the namespace began."""
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(values[names.index("OutNoRoutes")]) + int(six.get("Ip6OutNoRoutes", 0))


def work_with_llms(root: Path) -> list[str]:
    """Every kind of work with language models; returns the states of its jobs."""
    from tests.support.learnable_task import learnable_task
    from tests.support.llm_platform import fine_tuning, import_base, llm_platform, tuneyard, upload_rows
    from tests.support.tiny_llm import tiny_llama

    task, states = learnable_task(40, held_out=8), []
    with llm_platform(root / "platform") as running:
        base = import_base(running, tiny_llama(root / "base"), "tiny")
        dataset = upload_rows(running, root, "sorting", {"train": task.train, "val": task.held_out})
        job = running.train(fine_tuning(dataset, base, "qlora", max_steps=2))
        running.watch(job.name).wait(within=120)
        states.append(running.job(job.name).state)
        tuneyard(running, "chat", job.name, "Hello", "--base", "--max-new-tokens", 4)
        tuneyard(running, "evaluate", job.name)
        *_, merged = tuneyard(running, "merge", job.name)
        states.append(running.job(merged["name"]).state)
    return [str(state) for state in states]


def work_with_pictures(root: Path) -> list[str]:
    """Every kind of work with text-to-image LoRAs; returns the states of its jobs."""
    from tests.support.diffusion_platform import (
        captioned_pictures,
        diffusion_platform,
        lora_training,
        upload_captioned,
    )
    from tests.support.llm_platform import import_base, tuneyard
    from tests.support.tiny_diffusion import tiny_pipeline

    states = []
    with diffusion_platform(root / "platform") as running:
        base = import_base(running, tiny_pipeline(root / "base", "sdxl"), "tiny", family="diffusion")
        dataset = upload_captioned(running, root, "drawn", captioned_pictures())
        job = running.train(lora_training(dataset, base, max_steps=2))
        running.watch(job.name).wait(within=120)
        states.append(running.job(job.name).state)
        small = ("--steps", 2, "--width", 64, "--height", 64)
        tuneyard(running, "generate", job.name, "a red circle", "-o", root / "pictures", *small)
        tuneyard(running, "evaluate", job.name)
        *_, merged = tuneyard(running, "merge", job.name)
        states.append(running.job(merged["name"]).state)
    return [str(state) for state in states]


WORK = {"llm": work_with_llms, "diffusion": work_with_pictures}


def main(family: str, root: Path) -> int:
    """Runs everything, then once tries to reach the network on purpose."""
    try:
        isolate()
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return IMPOSSIBLE
    states, before = WORK[family](root), attempts()
    with suppress(OSError):
        socket.create_connection(("192.0.2.1", 443), 1).close()
    found = {"states": states, "attempts": before, "attempts_when_asked_for": attempts() - before}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
