"""Log lines as machines read them."""

import io
import json
import logging

import structlog

from tuneyard.rpc.log import configure_logging


def test_a_json_line_carries_what_is_bound() -> None:
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    with structlog.contextvars.bound_contextvars(job="jobs/7", attempt=2):
        structlog.get_logger("tuneyard.test").info("began", device="cpu")
        logging.getLogger("elsewhere").warning("took %d s", 3)
    ours, foreign = map(json.loads, stream.getvalue().splitlines())
    assert (ours["event"], ours["job"], ours["attempt"], ours["device"]) == ("began", "jobs/7", 2, "cpu")
    assert (foreign["event"], foreign["job"], foreign["level"]) == ("took 3 s", "jobs/7", "warning")


def test_lines_below_the_level_are_dropped() -> None:
    stream = io.StringIO()
    configure_logging("console", level="warning", stream=stream)
    structlog.get_logger("tuneyard.test").info("quiet")
    assert stream.getvalue() == ""
