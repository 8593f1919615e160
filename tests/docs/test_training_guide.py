"""Both editions of the training guide say the same, and what points into it arrives.

That its blocks do what it says is shown by tests/integration/test_training_guide.py.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default

from tests.support.guide_blocks import CHINESE, ENGLISH, blocks, tables
from tuneyard.diffusion import recommended as diffusion_recommended
from tuneyard.diffusion import workload as diffusion_workload
from tuneyard.diffusion.known_facts import SD_1_5, SDXL
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.llm.memory_table import rows
from tuneyard.llm.recommended import PRESETS
from tuneyard.trainer.run import AdviceKind
from tuneyard.v1 import rules_pb2, training_pb2
from tuneyard.vision import classifier_plan, detector_plan, detector_recommended
from tuneyard.vision.architectures import architectures
from tuneyard.vision.detector_sizes import detector_sizes
from tuneyard.vision.recommended import recommended_spec
from tuneyard.web import guide_page

ROOT = Path(__file__).resolve().parents[2]
EDITIONS = pytest.mark.parametrize("guide", (ENGLISH, CHINESE), ids=("en", "zh"))


def anchors(guide: Path) -> list[str]:
    return guide_page.anchors(guide.read_text(encoding="utf-8"))


def figures(cell: str) -> list[str]:
    return re.findall(r"\d+(?:[,.]\d+)*(?:e-\d+)?", cell)


def levels(guide: Path) -> list[int]:
    prose = re.sub(r"^```.*?^```$", "", guide.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def test_each_edition_links_the_other_in_its_first_line() -> None:
    first = [guide.read_text(encoding="utf-8").splitlines()[0] for guide in (ENGLISH, CHINESE)]
    assert first == [
        "**English** | [中文](training-guide.zh.md)",
        "[English](training-guide.md) | **中文**",
    ]


def test_both_editions_have_the_same_headings() -> None:
    assert anchors(ENGLISH) == anchors(CHINESE)
    assert levels(ENGLISH) == levels(CHINESE)
    assert len(set(anchors(ENGLISH))) == len(anchors(ENGLISH))


def test_both_editions_have_the_same_code() -> None:
    english, chinese = ([(b.language, b.content) for b in blocks(guide)] for guide in (ENGLISH, CHINESE))
    assert english == chinese


def test_both_editions_have_the_same_figures_in_their_tables() -> None:
    english, chinese = list(tables(ENGLISH)), list(tables(CHINESE))
    assert [len(table) for table in english] == [len(table) for table in chinese]
    for ours, theirs in zip(english, chinese, strict=True):
        for row, other in zip(ours, theirs, strict=True):
            assert [sorted(figures(cell)) for cell in row] == [sorted(figures(cell)) for cell in other], row


@EDITIONS
def test_links_within_the_guide_lead_to_headings(guide: Path) -> None:
    told = set(re.findall(r"\]\(#([^)]+)\)", guide.read_text(encoding="utf-8")))
    assert told
    assert told <= set(anchors(guide))


@EDITIONS
def test_links_to_other_pages_lead_to_files(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+\.md)", guide.read_text(encoding="utf-8")):
        assert (guide.parent / target).is_file(), target


def fields_of(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        if guide := field.GetOptions().Extensions[rules_pb2.rules].guide:
            yield guide
    for inner in message.nested_types:
        yield from fields_of(inner)


def test_anchors_of_settings_are_headings() -> None:
    file = Default().FindFileByName(training_pb2.DESCRIPTOR.name)
    told = {guide for message in file.message_types_by_name.values() for guide in fields_of(message)}
    assert len(told) > 3
    assert told <= set(anchors(ENGLISH))


def test_anchors_of_advice_are_headings() -> None:
    """Those that recipes pass to `advise`, and its default."""
    told = set()
    for file in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "advise":
                told |= {
                    word.value.value
                    for word in node.keywords
                    if word.arg == "guide" and isinstance(word.value, ast.Constant)
                }
    assert "best-practices" in told
    assert told | {"troubleshooting"} <= set(anchors(ENGLISH))


@EDITIONS
def test_every_kind_of_advice_has_its_row(guide: Path) -> None:
    [table] = [table for table in tables(guide) if table[1][0] == "`MEMORY`"]
    assert {row[0].strip("`").lower() for row in table[1:]} == {kind.value for kind in AdviceKind}


@EDITIONS
def test_the_memory_table_shows_what_the_formula_says(guide: Path) -> None:
    [table] = [table for table in tables(guide) if table[1][0] == "7B"]
    for told, row in zip(table[1:], rows(), strict=True):
        pairs = zip(row.guide, row.as_the_guide, strict=True)
        expected = [[str(rule), f"{predicted:.1f}"] for rule, predicted in pairs]
        assert [
            [*figures(rule), *figures(ours)] for rule, ours in zip(told[1::2], told[2::2], strict=True)
        ] == (expected)


@EDITIONS
def test_the_hardware_table_shows_predicted_peaks(guide: Path) -> None:
    [table] = [table for table in tables(guide) if "ResNet-50" in table[1][-1]]
    classifier, detector, images, lora, qlora = (figures(row[-1]) for row in table[1:])
    assert {f"{classifier_gib(16):.1f}", f"{classifier_gib(32):.1f}"} <= set(classifier)
    assert f"{detector_gib():.1f}" in detector
    assert {f"{images_gb(SD_1_5):.1f}", f"{images_gb(SDXL):.1f}"} <= set(images)
    assert f"{next(rows()).lora:.1f}" in lora
    assert f"{next(rows()).qlora:.1f}" in qlora


def classifier_gib(batch_size: int) -> float:
    work = classifier_plan.workload(recommended_spec("resnet50"), architectures()["resnet50"], 1000)
    return replace(work, half_precision=True, batch_size=batch_size).device_bytes() / 2**30


def detector_gib() -> float:
    spec = detector_recommended.recommended_spec("yolov8n")
    work = detector_plan.workload(spec, detector_sizes()["yolov8n"])
    return replace(work, half_precision=True).device_bytes() / 2**30


def images_gb(facts: PipelineFacts) -> float:
    spec = diffusion_recommended.recommended_spec("", facts)
    return diffusion_workload.workload(spec, facts, on_cpu=False).device_bytes() / 1e9


@EDITIONS
def test_the_typical_times_follow_from_their_amounts(guide: Path) -> None:
    """Images or tokens, by the speeds beside them, are the hours in the table."""
    amounts = (15 * 50_000, 100 * 10_000, 10_000 * 4, 3 * 10_000 * 500)
    [table] = [table for table in tables(guide) if table[1][1] == "`image_classifier`"]
    for row, amount in zip(table[1:], amounts, strict=True):
        slow, fast = sorted(float(figure.replace(",", "")) for figure in figures(row[4])[-2:])
        hours = [round(amount / speed / 3600) for speed in (fast, slow)]
        assert hours == [int(figure) for figure in figures(row[3])], row


def test_presets_are_what_is_recommended() -> None:
    shown = [json.loads(block.content) for block in blocks(ENGLISH) if block.language == "json"]
    told = {(each["lora_r"], each["batch_size"], each["learning_rate"]) for each in shown if "epochs" in each}
    assert len(told) == 2
    assert told <= {(each.lora_r, each.batch_size, each.learning_rate) for each in PRESETS}


@pytest.mark.parametrize(
    ("guide", "names"),
    [
        (
            ENGLISH,
            "Model Training, LLM Fine-tuning, System, Image Classifier, Object Detector, Text-to-Image LoRA,"
            " Start Training, Start Fine-tuning, Try on 200 samples first, Train again with these,"
            " Export LoRA Adapter, Merge & Export Full Model, Evaluate…",
        ),
        (
            CHINESE,
            "模型训练, 大模型微调, 系统, 图像分类, 目标检测, 文生图 LoRA, 开始训练, 开始微调,"
            " 先用 200 个样本试训, 用这些参数再训练, 导出 LoRA 适配器, 合并并导出完整模型, 评估…",
        ),
    ],
    ids=("en", "zh"),
)
def test_pages_and_buttons_are_called_as_in_the_web_ui(guide: Path, names: str) -> None:
    told = " ".join(guide.read_text(encoding="utf-8").split())
    words = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "clients/webui/src/i18n").glob("*.ts")
    )
    for name in names.split(", "):
        assert f"**{name}**" in told, name
        assert f'"{name}"' in words, name
