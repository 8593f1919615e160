"""The web UI has a title, in both languages, for every code that the server tells something by."""

import re
from pathlib import Path

import pytest

from tuneyard.datasets.codes import Code
from tuneyard.v1 import errors_pb2, event_pb2

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
