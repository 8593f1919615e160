"""The web UI has a title, in both languages, for every code that the server tells something by."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf.message import Message

from tests.support.bad_archives import archive, picture
from tests.support.ledger import ManualClock
from tuneyard.datasets import check
from tuneyard.datasets.codes import Code
from tuneyard.diffusion import hints as diffusion_hints
from tuneyard.gateway import attempts, jobs, losses
from tuneyard.gateway.edits import JobEdit
from tuneyard.gateway.following import describe_exit
from tuneyard.gateway.records import Batch
from tuneyard.llm import hints as llm_hints
from tuneyard.trainer import fitting, spec_checks
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, trainer_service_pb2
from tuneyard.vision import checks as classifier_checks
from tuneyard.vision import detector_checks, image_checks

WORDS = Path(__file__).parents[2] / "clients" / "webui" / "src" / "i18n"
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def titles(file: str, table: str) -> dict[str, str]:
    text = (WORDS / file).read_text(encoding="utf-8")
    found = re.search(rf"export const {table}\b[^{{]*\{{(.*?)^\}};", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{file} has no {table}"
    return {
        name: double or single
        for name, double, single in re.findall(
            r"""^\s+([A-Z0-9_]+): (?:"([^"]+)"|'([^']+)'),$""", found[1], re.MULTILINE
        )
    }


@pytest.mark.parametrize(("file", "table"), [("codes.zh.ts", "codesZh"), ("remedies.zh.ts", "remediesZh")])
def test_every_finding_has_a_chinese_title_and_remedy(file: str, table: str) -> None:
    found = titles(file, table)
    assert set(found) == {code.value for code in Code}
    assert all(CHINESE.search(title) for title in found.values())


@pytest.mark.parametrize(
    ("table", "enum"), [("reasons", errors_pb2.ErrorReason), ("advice", event_pb2.AdviceKind)]
)
def test_every_reason_and_every_advice_has_a_title_in_both_languages(table: str, enum: object) -> None:
    names = [value.name for value in enum.DESCRIPTOR.values if value.number]  # type: ignore[attr-defined]
    prefix = "ERROR_REASON_" if table == "reasons" else "ADVICE_KIND_"
    english, chinese = (
        titles(f"reasons.{which}.ts", f"{table}{which.capitalize()}") for which in ("en", "zh")
    )
    assert set(english) == set(chinese) == {name.removeprefix(prefix) for name in names}
    assert all(CHINESE.search(title) for title in chinese.values())
    assert not any(CHINESE.search(title) for title in english.values())


def test_every_advice_is_explained_in_chinese() -> None:
    """The server's own words, which are English, stand below."""
    kinds = {value.name for value in event_pb2.AdviceKind.DESCRIPTOR.values if value.number}
    found = titles("reasons.zh.ts", "adviceMeaningZh")
    assert set(found) == {name.removeprefix("ADVICE_KIND_") for name in kinds}
    assert all(CHINESE.search(meaning) for meaning in found.values())


def test_remedies_of_failures_are_for_reasons_that_there_are() -> None:
    text = (WORDS / "reasons.zh.ts").read_text(encoding="utf-8")
    table = text[text.index("failureRemediesZh") :]
    named = set(re.findall(r"^  ([A-Z_]+): ", table, re.MULTILINE))
    known = {value.name.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values}
    assert named
    assert named <= known


def figures_said() -> dict[str, set[str]]:
    """The names of the figures in the Chinese message of each code that has one."""
    text = (WORDS / "messages.zh.ts").read_text(encoding="utf-8")
    names = {
        name: set(re.findall(r"\w+", found))
        for name, found in re.findall(r"^const (\w+).*?\(\{ ([^}]*) \}\)", text, re.MULTILINE | re.DOTALL)
    }
    said = {}
    for code, message in re.findall(r"^  ([A-Z_]+): (.*),$", text, re.MULTILINE):
        listed = re.match(r"\(\{ ([^}]*) \}\)", message)
        own = set(re.findall(r"\w+", listed[1])) if listed else set(re.findall(r"\bof\.(\w+)", message))
        said[code] = own or names[message.partition("(")[0]]
    return said


def an_image_folder() -> dict[str, bytes]:
    """Small and unequal classes, copies of every kind, and a picture that is cut off."""
    files = {f"train/cat/{number}.png": picture(number) for number in range(24)}
    files |= {f"val/cat/{number}.png": picture(100 + number) for number in range(9)}
    files |= {"train/dog/0.png": picture(50), "train/dog/1.png": picture(51), "val/dog/0.png": picture(60)}
    files["train/cat/copy.png"] = files["val/cat/copy.png"] = files["train/dog/copy.png"] = files[
        "train/cat/0.png"
    ]
    return files | {"train/cat/cut.png": files["train/cat/1.png"][:60]}


DATASETS = {
    "image-folder": an_image_folder(),
    "captioned-images": {"1.png": picture(1), "1.txt": b"a dog"},
    "jsonl": {"train.jsonl": b'{"instruction": "a", "response": "b"}\n{"text": "c"}\nno JSON'},
}


