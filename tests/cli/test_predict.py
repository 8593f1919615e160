"""`tuneyard predict`, and what it draws."""

import io
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from tests.support.fake_gateway import FakeGateway
from tuneyard.cli import drawing
from tuneyard.rpc.errors import TuneyardError, Violation, invalid_fields
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1 import training_pb2
from tuneyard.v1.job_pb2 import Job, JobSpec
from tuneyard.v1.training_service_pb2 import GetJobResponse

CLASSIFIER = training_pb2.TrainingSpec(image_classifier=training_pb2.ImageClassifier())
DETECTOR = training_pb2.TrainingSpec(object_detector=training_pb2.ObjectDetector())


def job(spec: training_pb2.TrainingSpec) -> GetJobResponse:
    return GetJobResponse(job=Job(name="jobs/0198", spec=JobSpec(training=spec)))


def classify(request: pb.ClassifyRequest, context: object) -> pb.ClassifyResponse:
    scores = [pb.ClassScore(label="cat", score=0.75), pb.ClassScore(label="dog", score=0.25)]
    return pb.ClassifyResponse(
        classifications=[pb.Classification(name=image.name, scores=scores) for image in request.images]
    )


def detect(request: pb.DetectRequest, context: object) -> pb.DetectResponse:
    box = pb.Detection(label="cat", score=0.9, x_min=10, y_min=12, x_max=60, y_max=50)
    images = [
        pb.ImageDetections(name=image.name, detections=[box] if index == 0 else [], width=80, height=60)
        for index, image in enumerate(request.images)
    ]
    return pb.DetectResponse(images=images)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images, one of them in a folder below, and files that are none."""
    folder = tmp_path / "photos"
    for name in ("a.png", "b.jpg", "more/a.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60), "navy").save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / "._a.png").write_bytes(b"a Mac was here")
    return folder


@pytest.fixture
def classifier(gateway: FakeGateway) -> FakeGateway:
    gateway.answer("GetJob", job(CLASSIFIER))
    gateway.on("Classify", classify)
    return gateway


@pytest.fixture
def detector(gateway: FakeGateway) -> FakeGateway:
    gateway.answer("GetJob", job(DETECTOR))
    gateway.on("Detect", detect)
    return gateway


def test_the_likeliest_class_stands_first(classifier: FakeGateway, run, photos: Path) -> None:
    lines = run("predict", "0198", photos / "a.png", photos / "b.jpg").out.splitlines()
    assert lines[0].split() == ["IMAGE", "LABEL", "SCORE", "OTHERS"]
    assert lines[1].split() == ["a.png", "cat", "0.750", "dog", "0.250"]
    assert lines[2].startswith("b.jpg")


def test_the_job_may_be_an_option(classifier: FakeGateway, run, photos: Path) -> None:
    assert "cat" in run("predict", photos / "a.png", "--job", "0198").out
    assert classifier.requests["GetJob"][-1].name == "jobs/0198"


def test_a_folder_stands_for_its_images(classifier: FakeGateway, run, photos: Path) -> None:
    answer = run("predict", "0198", photos, "--json").document
    assert [each["name"] for each in answer["classifications"]] == ["a.png", "b.jpg", "more/a.png"]
    assert answer["files"] == []


def test_files_of_one_name_are_told_apart(classifier: FakeGateway, run, photos: Path) -> None:
    answer = run("predict", "0198", photos / "a.png", photos / "more/a.png", "--json").document
    names = [each["name"] for each in answer["classifications"]]
    assert names == ["a.png", (photos / "more/a.png").as_posix()]


def test_many_images_go_in_several_calls(classifier: FakeGateway, run, tmp_path: Path) -> None:
    for number in range(150):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number:03}.png")
    answer = run("predict", "0198", tmp_path, "--json").document
    assert len(answer["classifications"]) == 150
    assert [len(request.images) for request in classifier.requests["Classify"]] == [64, 64, 22]


def test_a_bad_image_is_told_and_the_others_are_answered(classifier: FakeGateway, run, photos: Path) -> None:
    (photos / "empty.png").touch()
    classifier.fail("Classify", invalid_fields([Violation("images[1].content", "b.jpg: it is no image")]))
    ran = run("predict", "0198", photos, "--json")
    assert [each["name"] for each in ran.document["classifications"]] == ["a.png", "more/a.png"]
    assert ran.document["problems"] == ["empty.png: the file is empty", "b.jpg: it is no image"]
    assert ran.code == 1
    assert "b.jpg: it is no image" in ran.err


def test_a_busy_device_is_told_with_the_time_to_try_again(classifier: FakeGateway, run, photos: Path) -> None:
    busy = TuneyardError("NO_FREE_SLOT", "cpu runs jobs/7", retry_after=timedelta(seconds=5))
    classifier.fail("Classify", busy)
    ran = run("predict", "0198", photos / "a.png")
    assert ran.code == 1
    assert "cpu runs jobs/7" in ran.err
    assert "try again in 5 s" in ran.err


@pytest.mark.parametrize("arguments", [["0198"], ["0198", "nowhere.png"], ["--job", "0198"]])
def test_wrong_usage_is_2(classifier: FakeGateway, run, arguments: list[str]) -> None:
    assert run("predict", *arguments).code == 2


def test_a_folder_without_images_is_wrong_usage(classifier: FakeGateway, run, tmp_path: Path) -> None:
    ran = run("predict", "0198", tmp_path)
    assert (ran.code, "no images" in ran.err) == (2, True)


def test_a_detector_s_boxes_are_listed_and_drawn(
    detector: FakeGateway, run, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "drawn"
    ran = run("predict", "0198", photos, "-o", out, "--min-score", "0.4")
    lines = ran.out.splitlines()
    assert lines[1].split() == ["a.png", "cat", "0.900", "10,12", "–", "60,50"]
    assert lines[2].split() == ["b.jpg", "nothing"]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "a.png",
        "b.png",
        "more/a.png",
    ]
    with Image.open(out / "a.png") as drawn, Image.open(out / "b.png") as plain:
        assert drawn.size == plain.size == (80, 60)
        assert len(drawn.getcolors(10_000)) > 1
    [request] = detector.requests["Detect"]
    assert request.min_score == pytest.approx(0.4)


def test_a_detector_draws_into_a_folder_of_its_own_by_default(
    detector: FakeGateway, run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "predictions" in run("predict", "0198", photos / "a.png").err
    assert (tmp_path / "predictions/a.png").is_file()
    run("predict", "0198", photos / "b.jpg", "--json")
    assert not (tmp_path / "predictions/b.png").exists()


def test_pictures_of_one_name_do_not_replace_each_other(
    classifier: FakeGateway, run, photos: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(photos / "a.jpg")
    answer = run(
        "predict", "0198", photos / "a.png", photos / "a.jpg", "-o", tmp_path / "o", "--json"
    ).document
    assert answer["files"] == [str(tmp_path / "o/a.png"), str(tmp_path / "o/a.jpg.png")]


def test_pictures_never_leave_their_folder(
    classifier: FakeGateway, run, photos: Path, tmp_path: Path
) -> None:
    same = tmp_path / "other" / "a.png"
    same.parent.mkdir()
    Image.new("RGB", (8, 8)).save(same)
    out = tmp_path / "o"
    answer = run("predict", "0198", photos / "a.png", same, "-o", out, "--json").document
    assert all(Path(file).resolve().is_relative_to(out) for file in answer["files"])
    assert same.stat().st_size < 200


def test_boxes_are_drawn_upright_and_a_label_stays_in_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (80, 40), "white").save(file, "JPEG", exif=exif)
    box = pb.Detection(
        label="a label that is longer than the picture", score=1, x_min=30, y_min=2, x_max=39, y_max=70
    )
    drawn = drawing.draw_boxes(file.getvalue(), [box])
    assert drawn.size == (40, 80)
    assert drawn.getpixel((30, 60)) != (255, 255, 255)


def test_the_label_of_a_class_is_drawn_in_a_corner() -> None:
    file = io.BytesIO()
    Image.new("RGB", (200, 100), "white").save(file, "PNG")
    classified = pb.Classification(scores=[pb.ClassScore(label="cat", score=0.5)])
    drawn = drawing.draw_label(file.getvalue(), classified)
    assert drawn.getpixel((1, 1)) != (255, 255, 255)
    assert drawn.getpixel((199, 99)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("command", "hint"), [(("generate", "0198", "a cat"), "predict"), (("chat", "0198"), "predict")]
)
def test_the_command_for_another_task_is_named(
    classifier: FakeGateway, run, command: tuple[str, ...], hint: str
) -> None:
    ran = run(*command)
    assert (ran.code, f"tuneyard {hint}" in ran.err) == (2, True)


def test_predicting_with_a_language_model_names_chat(gateway: FakeGateway, run, photos: Path) -> None:
    gateway.answer("GetJob", job(training_pb2.TrainingSpec(language_model=training_pb2.LanguageModel())))
    ran = run("predict", "0198", photos)
    assert (ran.code, "tuneyard chat" in ran.err) == (2, True)
