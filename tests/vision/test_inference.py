"""Finished vision models, asked as the inference service asks: real networks with random weights."""

import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import sklearn
import torch
from PIL import Image
from safetensors.torch import save_file

from tuneyard.trainer.finished_model import AnswerCancelled, Answerer, BadInput, FinishedModel, InferenceError
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1.job_pb2 import JobSpec
from tuneyard.v1.training_pb2 import ImageClassifier, LanguageModel, ObjectDetector, TrainingSpec
from tuneyard.vision import inference, networks

CLASSES = ("cat", "dog", "owl")


def never() -> None:
    """Nobody cancels."""


def encoded(size: tuple[int, int] = (40, 30), *, format: str = "PNG", mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(file, format, **options)
    return file.getvalue()


def sideways(size: tuple[int, int]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(size, format="JPEG", exif=exif)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    folder: Path = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(1)
    network = networks.build("squeezenet1_1", classes=3, image_size=32)
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "squeezenet1_1",
        "classes": CLASSES,
        "image_size": 32,
        "dropout": 0.5,
        "transform_input": False,
        "preprocessing": {"resize_shorter_side": 36, "mean": [0.5] * 3, "std": [0.2] * 3},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return opened(folder, TrainingSpec(image_classifier=ImageClassifier()))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    pytest.importorskip("ultralytics")
    from tuneyard.vision import detector_model

    folder: Path = tmp_path_factory.mktemp("detector")
    torch.manual_seed(1)
    network = detector_model.build("yolov8n", CLASSES)
    detector_model.save_detector(folder, network, architecture="yolov8n", classes=CLASSES, image_size=64)
    return opened(folder, TrainingSpec(object_detector=ObjectDetector()))


def opened(folder: Path, spec: TrainingSpec) -> Answerer:
    model = FinishedModel(dir=folder, spec=JobSpec(training=spec), device="cpu", cpu_threads=1)
    return inference.open_model(model)


def classified(
    model: Answerer, *images: pb.ImageInput, check: Callable[[], None] = never, **options: int
) -> pb.ClassifyResponse:
    request = pb.ClassifyRequest(images=images, **options)
    [answer] = model.answer("Classify", request.SerializeToString(), check=check)
    return pb.ClassifyResponse.FromString(answer)


def detected(model: Answerer, *images: pb.ImageInput, **options: float) -> pb.DetectResponse:
    request = pb.DetectRequest(images=images, **options)
    [answer] = model.answer("Detect", request.SerializeToString(), check=never)
    return pb.DetectResponse.FromString(answer)


def violations(ask: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(BadInput) as refused:
        ask()
    return list(refused.value.violations)


def image(content: bytes, name: str = "a.png") -> pb.ImageInput:
    return pb.ImageInput(name=name, content=content)


def test_each_image_gets_its_classes_likeliest_first(classifier: Answerer) -> None:
    inputs = [image(encoded((side, 40)), f"{side}.png") for side in range(20, 60, 2)]
    answer = classified(classifier, *inputs)
    assert [each.name for each in answer.classifications] == [each.name for each in inputs]
    for each in answer.classifications:
        scores = [score.score for score in each.scores]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-5)
        assert {score.label for score in each.scores} == set(CLASSES)
    assert answer.elapsed.ToTimedelta().total_seconds() > 0


def test_an_answer_does_not_depend_on_the_images_beside(classifier: Answerer) -> None:
    inputs = [image(encoded((side, 40))) for side in range(20, 60, 2)]
    together = classified(classifier, *inputs).classifications
    alone = classified(classifier, inputs[-1]).classifications
    assert alone[0].scores[0].label == together[-1].scores[0].label
    assert alone[0].scores[0].score == pytest.approx(together[-1].scores[0].score, abs=1e-5)


def test_only_as_many_classes_come_as_were_asked_for(classifier: Answerer) -> None:
    answer = classified(classifier, image(encoded()), top_k=2)
    assert len(answer.classifications[0].scores) == 2


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("BMP", "1"),
        ("TIFF", "L"),
    ],
)
def test_every_kind_of_image_is_taken(classifier: Answerer, format: str, mode: str) -> None:
    assert classified(classifier, image(encoded(format=format, mode=mode))).classifications


