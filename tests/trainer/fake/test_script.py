import pytest

from tuneyard.trainer.fake.script import Script, ScriptError


def test_a_script_is_read_from_a_base_models_name() -> None:
    assert Script.parse("fake:steps=200,step_ms=5") == Script(steps=200, step_ms=5)


def test_an_empty_script_has_the_defaults() -> None:
    assert Script.parse("fake:") == Script()


def test_every_mistake_is_named() -> None:
    with pytest.raises(ScriptError) as caught:
        Script.parse("fake:stepps=2,save=often")
    assert "'stepps' is unknown" in str(caught.value) and "save must be" in str(caught.value)
    assert "step_ms" in str(caught.value)


def test_another_name_is_no_script() -> None:
    with pytest.raises(ScriptError):
        Script.parse("resnet50")
