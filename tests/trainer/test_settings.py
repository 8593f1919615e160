import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from tuneyard.storage import StoreSettings
from tuneyard.trainer.settings import WorkerSettings, thread_environment


def worker_settings(root: Path) -> WorkerSettings:
    return WorkerSettings(
        family_entry="tuneyard.vision.entry",
        device="cuda:1",
        cpu_threads=4,
        store_url="s3://bucket",
        store=StoreSettings(s3_secret_key="hidden", s3_read_timeout=timedelta(seconds=1.5)),
        cache_dir=root / "cache",
        cache_limit_bytes=10,
        wake_socket=root / "wake",
        parent_pid=7,
        accelerators=("cuda:0", "cuda:1"),
        faults="crash@step=5",
    )


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = worker_settings(tmp_path)
    settings.write(tmp_path / "settings.json")
    assert WorkerSettings.read(tmp_path / "settings.json") == settings


def test_the_file_with_credentials_is_the_owners_alone(tmp_path: Path) -> None:
    worker_settings(tmp_path).write(tmp_path / "settings.json")
    assert stat.S_IMODE((tmp_path / "settings.json").stat().st_mode) == 0o600


def test_credentials_never_show(tmp_path: Path) -> None:
    assert "hidden" not in repr(worker_settings(tmp_path))


def test_a_tokenizer_uses_as_many_threads_as_a_worker_has() -> None:
    tokenizing = """
import os
from tokenizers import Tokenizer, models
Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).encode_batch(["a"] * 1000)
print(len(os.listdir("/proc/self/task")))
"""
    counts = [
        subprocess.run(
            [sys.executable, "-c", tokenizing],
            env=os.environ | {"TOKENIZERS_PARALLELISM": "true"} | thread_environment(threads),
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for threads in (1, 5)
    ]
    assert int(counts[1]) - int(counts[0]) == 4
