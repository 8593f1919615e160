import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuneyard.trainer.warm import import_modules, unfit_to_fork


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_module_names_more_to_import(modules: Path) -> None:
    (modules / "warm_entry.py").write_text("PRELOAD = ('warm_more', 'warm_entry')")
    (modules / "warm_more.py").write_text("")
    assert import_modules(["warm_entry"]) == {}
    assert "warm_more" in sys.modules


def test_a_failed_import_is_told_by_name_and_the_others_go_on(modules: Path) -> None:
    (modules / "warm_broken.py").write_text("raise RuntimeError('no device')")
    (modules / "warm_sound.py").write_text("")
    failed = import_modules(["warm_absent", "warm_broken", "warm_sound"])
    assert failed == {
        "warm_absent": "ModuleNotFoundError: No module named 'warm_absent'",
        "warm_broken": "RuntimeError: no device",
    }
    assert "warm_sound" in sys.modules


def test_a_process_with_threads_is_unfit_to_fork() -> None:
    released = threading.Event()
    thread = threading.Thread(target=released.wait)
    thread.start()
    assert "threads" in unfit_to_fork()
    released.set()
    thread.join()


def in_fresh_process(code: str) -> str:
    program = f"from tuneyard.trainer.warm import *\nfrom tuneyard.trainer import warm\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_process_that_only_imported_is_fit_to_fork() -> None:
    assert in_fresh_process("import json\nprint(unfit_to_fork())") == ""


def test_a_child_whose_computation_hangs_makes_the_process_unfit() -> None:
    code = "warm._compute_with_two_threads = lambda: threading.Event().wait()\n"
    answer = in_fresh_process(code + "print(unfit_to_fork(canary_seconds=0.2))")
    assert answer == "a forked computation did not end within 0.2 s"


def test_a_child_whose_computation_crashes_makes_the_process_unfit() -> None:
    code = "warm._compute_with_two_threads = lambda: os.kill(os.getpid(), signal.SIGSEGV)\n"
    assert in_fresh_process(code + "print(unfit_to_fork())") == "a forked computation failed with -11"


def test_the_warm_server_and_the_trainer_import_no_training_library() -> None:
    code = "import sys\nimport tuneyard.trainer.app\n"
    code += "print([name for name in ('torch', 'numpy', 'transformers') if name in sys.modules])"
    assert in_fresh_process(code) == "[]"


def test_the_warm_server_imports_neither_grpc_nor_protobuf() -> None:
    code = "import sys\nprint([name for name in ('grpc', 'google.protobuf') if name in sys.modules])"
    assert in_fresh_process(code) == "[]"
