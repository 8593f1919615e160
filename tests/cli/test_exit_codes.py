from collections.abc import Callable
from typing import Any

import grpc
import pytest
from typer.main import get_command

from tests.support.fake_gateway import FakeGateway, FakeJob
from tuneyard.cli.main import app
from tuneyard.rpc.errors import TuneyardError, Violation
from tuneyard.v1 import job_pb2

Run = Callable[..., Any]


def test_success_is_0(run: Run) -> None:
    assert run("jobs", "list").code == 0


def test_a_refused_call_is_1_and_says_why(gateway: FakeGateway, run: Run) -> None:
    gateway.fail("GetJob", TuneyardError("JOB_NOT_FOUND", "no job jobs/9"))
    ran = run("jobs", "show", "9")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: no job jobs/9\n  → see all: tuneyard jobs list --limit 0\n"


def test_a_refused_dataset_is_named_in_the_command_that_tells_more(gateway: FakeGateway, run: Run) -> None:
    refused = TuneyardError("DATASET_INVALID", "it cannot be used", resource="datasets/bad")
    gateway.fail("Train", refused)
    ran = run("train", "image-classifier", "--dataset", "bad", "--base-model", "x")
    assert ran.code == 1
    assert "see all findings: tuneyard datasets show bad\n" in ran.err


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (job_pb2.JOB_STATE_SUCCEEDED, 0),
        (job_pb2.JOB_STATE_FAILED, 1),
        (job_pb2.JOB_STATE_CANCELLED, 1),
    ],
)
def test_watching_ends_as_the_job_did(
    gateway: FakeGateway, run: Run, state: "job_pb2.JobState.ValueType", code: int
) -> None:
    job = FakeJob("jobs/1")
    job.job.state = job.events[-1].state_change.to = state
    job.serve(gateway)
    assert run("watch", "1").code == code


def test_violations_are_2_and_listed_by_field(gateway: FakeGateway, run: Run) -> None:
    violations = [Violation("spec.seed", "too large"), Violation("spec.base_model", "unknown")]
    gateway.fail("Train", TuneyardError("INVALID_FIELD", "…", violations=violations))
    ran = run("train", "image-classifier", "--dataset", "d", "--base-model", "x")
    assert ran.code == 2
    assert "  spec.seed: too large\n  spec.base_model: unknown\n" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("train", "image-classifier", "--dataset", "d"),
        ("train", "no-such-task", "--dataset", "d", "--base-model", "x"),
        ("train", "image-classifier", "--dataset", "d", "--base-model", "x", "--epochs", "many"),
        ("train", "image-classifier", "--dataset", "d", "--base-model", "x", "--set", "epochs"),
        ("train", "image-classifier", "--dataset", "d", "--base-model", "x", "--set", "no.such=1"),
        ("train", "image-classifier", "--dataset", "missing.zip", "--base-model", "x"),
        ("datasets", "check", "/", "--format", "unheard-of"),
        ("datasets", "check", "/no/such/path", "--format", "image-folder"),
        ("datasets", "upload", "/no/such/path", "--format", "image-folder"),
        ("jobs", "list", "--state", "asleep"),
        ("jobs", "list", "--family", "music"),
        ("jobs", "list", "--task", "poem"),
        ("jobs", "list", "--label", "urgent"),
        ("models", "list", "--family", "music"),
        ("export", "1", "--to", "zip", "-o", "x"),
        ("predict", "1", "/no/such.png"),
        ("up", "--trainers", "music"),
        ("up", "--web-host", "my laptop"),
    ],
)
def test_wrong_usage_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.err
    assert "Traceback" not in ran.err


def test_other_machines_come_in_with_a_token_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEYARD_TOKEN", raising=False)
    ran = run("up", "--web-host", "0.0.0.0")
    assert ran.code == 1
    assert "TUNEYARD_TOKEN" in ran.err


