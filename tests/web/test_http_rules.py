import pytest

from tuneyard.v1 import training_service_pb2
from tuneyard.web.http_rules import BadRequest, Rule, rules

RULES = rules()


def rule(method: str) -> Rule:
    return next(each for each in RULES if each.method.name == method)


def test_every_public_method_but_byte_streams_has_a_route() -> None:
    without = {"UploadDataset", "UploadModel", "DownloadArtifact", "DownloadDatasetFile"}
    named = {each.method.name for each in RULES}
    services = {each.method.containing_service for each in RULES}
    every = {method.name for service in services for method in service.methods}
    assert every - named == without


def test_no_two_routes_answer_the_same_request() -> None:
    seen = [(each.verb, each.template) for each in RULES]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("method", "path", "variables"),
    [
        ("GetJob", "/v1/jobs/abc", {"name": "jobs/abc"}),
        ("CancelJob", "/v1/jobs/abc:cancel", {"name": "jobs/abc"}),
        ("ListJobs", "/v1/jobs", {}),
        ("Train", "/v1/jobs:train", {}),
        (
            "CreateDownload",
            "/v1/jobs/abc/artifacts/samples/step%20%32.png:createDownload",
            {"name": "jobs/abc/artifacts/samples/step 2.png"},
        ),
    ],
)
def test_paths_give_their_variables(method: str, path: str, variables: dict[str, str]) -> None:
    assert rule(method).match(path) == variables


@pytest.mark.parametrize("path", ["/v1/jobs/abc:cancel", "/v1/jobs/a/b", "/v1/jobs/", "/v1/jobs"])
def test_a_route_does_not_take_anothers_path(path: str) -> None:
    assert rule("GetJob").match(path) is None


def test_query_parameters_fill_fields_by_either_name() -> None:
    query = [("filter.states", "JOB_STATE_RUNNING"), ("filter.states", "2"), ("pageSize", "5")]
    request = rule("ListJobs").bind({}, query, None)
    assert isinstance(request, training_service_pb2.ListJobsRequest)
    assert (len(request.filter.states), request.page_size) == (2, 5)


def test_the_path_wins_over_the_body() -> None:
    request = rule("CancelJob").bind({"name": "jobs/a"}, [], {"name": "jobs/b"})
    assert request == training_service_pb2.CancelJobRequest(name="jobs/a")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ([("nonsense", "1")], "nonsense"),
        ([("filter", "x")], "filter"),
        ([("page_size.more", "x")], "page_size.more"),
        ([("page_size", "1"), ("page_size", "2")], "page_size"),
        ([("page_size", "many")], "page_size"),
        ([("filter.states", "--5")], "filter.states"),
        ([("filter.states", "²")], "filter.states"),
    ],
)
def test_a_parameter_that_is_no_field_is_named(query: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        rule("ListJobs").bind({}, query, None)
    assert caught.value.field == field


@pytest.mark.parametrize("body", [{"spec": 3}, {"nonsense": 1}, {"spec": {"training": {"seed": "x"}}}])
def test_a_body_of_another_shape_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        rule("Train").bind({}, [], body)


def test_a_list_of_the_query_meets_no_list_in_the_body() -> None:
    with pytest.raises(BadRequest) as caught:
        rule("CreateDatasetVersion").bind({}, [("exclude_paths", "a.png")], {"exclude_paths": "b.png"})
    assert caught.value.field == "exclude_paths"
