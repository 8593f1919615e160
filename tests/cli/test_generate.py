"""`tuneyard generate` with a text-to-image model."""

from pathlib import Path

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1 import training_pb2
from tuneyard.v1.job_pb2 import Job, JobSpec
from tuneyard.v1.training_service_pb2 import GetJobResponse


def draw(request: pb.GenerateImagesRequest, context: object) -> pb.GenerateImagesResponse:
    """A "picture" that tells what was asked; 41 is the seed that is drawn."""
    seed = request.seed if request.HasField("seed") else 41
    scale = request.lora_scale if request.HasField("lora_scale") else 1
    return pb.GenerateImagesResponse(
        images=[{"png": f"{request.prompt}|{seed}|{scale:g}".encode(), "seed": seed}]
    )


@pytest.fixture
def artist(gateway: FakeGateway) -> FakeGateway:
    spec = JobSpec(training=training_pb2.TrainingSpec(text_to_image_lora={}))
    gateway.answer("GetJob", GetJobResponse(job=Job(name="jobs/0198", spec=spec)))
    gateway.on("GenerateImages", draw)
    return gateway


def test_pictures_are_written_by_their_seeds_and_named_on_standard_output(
    artist: FakeGateway, run, tmp_path: Path
) -> None:
    ran = run("generate", "0198", "a cat", "-o", tmp_path / "new", "--count", 2)
    files = [tmp_path / "new" / f"0198-{seed}.png" for seed in (41, 42)]
    assert (ran.code, ran.out.split()) == (0, [str(file) for file in files])
    assert [file.read_bytes() for file in files] == [b"a cat|41|1", b"a cat|42|1"]


def test_the_options_reach_the_model_and_what_is_unset_is_left_to_the_server(
    artist: FakeGateway, run, tmp_path: Path
) -> None:
    run("generate", "0198", "x", "-o", tmp_path)
    given = ("--steps", 9, "--guidance-scale", 3, "--width", 512, "--height", 768, "--lora-scale", 0.5)
    run("generate", "0198", "x", "-o", tmp_path, "--seed", 3, "--negative-prompt", "blur", *given)
    first, second = artist.requests["GenerateImages"]
    assert {field.name for field, _ in first.ListFields()} == {"job", "prompt"}
    assert (second.steps, second.guidance_scale, second.width, second.height) == (9, 3, 512, 768)
    assert (second.seed, second.negative_prompt, second.lora_scale) == (3, "blur", 0.5)


def test_the_base_draws_from_the_same_seed(artist: FakeGateway, run, tmp_path: Path) -> None:
    document = run("generate", "0198", "x", "-o", tmp_path, "--base", "--json").document
    assert document["images"] == [
        {"file": str(tmp_path / "0198-41.png"), "seed": 41, "base": False},
        {"file": str(tmp_path / "0198-41-base.png"), "seed": 41, "base": True},
    ]
    assert (tmp_path / "0198-41-base.png").read_bytes() == b"x|41|0"
    assert document["files"] == [image["file"] for image in document["images"]]


def test_what_was_drawn_before_a_failure_stays(artist: FakeGateway, run, tmp_path: Path) -> None:
    def once(request: pb.GenerateImagesRequest, context: object) -> pb.GenerateImagesResponse:
        artist.fail("GenerateImages", TuneyardError("NO_FREE_SLOT", "a job wants the device"))
        return draw(request, context)

    artist.on("GenerateImages", once)
    ran = run("generate", "0198", "x", "-o", tmp_path, "--count", 2)
    assert ran.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["0198-41.png"]


def test_options_of_images_are_wrong_usage_for_a_language_model(gateway: FakeGateway, run) -> None:
    spec = JobSpec(training=training_pb2.TrainingSpec(language_model={}))
    gateway.answer("GetJob", GetJobResponse(job=Job(name="jobs/0198", spec=spec)))
    ran = run("generate", "0198", "x", "--steps", 9)
    assert (ran.code, "--steps is for images" in ran.err) == (2, True)