def test_what_a_finding_says_in_chinese_its_figures_tell(tmp_path: Path) -> None:
    said, seen = figures_said(), set()
    for format, files in DATASETS.items():
        path = tmp_path / f"{format}.zip"
        path.write_bytes(archive(files))
        for finding in check(path, format=format).findings:
            assert said.get(finding.code.value, set()) <= set(finding.figures), finding
            seen.add(finding.code.value)
    # What is skipped is told as what is too much.
    assert set(said) - seen == {"IMAGES_BROKEN", "LINES_SKIPPED"}


def phrases(file: str) -> list[re.Pattern[str]]:
    """What the web UI knows to say in Chinese of the server's English."""
    text = (WORDS / file).read_text(encoding="utf-8")
    return [re.compile(pattern) for pattern in re.findall(r"^  \[\s*/(.+?)/,\s", text, re.MULTILINE)]


def moved(state: job_pb2.JobState.ValueType, **body: Message) -> str:
    """The reason that a trainer's record moves a job with."""
    edit = JobEdit(
        job_pb2.Job(name="jobs/1", state=state, desired=job_pb2.DESIRED_STATE_PAUSE), ManualClock()()
    )
    Batch(edit, 1).apply(trainer_service_pb2.RunRecord(**body))  # type: ignore[arg-type]
    return edit.new_events[-1].state_change.reason


def changes_told() -> Iterator[str]:
    """Reasons that the gateway gives."""
    for module in (attempts, jobs, losses):
        yield from re.findall(r'reason="([^"]+)"', Path(module.__file__).read_text(encoding="utf-8"))
    yield from (attempts.job_reason(job_pb2.Job(attempt_count=2), step) for step in (None, 40))
    exit_of = trainer_service_pb2.RunExit
    ends = [
        exit_of(**{field: True})
        for field in ("out_of_memory", "silent", "trainer_stopped", "trainer_restarted")
    ]
    yield from (describe_exit(each) for each in [*ends, exit_of(signal=9), exit_of(exit_code=1)])
    yield moved(job_pb2.JOB_STATE_STARTING, started=trainer_service_pb2.RunStarted(device="cuda:0"))
    yield moved(job_pb2.JOB_STATE_PAUSING, paused=trainer_service_pb2.RunPaused(step=12))


def test_the_reasons_for_a_change_of_state_are_known_to_the_chinese_log() -> None:
    said, told = phrases("changes.zh.ts"), set(changes_told())
    assert {each for each in told if not any(pattern.search(each) for pattern in said)} == set()
    assert {each.pattern for each in said if not any(map(each.search, told))} == set()


def warnings_told() -> Iterator[str]:
    """Descriptions in the sources of the estimates' warnings, with 7 for every figure."""
    modules = (
        spec_checks,
        fitting,
        diffusion_hints,
        llm_hints,
        image_checks,
        classifier_checks,
        detector_checks,
    )
    for module in modules:
        for call in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "").endswith("violation"):
                match call.args:
                    case [_, ast.Constant() | ast.JoinedStr() as text]:
                        yield filled(text)


def filled(text: ast.AST) -> str:
    """A text of the sources, with 7 for every figure."""
    match text:
        case ast.Constant(value=str(plain)):
            return plain
        case ast.JoinedStr(values=parts):
            return "".join(map(filled, parts))
        case ast.BinOp(left=left):
            return filled(left)
    return "7"


def trainings_tell() -> Iterator[str]:
    """What trainers write of a training at its beginning and at its end, and of an evaluation's result."""
    recipes = ("vision.classifier", "vision.detector", "llm.finetune", "diffusion.text_to_image_lora")
    reports = ("vision.evaluate_report", "vision.evaluate_detector_report")
    for name in (*recipes, *reports, "llm.evaluate_report", "diffusion.evaluate_report"):
        # Not imported: they bring torch.
        found = find_spec(f"tuneyard.{name}")
        assert found is not None and found.origin is not None
        for call in ast.walk(ast.parse(Path(found.origin).read_text(encoding="utf-8"))):
            match call:
                case ast.Call(func=ast.Attribute(attr="log"), args=[text]):
                    yield filled(text)
                case ast.keyword(arg="summary", value=text):
                    yield filled(text)
                case ast.FunctionDef(name="summary", body=[*_, ast.Return(value=ast.AST() as text)]):
                    yield filled(text)


def test_what_trainings_tell_of_themselves_is_known_to_the_chinese_log() -> None:
    said, told = phrases("trainers.zh.ts"), set(trainings_tell())
    assert {each for each in told if not any(pattern.search(each) for pattern in said)} == set()
    assert {each.pattern for each in said if not any(map(each.search, told))} == set()


def test_what_is_usual_is_said_in_chinese_with_its_figures() -> None:
    said, told = phrases("warnings.zh.ts"), set(warnings_told())
    usual = {each for each in told if re.search(r"(is|are) usual", each)}
    assert usual
    assert {each for each in usual if not any(pattern.search(each) for pattern in said)} == set()
    assert {each.pattern for each in said if not any(map(each.search, told))} == set()
