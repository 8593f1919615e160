"""The OpenAPI document names every route, each under a path of its own."""

import re
from typing import Any

from tuneyard.web.http_rules import rules
from tuneyard.web.openapi import document


def operations() -> dict[str, tuple[str, str, Any]]:
    return {
        operation["operationId"]: (verb.upper(), route, operation)
        for route, verbs in document()["paths"].items()
        for verb, operation in verbs.items()
    }


def test_every_annotated_method_is_in_the_document() -> None:
    raw = {"PutDataset", "PutModel", "PutModelBytes", "GetDatasetFile", "GetArtifacts", "GetArtifactFile"}
    assert set(operations()) == {rule.method.name for rule in rules()} | raw


def test_a_documented_path_is_that_of_its_method() -> None:
    found = operations()
    for rule in rules():
        verb, route, operation = found[rule.method.name]
        assert verb == rule.verb
        path = re.sub(r"\{[a-z]+\}", "x", route)
        assert rule.match(path) is not None, (route, rule.template)
        assert not [other for other in rules() if other != rule and other.verb == verb and other.match(path)]
        named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert named == set(re.findall(r"\{([a-z]+)\}", route))


def test_every_reference_leads_to_a_schema() -> None:
    schemas = document()["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document())))
    assert references <= set(schemas)
