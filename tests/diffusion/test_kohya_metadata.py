"""What the header of kohya's format says of the base and of the training, as kohya's scripts would."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tuneyard.diffusion.base_source import FoundBase
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.kohya_metadata import TrainingFacts, base_version, kohya_metadata
from tuneyard.diffusion.lora_files import LoraPart
from tuneyard.diffusion.samples import Sample, Splits
from tuneyard.trainer.base_identity import BaseIdentity

PLAIN = TextToImageConfig(base_model="models/tiny")


@dataclass(frozen=True)
class DescribedPipeline:
    """A pipeline that has configs and no weights."""

    kind: str
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def config(self, part: str) -> dict[str, Any]:
        return self.configs.get(part, {})


def described(kind: str, *, predicts: str = "epsilon", **network: Any) -> Any:
    part = "transformer" if kind == "sd3" else "unet"
    return DescribedPipeline(kind, {part: network, "scheduler": {"prediction_type": predicts}})


@pytest.mark.parametrize(
    ("pipeline", "version", "architecture", "prediction"),
    [
        (described("sd"), "sd_v1", "stable-diffusion-v1", "epsilon"),
        (described("sd", predicts="v_prediction"), "sd_v1_v", "stable-diffusion-v1", "v"),
        (described("sd", cross_attention_dim=1024), "sd_v2", "stable-diffusion-v2-512", "epsilon"),
        (
            described("sd", cross_attention_dim=1024, predicts="v_prediction"),
            "sd_v2_v",
            "stable-diffusion-v2-768-v",
            "v",
        ),
        (described("sdxl"), "sdxl_base_v1-0", "stable-diffusion-xl-v1-base", "epsilon"),
        (described("sd3"), "3-medium", "stable-diffusion-v3-medium", ""),
        (
            described("sd3", qk_norm="rms_norm", dual_attention_layers=[0, 1]),
            "3-5-medium",
            "stable-diffusion-v3.5-medium",
            "",
        ),
        (described("sd3", qk_norm="rms_norm"), "3-5-large", "stable-diffusion-v3.5-large", ""),
    ],
)
def test_a_base_is_called_what_it_is(pipeline, version, architecture, prediction) -> None:
    found = base_version(pipeline, PLAIN)
    assert (found.version, found.architecture, found.prediction) == (
        version,
        f"{architecture}/lora",
        prediction,
    )


def test_the_settings_say_what_a_network_predicts_where_they_do() -> None:
    told = TextToImageConfig(base_model="models/tiny", prediction_type="v_prediction")
    assert base_version(described("sd", cross_attention_dim=1024), told).version == "sd_v2_v"


def header(pipeline: Any = None, *, parts: tuple[str, ...] = ("unet",), **settings: Any) -> dict[str, str]:
    facts = TrainingFacts(
        config=TextToImageConfig(base_model="models/tiny", **settings),
        base=FoundBase(Path("base"), BaseIdentity(id="models/tiny", sha256="b" * 64)),
        pipeline=pipeline or described("sd"),
        splits=some_splits(),
        dataset_sha256="d" * 64,
        precision="fp32",
        steps=12,
        stored_step=8,
        name="zwx",
    )
    return kohya_metadata(facts, {part: LoraPart(weights={}) for part in parts})


def some_splits() -> Splits:
    def sample(name: str, caption: str, repeats: int, is_class: bool = False) -> Sample:
        return Sample(Path(name), name, caption, repeats, is_class, (64, 64))

    return Splits(
        train=(
            sample("img/10_sks dog/1.png", "sks dog, Outdoors", 10),
            sample("img/10_sks dog/2.png", "sks dog", 10),
            sample("3.png", "a cat", 1),
        ),
        class_images=(sample("reg/2_dog/1.png", "a dog", 2, True),),
        validation=(sample("img/10_sks dog/4.png", "sks dog", 10),),
        train_sha256="",
        held_out_sha256="",
        divided=True,
    )


def test_images_are_counted_as_often_as_they_are_seen() -> None:
    told = header(prior_loss_weight=0.5)
    counts = ("ss_num_train_images", "ss_num_reg_images", "ss_num_validation_images")
    assert [told[name] for name in counts] == ["21", "2", "1"]
    assert json.loads(told["ss_dataset_dirs"]) == {
        "10_sks dog": {"n_repeats": 10, "img_count": 2},
        "images": {"n_repeats": 1, "img_count": 1},
    }
    assert told["ss_prior_loss_weight"] == "0.5"


def test_captions_are_told_by_their_phrases() -> None:
    assert json.loads(header()["ss_tag_frequency"]) == {
        "10_sks dog": {"sks dog": 2, "outdoors": 1},
        "images": {"a cat": 1},
    }


def test_a_text_encoder_has_a_rate_where_it_is_trained() -> None:
    assert "ss_text_encoder_lr" not in header()
    both = ("unet", "text_encoder")
    assert header(parts=both, learning_rate=1e-3)["ss_text_encoder_lr"] == "0.001"
    assert header(parts=both, text_encoder_learning_rate=5e-5)["ss_text_encoder_lr"] == "5e-05"


def test_what_was_not_set_is_not_told() -> None:
    told = header(epochs=None, max_steps=12)
    unset = {"ss_num_epochs", "ss_noise_offset", "ss_min_snr_gamma", "modelspec.trigger_phrase"}
    assert not unset & told.keys()
    assert header(noise_offset=0.05)["ss_noise_offset"] == "0.05"


def test_flow_matching_has_no_kind_of_prediction() -> None:
    told = header(described("sd3"), parts=("transformer",))
    assert "modelspec.prediction_type" not in told and told["ss_v2"] == "False"


def test_full_precision_is_told_as_no_mixed_one() -> None:
    assert header()["ss_mixed_precision"] == "no"