def test_what_is_wrong_with_some_images_is_said_of_each(classifier: Answerer) -> None:
    whole = encoded((300, 300), format="JPEG")
    inputs = [image(encoded()), image(b"hello", "notes.txt"), image(whole[: len(whole) // 2], "cut.jpg")]
    found = violations(lambda: classified(classifier, *inputs))
    assert [field for field, _ in found] == ["images[1].content", "images[2].content"]
    assert found[0][1].startswith("notes.txt: it is no image")
    assert found[1][1].startswith("cut.jpg: ")


def test_an_image_too_large_is_refused_by_its_header(classifier: Answerer, detector: Answerer) -> None:
    # 400 million pixels of one colour: a few kilobytes that would fill more than a gigabyte.
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    for ask in (classified, detected):
        model = classifier if ask is classified else detector
        assert "million" in violations(lambda: ask(model, image(file.getvalue())))[0][1]  # noqa: B023


def test_a_format_that_is_not_listed_is_refused(classifier: Answerer) -> None:
    assert violations(lambda: classified(classifier, image(encoded(format="PPM"))))


def test_a_cancel_ends_the_work_between_two_images(classifier: Answerer) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise AnswerCancelled

    with pytest.raises(AnswerCancelled):
        classified(classifier, *[image(encoded())] * 8, check=check)
    assert asked == 3


def test_boxes_lie_in_the_upright_image(detector: Answerer) -> None:
    inputs = [image(encoded((80, 40)), "flat"), image(sideways((80, 40)), "turned")]
    answer = detected(detector, *inputs, min_score=0.0)
    assert [(each.name, each.width, each.height) for each in answer.images] == [
        ("flat", 80, 40),
        ("turned", 40, 80),
    ]
    for each in answer.images:
        assert each.detections, "random weights see something where every score is taken"
        for box in each.detections:
            assert 0 <= box.x_min <= box.x_max <= each.width
            assert 0 <= box.y_min <= box.y_max <= each.height
            assert box.label in CLASSES


def photographs() -> list[pb.ImageInput]:
    """Real ones, that ship with packages: scikit-learn's and ultralytics'."""
    folders = [Path(sklearn.__file__).parent / "datasets" / "images"]
    if found := find_spec("ultralytics"):
        folders += [Path(folder) / "assets" for folder in found.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.glob("*.jpg"))
    assert len(files) >= 2
    return [image(file.read_bytes(), file.name) for file in files]


def test_real_photographs_are_classified(classifier: Answerer) -> None:
    inputs = photographs()
    answer = classified(classifier, *inputs)
    assert [each.name for each in answer.classifications] == [each.name for each in inputs]
    assert all(sum(s.score for s in each.scores) == pytest.approx(1) for each in answer.classifications)


def test_boxes_lie_in_real_photographs(detector: Answerer) -> None:
    inputs = photographs()
    answer = detected(detector, *inputs, min_score=0.0)
    assert [each.name for each in answer.images] == [each.name for each in inputs]
    for each in answer.images:
        assert min(each.width, each.height) > 400
        assert each.detections
        for box in each.detections:
            assert 0 <= box.x_min <= box.x_max <= each.width
            assert 0 <= box.y_min <= box.y_max <= each.height


def test_boxes_below_the_score_are_left_out(detector: Answerer) -> None:
    answer = detected(detector, image(encoded()), min_score=1.0)
    assert [len(each.detections) for each in answer.images] == [0]


def test_a_damaged_image_among_others_is_told_by_a_detector_too(detector: Answerer) -> None:
    whole = encoded((300, 300), format="JPEG")
    inputs = [image(encoded())] * 3 + [image(whole[: len(whole) // 2], "cut.jpg")]
    assert [field for field, _ in violations(lambda: detected(detector, *inputs))] == ["images[3].content"]


def test_images_are_decoded_a_few_at_a_time() -> None:
    small, large = [(10, 10)] * 20, [(6000, 5000)] * 3
    assert list(inference._parts(small)) == [range(0, 16), range(16, 20)]
    assert list(inference._parts(large)) == [range(0, 1), range(1, 2), range(2, 3)]
    assert list(inference._parts([])) == []


def test_a_model_of_the_other_task_names_its_method(classifier: Answerer, detector: Answerer) -> None:
    with pytest.raises(InferenceError, match="call Classify"):
        list(classifier.answer("Detect", b"", check=never))
    with pytest.raises(InferenceError, match="call Detect"):
        list(detector.answer("Classify", b"", check=never))


def test_a_task_of_another_family_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(InferenceError) as refused:
        opened(tmp_path, TrainingSpec(language_model=LanguageModel()))
    assert refused.value.reason == "NOT_SUPPORTED"
