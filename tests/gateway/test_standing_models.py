from typing import Any

import pytest

from tuneyard.gateway.standing_models import WantedBase, standing_for, wanted_base
from tuneyard.v1.model_service_pb2 import BaseModel, Model
from tuneyard.v1.training_pb2 import TASK_KIND_IMAGE_CLASSIFIER, TASK_KIND_LANGUAGE_MODEL

CATALOGUE = (BaseModel(id="resnet50"), BaseModel(id="small-7b", hub_id="org/Small", revision="c1"))


def found(wanted: WantedBase, *ready: Model) -> str | None:
    model = standing_for(wanted, ready)
    return model.name if model else None


def model(identifier: str, **values: Any) -> Model:
    return Model(name=f"models/{identifier}", **values)


def test_an_alias_and_its_hub_id_mean_the_same_place() -> None:
    for name in ("small-7b", "org/Small"):
        assert wanted_base(name, CATALOGUE) == WantedBase(
            name=name, in_catalogue=True, hub_id="org/Small", pinned="c1"
        )
    assert wanted_base("other/One", CATALOGUE).hub_id == "other/One"
    assert wanted_base("resnet50", CATALOGUE).hub_id == ""


def test_an_architecture_is_stood_for_by_the_model_of_its_name() -> None:
    wanted = wanted_base("resnet50", CATALOGUE)
    assert found(wanted, model("resnet50", architecture="resnet50")) == "models/resnet50"
    assert (
        found(wanted, model("resnet50", architecture="resnet18"), model("x", architecture="resnet50")) is None
    )


@pytest.mark.parametrize("name", ["small-7b", "org/Small"])
def test_what_was_imported_from_the_hub_stands_for_an_alias_at_its_pinned_revision_first(name: str) -> None:
    newest, pinned = (
        model("a", source="org/Small", revision="c2"),
        model("b", source="org/Small", revision="c1"),
    )
    wanted = wanted_base(name, CATALOGUE)
    assert found(wanted, newest, pinned) == "models/b"
    assert found(wanted, newest) == "models/a"
    assert found(wanted, model("c", source="org/Other")) is None


def test_a_model_of_the_aliass_own_name_comes_first() -> None:
    own, pinned = model("small-7b", source="folder.zip"), model("b", source="org/Small", revision="c1")
    assert found(wanted_base("small-7b", CATALOGUE), pinned, own) == "models/small-7b"


def test_a_revision_that_is_asked_for_is_never_replaced_by_another() -> None:
    wanted = wanted_base("org/Small", CATALOGUE, revision="c3")
    assert found(wanted, model("a", source="org/Small", revision="c1")) is None
    assert found(wanted, model("a", source="org/Small", revision="c3")) == "models/a"


def test_a_name_of_nothing_else_is_the_id_of_a_model_whatever_its_architecture() -> None:
    mine = model("mine", architecture="LlamaForCausalLM", tasks=[TASK_KIND_LANGUAGE_MODEL])
    assert found(wanted_base("mine", CATALOGUE, task=TASK_KIND_LANGUAGE_MODEL), mine) == "models/mine"
    assert found(wanted_base("mine", CATALOGUE, task=TASK_KIND_IMAGE_CLASSIFIER), mine) is None


def test_a_title_stands_for_the_one_model_that_has_it() -> None:
    first, second = model("mine-1", display_name="mine"), model("mine-2", display_name="mine")
    wanted = wanted_base("mine", CATALOGUE)
    assert found(wanted, first) == "models/mine-1"
    assert found(wanted, first, second) is None
    assert found(wanted, first, second, model("mine", display_name="other")) == "models/mine"
    assert found(wanted_base("resnet50", CATALOGUE), model("x", display_name="resnet50")) is None
