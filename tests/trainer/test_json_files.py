import json
from pathlib import Path

from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.json_files import finite, save_json
from tuneyard.trainer.run import ArtifactKind


def test_json_is_an_artifact_that_people_can_read(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    save_json(run, "report.json", {"class": "Hündin"}, kind=ArtifactKind.REPORT, description="Classes")
    saved = run.artifacts["report.json"]
    assert (saved.kind, saved.media_type, saved.description) == (
        ArtifactKind.REPORT,
        "application/json",
        "Classes",
    )
    text = saved.path.read_text(encoding="utf-8")
    assert "Hündin" in text and text.endswith("\n") and json.loads(text) == {"class": "Hündin"}


def test_json_has_null_for_what_is_not_finite() -> None:
    assert [finite(value) for value in (0.5, float("inf"), float("nan"))] == [0.5, None, None]
