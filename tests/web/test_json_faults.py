from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict, ParseError

from tuneyard.v1 import training_service_pb2
from tuneyard.web.json_faults import fault

EPOCHS = {"spec": {"hyperparameters": {"epochs": "many"}}}
TOO_LARGE = {"spec": {"hyperparameters": {"epochs": 10**30}}}
NO_NUMBER = {"spec": {"hyperparameters": {"learningRate": "fast"}}}
MODULES = {"spec": {"languageModel": {"lora": {"targetModules": [3]}}}}
NO_LIST = {"spec": {"languageModel": {"lora": {"targetModules": "q_proj"}}}}
WEIGHTS = {"spec": {"imageClassifier": {"classWeights": {"cat": "x"}}}}


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({"spec": 3}, "spec", "must be an object"),
        ({"nonsense": 1}, "nonsense", "there is no such field"),
        ({"spec": {"nonsense": 1}}, "spec.nonsense", "there is no such field"),
        ({"spec": {"seed": True}}, "spec.seed", "Bool value True is not acceptable for integer field"),
        (EPOCHS, "spec.hyperparameters.epochs", "'many' is no whole number"),
        (TOO_LARGE, "spec.hyperparameters.epochs", f"Value out of range: {10**30}"),
        (NO_NUMBER, "spec.hyperparameters.learningRate", "Couldn't parse float: fast"),
        (MODULES, "spec.languageModel.lora.targetModules", "must be a text"),
        (WEIGHTS, "spec.imageClassifier.classWeights", "Couldn't parse float: x"),
    ],
)
def test_the_field_is_named_in_plain_words(values: Mapping[str, Any], path: str, words: str) -> None:
    assert fault(refusal(values), values) == (path, words)


def test_a_message_that_the_parser_leaves_out_is_in_the_path() -> None:
    path, _ = fault(refusal(NO_LIST), NO_LIST)
    assert path == "spec.languageModel.lora.targetModules"


def refusal(values: Mapping[str, Any]) -> ParseError:
    with pytest.raises(ParseError) as caught:
        ParseDict(dict(values), training_service_pb2.TrainRequest())
    return caught.value