def test_an_unreachable_server_is_3_and_says_what_to_do(run: Run) -> None:
    ran = run("jobs", "list", "--server", "127.0.0.1:1")
    assert ran.code == 3
    assert "no answer from 127.0.0.1:1" in ran.err
    assert "tuneyard up" in ran.err


@pytest.mark.parametrize("token", ["schlüssel", "two\nlines"])
def test_a_token_that_no_call_can_carry_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("TUNEYARD_TOKEN", token)
    ran = run("jobs", "list")
    assert ran.code == 1
    assert "printable ASCII" in ran.err
    assert token not in ran.err


def test_an_error_with_json_is_a_document_too(gateway: FakeGateway, run: Run) -> None:
    violations = [Violation("spec.seed", "too large")]
    gateway.fail("Estimate", TuneyardError("INVALID_FIELD", "bad", violations=violations))
    ran = run("estimate", "image-classifier", "--dataset", "d", "--base-model", "x", "--json")
    assert ran.document["error"]["reason"] == "INVALID_FIELD"
    assert ran.document["error"]["violations"] == [{"field": "spec.seed", "description": "too large"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs", "lisst", "--json"), "No such command 'lisst'"),
        (("--json", "jobs", "list", "--limit", "-1"), "--limit"),
        (("train", "image-classifier", "--json"), "Missing option '--dataset'"),
    ],
)
def test_wrong_usage_with_json_is_a_document_too(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert said in ran.document["error"]["message"]
    assert said in ran.err


def test_one_violation_of_another_reason_is_said_in_one_line(gateway: FakeGateway, run: Run) -> None:
    violations = [Violation("spec", "only classifiers")]
    gateway.fail("Evaluate", TuneyardError("NOT_SUPPORTED", "spec: only classifiers", violations=violations))
    assert run("evaluate", "1").err == "error: spec: only classifiers\n"


def test_a_setting_that_does_not_exist_is_named_with_one_that_does(run: Run) -> None:
    ran = run(
        "train", "image-classifier", "--dataset", "d", "--base-model", "x", "--set", "hyperparameters.epoch=3"
    )
    assert "no field 'epoch' in hyperparameters\n  → did you mean epochs?\n" in ran.err


def test_what_is_not_served_yet_is_said(gateway: FakeGateway, run: Run) -> None:
    gateway.fail("Merge", TuneyardError("NOT_SUPPORTED", "merging is not served by this release"))
    ran = run("merge", "1")
    assert (ran.code, ran.err) == (1, "error: merging is not served by this release\n")


def test_a_server_that_breaks_off_is_3(gateway: FakeGateway, run: Run) -> None:
    gateway.fail("DeleteJob", grpc.StatusCode.UNAVAILABLE)
    assert run("jobs", "delete", "1").code == 3


@pytest.mark.parametrize("before", [True, False])
def test_server_and_json_stand_before_or_after_the_command(
    gateway: FakeGateway, run: Run, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setenv("TUNEYARD_SERVER", "127.0.0.1:1")
    options = ("--server", gateway.address, "--json")
    ran = run(*options, "jobs", "list") if before else run("jobs", "list", *options)
    assert (ran.code, ran.document) == (0, {"jobs": []})


def test_the_token_of_the_environment_is_sent(
    gateway: FakeGateway, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEYARD_TOKEN", "secret")
    run("trainers")
    assert gateway.metadata["ListTrainers"]["authorization"] == "Bearer secret"


def test_every_command_has_help_and_takes_server_and_json() -> None:
    seen = []

    def walk(command: Any, path: str) -> None:
        for name, child in getattr(command, "commands", {}).items():
            walk(child, f"{path} {name}")
        if not getattr(command, "commands", None):
            names = {option for parameter in command.params for option in parameter.opts}
            assert {"--server", "--json"} <= names, path
            assert command.help, path
            seen.append(path)

    walk(get_command(app), "")
    assert len(seen) >= 35
