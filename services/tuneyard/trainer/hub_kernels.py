"""Keeps libraries from fetching machine code from a hub, which some try as soon as they are imported."""

import logging
import sys

_TELLS_OF_NONE = "bitsandbytes.backends.cpu.ops"


def forbid_hub_kernels() -> None:
    """To be called before such a library is imported: for it the package `kernels` is not installed.

    With that package bitsandbytes would run what it finds under a name at a hub, in every worker, on any
    processor that multiplies bf16; without it, it logs that there is none, which is as it should be.
    """
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger(_TELLS_OF_NONE).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return "kernels-community" not in str(record.msg)
