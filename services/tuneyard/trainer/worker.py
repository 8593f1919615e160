"""A worker: the process that runs one attempt's recipe, from its request to the last record of its journal.

The warm server calls `run_worker` in a forked child; `python -m tuneyard.trainer.worker RUN_DIR` is the
same in a process of its own. It never imports grpc.
"""

import faulthandler
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import cast

from tuneyard.trainer.errors import OUT_OF_MEMORY_REMEDIES, RecipeError, Stop, Stopped
from tuneyard.trainer.journal import JournalWriter
from tuneyard.trainer.oom import OptimizerOutOfMemory, is_out_of_memory, out_of_memory_error
from tuneyard.trainer.own_process import run_in_own_process
from tuneyard.trainer.records import job_error, read_request, result_event
from tuneyard.trainer.run import Result, Run
from tuneyard.trainer.settings import OUT_OF_MEMORY_EXIT_CODE, WorkerSettings, thread_environment
from tuneyard.trainer.transfers import disk_full, is_disk_full
from tuneyard.trainer.worker_run import WorkerRun
from tuneyard.v1.trainer_service_pb2 import RunCancelled, RunPaused, RunStarted, StartRunRequest

FAILED_TO_RECORD_EXIT_CODE = 70
"""The journal could not be written, so that nothing says how the run ended."""

_LAST_UPLOAD_SECONDS = 10.0
_MAX_MESSAGE_CHARACTERS = 1000
_PATH = re.compile(r"(?<![\w:/.])(?:/[^\s'\"():,;]+)+/([^\s'\"():,;/]*)")

Execute = Callable[[StartRunRequest, Run], Result]

MemoryRemedies = Callable[[StartRunRequest], tuple[str, ...]]


def run_worker(run_dir: Path) -> int:
    """Runs the attempt in a run folder and returns the process's exit code.

    0 says that the journal tells how the run ended; any other code that it does not.
    """
    faulthandler.enable()
    settings = WorkerSettings.read(run_dir / "settings.json")
    request = read_request(run_dir / "request.pb")
    _prepare_environment(settings)
    with JournalWriter(run_dir / "journal") as journal:
        run = WorkerRun(request, run_dir=run_dir, settings=settings, journal=journal)
        try:
            return _run(request, run, settings)
        except Exception:
            # What is left to fail here is the journal itself.
            traceback.print_exc()
            return FAILED_TO_RECORD_EXIT_CODE
        finally:
            run.close()


def _run(request: StartRunRequest, run: WorkerRun, settings: WorkerSettings) -> int:
    """Runs the recipe and records how it ended."""
    started = RunStarted(device=settings.device, pid=os.getpid(), cpu_threads=settings.cpu_threads)
    run.reporter.record(started=started)
    run.watch()
    try:
        entry = importlib.import_module(settings.family_entry)
        result = cast(Execute, entry.execute)(request, run)
        run.finalizing()
        run.finish_uploads()
    except Stopped as stopped:
        _record_stop(request, run, stopped)
    except OptimizerOutOfMemory:
        traceback.print_exc()
        _store_last_checkpoint(run)
        return OUT_OF_MEMORY_EXIT_CODE
    except (Exception, SystemExit) as error:
        _tell_console(error)
        stage = run.failed_stage
        _store_last_checkpoint(run)
        told = describe(error, stage=stage, memory_remedies=_memory_remedies(request, settings))
        run.reporter.end(failed=job_error(told, stage=stage))
    else:
        run.reporter.end(result=result_event(result))
    return 0


def _tell_console(error: BaseException) -> None:
    """For the trainer's log: one line about an error that a recipe foresaw, a traceback of any other."""
    if not isinstance(error, RecipeError):
        traceback.print_exception(error)
        return
    cause = f" (from {type(error.__cause__).__name__}: {error.__cause__})" if error.__cause__ else ""
    line = " ".join(f"{error.reason}: {error.message}{cause}".split())
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _record_stop(request: StartRunRequest, run: WorkerRun, stopped: Stopped) -> None:
    if stopped.mode is Stop.PAUSE:
        # As long as a pause between two steps waits for its own; a cancel ends the wait.
        _store_last_checkpoint(run, timeout_seconds=None)
    if stopped.mode is Stop.CANCEL or run.stop_requested() is Stop.CANCEL:
        run.reporter.end(cancelled=RunCancelled())
        return
    # Stopped between steps, the run goes on from the newest checkpoint: its own or the one that it began at.
    step = max(stopped.step, run.stored_step, request.checkpoint.step)
    run.reporter.end(paused=RunPaused(step=step))


def _store_last_checkpoint(run: WorkerRun, *, timeout_seconds: float | None = _LAST_UPLOAD_SECONDS) -> None:
    """Gives a checkpoint under way the time to be stored: another attempt, or a rerun, begins with it."""
    try:
        run.finish_uploads(timeout_seconds=timeout_seconds)
    except Exception as error:
        # Why the run ends was told already.
        _tell_console(error)


def _memory_remedies(request: StartRunRequest, settings: WorkerSettings) -> tuple[str, ...]:
    """What to change where memory ran out: the family's words for the task, else the guide's for all."""
    named = getattr(sys.modules.get(settings.family_entry), "out_of_memory_remedies", None)
    if named is None:
        return OUT_OF_MEMORY_REMEDIES
    try:
        return cast(MemoryRemedies, named)(request)
    except Exception:
        # Things went wrong already, and nothing may keep the run's end from its journal.
        traceback.print_exc()
        return OUT_OF_MEMORY_REMEDIES


def describe(
    error: BaseException, *, stage: str = "", memory_remedies: tuple[str, ...] = OUT_OF_MEMORY_REMEDIES
) -> RecipeError:
    """What a user reads of an error: its own words where it is a RecipeError, no path and no traceback
    otherwise.
    """
    if isinstance(error, RecipeError):
        return error
    if is_out_of_memory(error):
        message = "Memory ran out" + (f" in the stage {stage}." if stage else ".")
        return out_of_memory_error(message, remedies=memory_remedies)
    if is_disk_full(error):
        return disk_full()
    text = _PATH.sub(r"…/\1", str(error))[:_MAX_MESSAGE_CHARACTERS]
    where = f" in the stage {stage}" if stage else ""
    return RecipeError(f"The recipe failed{where}: {type(error).__name__}" + (f": {text}" if text else ""))


def _prepare_environment(settings: WorkerSettings) -> None:
    """For libraries that are loaded later; those that are loaded already are told by the recipe."""
    os.environ.update(thread_environment(settings.cpu_threads))
    # Without it cuBLAS may sum in another order from run to run; read when CUDA is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


if __name__ == "__main__":
    run_in_own_process(run_worker)
